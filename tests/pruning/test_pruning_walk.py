"""The blockwise walk and the statistics it feeds."""

import pytest
import torch

from models.errors import EspalierError
from pruning.anatomy.roles import find_anatomy
from pruning.collect.blockwise import Batch, BlockWalk
from pruning.collect.offload import Offload
from pruning.collect.statistics import BlockCosines, InputStatistics

FAMILIES = ["llama", "mistral", "qwen2", "qwen3", "gemma2", "phi3", "gpt2", "gpt_neox", "opt", "bloom"]


def batches_of(padding: str | None) -> list[Batch]:
    generator = torch.Generator().manual_seed(3)
    batches = []
    for rows, length in ((2, 12), (3, 9)):
        ids = torch.randint(2, 300, (rows, length), generator=generator)
        mask = torch.ones(rows, length, dtype=torch.bool)
        if padding == "right":
            mask[0, -4:] = False
        elif padding == "left":
            mask[0, :4] = False
        batches.append(Batch(ids, mask))
    return batches


def plain_hidden_states(model, blocks, batch: Batch) -> torch.Tensor:
    seen = []
    handle = blocks[-1].register_forward_hook(lambda module, args, output: seen.append(output))
    with torch.no_grad():
        model(**batch.inputs(torch.device("cpu")), use_cache=False)
    handle.remove()
    return seen[0][0] if isinstance(seen[0], tuple) else seen[0]


@pytest.mark.parametrize("padding", [None, "right", "left"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_walk_ends_where_the_plain_forward_does(tiny_model, family, padding):
    model = tiny_model(family)
    blocks = find_anatomy(model).blocks
    batches = batches_of(padding)
    with BlockWalk(model, blocks, batches) as walk:
        for index in range(len(blocks)):
            walk.run(index)
            walk.advance(index)
        logits = list(walk.logits())
    for batch, found in zip(batches, logits, strict=True):
        with torch.no_grad():
            assert torch.equal(found, model(**batch.inputs(torch.device("cpu")), use_cache=False).logits)
    for batch, output in zip(batches, walk.outputs, strict=True):
        assert torch.equal(output, plain_hidden_states(model, blocks, batch))


def test_the_model_is_given_back_as_it_was(tiny_model):
    model = tiny_model("llama").train()
    blocks = find_anatomy(model).blocks
    own = blocks[1].forward

    def instance_forward(*args, **kwargs):
        return own(*args, **kwargs)

    blocks[1].forward = instance_forward  # as accelerate's offloading sets it
    with pytest.raises(KeyError), BlockWalk(model, blocks, batches_of(None)) as walk:
        assert not model.training
        walk.advance(0)
        raise KeyError
    assert model.training and all(block.training for block in blocks)
    assert "forward" not in blocks[0].__dict__
    assert blocks[1].forward is instance_forward


def test_a_block_that_is_skipped_is_an_error(tiny_model):
    model = tiny_model("llama")
    blocks = list(find_anatomy(model).blocks)
    del model.model.layers[2]
    walk = BlockWalk(model, blocks, batches_of(None))
    with pytest.raises(EspalierError, match="did not run its block 2"), walk:
        for index in range(3):
            walk.advance(index)


def collect(model, index: int, batches: list[Batch]) -> dict[str, torch.Tensor]:
    anatomy = find_anatomy(model)
    projections = anatomy.of_block(index)
    statistics = InputStatistics(projections, ("column_norms",))
    with BlockWalk(model, anatomy.blocks, batches) as walk, statistics:
        for earlier in range(index):
            walk.advance(earlier)
        walk.run(index, before=statistics.begin)
    norms = {projection.name: statistics.of(projection)["column_norms"] for projection in projections}
    return norms | {"distinct": statistics.distinct_inputs}


@pytest.mark.parametrize(
    ("family", "distinct"), [("llama", 4), ("phi3", 4), ("gpt2", 4), ("opt", 4), ("gpt_neox", 4), ("bloom", 4)]
)
def test_norms_are_those_of_the_real_inputs_and_shared_ones_are_collected_once(tiny_model, family, distinct):
    model = tiny_model(family)
    batches = batches_of("right")
    found = collect(model, 1, batches)
    assert found["distinct"] == distinct
    for projection in find_anatomy(model).of_block(1):
        squares = torch.zeros(projection.columns, dtype=torch.float64)
        for batch in batches:
            seen = []
            handle = projection.module.register_forward_pre_hook(lambda module, args, seen=seen: seen.append(args[0]))
            with torch.no_grad():
                model(**batch.inputs(torch.device("cpu")), use_cache=False)
            handle.remove()
            squares += seen[0].reshape(-1, projection.columns)[batch.mask.reshape(-1)].double().square().sum(0)
        assert torch.allclose(found[projection.name], squares.sqrt(), rtol=1e-6)


def test_padding_and_batching_change_nothing(tiny_model):
    model = tiny_model("llama")
    ids = torch.randint(2, 300, (3, 10), generator=torch.Generator().manual_seed(5))
    lengths = (10, 6, 3)
    mask = torch.arange(10) < torch.tensor(lengths)[:, None]
    alone = [
        Batch(row[None, :length], torch.ones(1, length, dtype=torch.bool))
        for row, length in zip(ids, lengths, strict=True)
    ]
    together, apart = collect(model, 2, [Batch(ids, mask)]), collect(model, 2, alone)
    for name in together:
        if name != "distinct":
            assert torch.allclose(together[name], apart[name], rtol=1e-5)


def test_hooks_are_gone_afterwards(tiny_model):
    model = tiny_model("llama")
    collect(model, 0, batches_of(None))
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_inputs_that_are_not_finite_are_named(tiny_model):
    model = tiny_model("llama")
    with torch.no_grad():
        model.model.layers[0].input_layernorm.weight[3] = float("inf")
    with pytest.raises(EspalierError, match=r"model\.layers\.0\.self_attn\.[qkv]_proj"):
        collect(model, 0, batches_of(None))


def test_block_cosines_count_text_tokens_only():
    cosines = BlockCosines(2)
    given = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]])
    turned = torch.tensor([[[0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]]])
    cosines.add(0, given, turned, torch.tensor([[True, True, False]]))
    cosines.add(1, given, given * 3, torch.tensor([[True, True, True]]))
    assert cosines.value()["block_cosines"].tolist() == pytest.approx([0.5, 1.0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_states_on_disk_are_the_same_bit_for_bit_and_go_with_the_walk(tiny_model, tmp_path, dtype):
    model = tiny_model("llama").to(dtype)
    blocks, batches = find_anatomy(model).blocks, batches_of("right")
    with BlockWalk(model, blocks, batches) as walk:
        walk.advance(0)
        walk.advance(1)
        expected = list(walk.outputs)
    with pytest.raises(KeyError), BlockWalk(model, blocks, batches, activations=tmp_path) as walk:
        walk.advance(0)
        walk.advance(1)
        found = list(walk.outputs)
        assert len(list(tmp_path.rglob("*.safetensors"))) == 2
        assert {state.dtype for state in found} == {dtype}
        assert all(torch.equal(state, other) for state, other in zip(found, expected, strict=True))
        raise KeyError
    assert not list(tmp_path.iterdir())


class Journal:
    """Notes where every module is, in place of moving it."""

    def __init__(self, model):
        self.names = {id(module): name for name, module in model.named_modules()}
        self.away: set[str] = set()
        self.moves = 0

    def __call__(self, module, device) -> None:
        self.moves += 1
        name = self.names[id(module)]
        self.away.add(name) if device.type == "cuda" else self.away.remove(name)


def test_one_block_at_a_time_is_on_the_other_device(tiny_model):
    model = tiny_model("llama")
    blocks = find_anatomy(model).blocks
    journal = Journal(model)
    offload = Offload(model, blocks, torch.device("cuda"), journal)
    assert not journal.away
    for index in range(3):
        offload.bring(index)
        moves = journal.moves
        offload.bring(index)  # again: nothing to do
        assert journal.moves == moves
        within = {name.split(".")[2] for name in journal.away if name.startswith("model.layers.")}
        assert within == {str(index)} and {"model.embed_tokens", "model.norm", "lm_head"} < journal.away
        inside = [name for name in journal.away if name.startswith("model.layers.")]
        assert len(inside) == len(list(blocks[0].modules()))
    offload.close()
    assert not journal.away


def test_a_model_that_is_there_already_is_not_moved(tiny_model):
    model = tiny_model("llama")
    journal = Journal(model)
    offload = Offload(model, find_anatomy(model).blocks, torch.device("cpu"), journal)
    offload.bring(1)
    offload.close()
    assert journal.moves == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_model_in_main_memory_is_walked_on_the_gpu(tiny_model):
    model = tiny_model("llama")
    blocks, batches = find_anatomy(model).blocks, batches_of("right")
    with BlockWalk(model, blocks, batches) as walk:
        for index in range(3):
            walk.advance(index)
        expected = list(walk.outputs)
    with BlockWalk(model, blocks, batches, device=torch.device("cuda")) as walk:
        for index in range(3):
            walk.advance(index)
            assert [next(block.parameters()).device.type for block in blocks].count("cuda") == 1
    assert {tensor.device.type for tensor in model.state_dict().values()} == {"cpu"}
    for found, state in zip(walk.outputs, expected, strict=True):
        assert torch.allclose(found, state, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2", "phi", "gptj", "opt", "bloom", "mixtral"])
def test_a_pass_that_ends_when_all_inputs_were_seen_gives_the_same_statistics(tiny_model, family, monkeypatch):
    from pruning.collect import blockwise

    model = tiny_model(family)
    anatomy = find_anatomy(model)
    generator = torch.Generator().manual_seed(0)
    ids = [torch.randint(0, 300, (2, 9), generator=generator) for _ in range(3)]
    batches = [Batch(one, torch.ones_like(one, dtype=torch.bool)) for one in ids]
    ended = []
    own = blockwise.SeenEnough.__init__
    monkeypatch.setattr(blockwise.SeenEnough, "__init__", lambda self: (ended.append(1), own(self))[1])
    found = []
    for ending in (False, True):
        with BlockWalk(model, anatomy.blocks, batches) as walk:
            walk.advance(0)
            statistics = InputStatistics(anatomy.of_block(1), ("gram",), ending)
            with statistics:
                walk.run(1, before=statistics.begin)
            walk.advance(1)
            found.append(({p.name: statistics.of(p)["gram"] for p in anatomy.of_block(1)}, list(walk.outputs)))
    assert len(ended) == (0 if family == "mixtral" else len(batches) - 1)
    for name, gram in found[0][0].items():
        assert torch.equal(gram, found[1][0][name])
    for whole, after in zip(found[0][1], found[1][1], strict=True):
        assert torch.equal(whole, after)


@pytest.mark.parametrize("columns", [5, 256, 600])
def test_the_gram_matrix_summed_above_the_diagonal_is_whole_whenever_it_is_asked_for(columns):
    from pruning.collect.statistics import Gram

    inputs = torch.randn(90, columns, generator=torch.Generator().manual_seed(0))
    gram = Gram(columns, inputs.device)
    for until, part in ((40, inputs[:40]), (90, inputs[40:])):
        gram.add(part)
        exact = inputs[:until].double().t() @ inputs[:until].double()
        assert torch.allclose(gram.value().double(), exact, atol=1e-3)
        assert torch.equal(gram.value(), gram.value().t())
