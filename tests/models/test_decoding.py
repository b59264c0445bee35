"""Decoding step by step: the same tokens as `generate`, sampling coupled by the seed, text held back until whole."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.decoding import PREFILL_CHUNK, Generation, TextStream
from models.errors import EspalierError, RequestError
from models.sampling import Sampler, Sampling

PROMPT = "The gardener ties the young branches"
FAMILIES = ["llama", "mistral", "qwen2", "qwen3", "gemma2", "phi3", "gpt2", "gpt_neox", "opt", "bloom"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_greedy_equals_generate(tiny_model, tiny_tokenizer, family, penalty):
    model = tiny_model(family)
    ours = Generation(model, tiny_tokenizer, PROMPT, Sampling(24, repetition_penalty=penalty)).run()
    ids = torch.tensor([ours.prompt_ids])
    theirs = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False, repetition_penalty=penalty
    )
    assert theirs[0, ids.shape[1] :].tolist() == ours.ids
    assert ours.finished == ("end" if ours.ids[-1] == 0 else "length")


def test_a_prompt_read_in_pieces_gives_the_same_tokens(tiny_model, tiny_tokenizer):
    model = tiny_model("llama", max_position_embeddings=2 * PREFILL_CHUNK)
    ids = torch.arange(PREFILL_CHUNK + 40).remainder(300).add(2).tolist()
    ours = Generation(model, tiny_tokenizer, ids, Sampling(8))
    ours.step()
    assert not ours.ids and not ours.finished
    theirs = model.generate(
        torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), max_new_tokens=8, do_sample=False
    )
    assert ours.run().ids == theirs[0, len(ids) :].tolist()


def test_the_clock_runs_only_inside_steps(tiny_model, tiny_tokenizer, monkeypatch):
    ticks = iter(range(1000))
    monkeypatch.setattr("models.decoding.time.perf_counter", lambda: float(next(ticks)))
    generation = Generation(tiny_model(), tiny_tokenizer, PROMPT, Sampling(5, ignore_end=True)).run()
    assert generation.token_times == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert generation.seconds == 5.0


def test_warming_up_neither_counts_nor_changes_what_is_written(tiny_model, tiny_tokenizer):
    model = tiny_model()
    cold, warm = (Generation(model, tiny_tokenizer, PROMPT, Sampling(12)) for _ in range(2))
    warm.warm_up()
    assert warm.seconds == 0.0 and not warm.ids
    assert warm.run().ids == cold.run().ids


def test_the_seed_decides_and_couples_two_models(tiny_model, tiny_tokenizer):
    def text(seed, model):
        return Generation(model, tiny_tokenizer, PROMPT, Sampling(20, temperature=1.0, seed=seed)).run().ids

    model, same = tiny_model(), tiny_model()
    assert text(1, model) == text(1, same) != text(2, model)


def test_samples_follow_the_distribution():
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]])
    sampler = Sampler(Sampling(temperature=1.0, seed=0))
    counts = torch.zeros(4)
    for _ in range(20000):
        counts[sampler.choose(torch.zeros(1, 1, dtype=torch.long), logits)] += 1
    # 5 standard errors of the largest share
    assert torch.allclose(counts / counts.sum(), logits.softmax(-1)[0], atol=5 * (0.25 / 20000) ** 0.5)


@pytest.mark.parametrize(
    ("options", "allowed"),
    [(dict(top_k=2), {1, 2}), (dict(top_p=0.5), {2}), (dict(min_p=0.3), {1, 2}), (dict(temperature=0.01), {2})],
)
def test_filters_leave_out_what_they_should(options, allowed):
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]])
    sampler = Sampler(Sampling(**{"temperature": 1.0} | options))
    chosen = {sampler.choose(torch.zeros(1, 1, dtype=torch.long), logits) for _ in range(300)}
    assert chosen == allowed


def test_a_stop_text_ends_and_is_cut_away(tiny_model, tiny_tokenizer):
    free = Generation(tiny_model(), tiny_tokenizer, PROMPT, Sampling(20, ignore_end=True)).run()
    stop = free.text[3:6]
    stopped = Generation(tiny_model(), tiny_tokenizer, PROMPT, Sampling(20, ignore_end=True, stop=(stop,))).run()
    assert stopped.finished == "stop"
    assert stopped.text == free.text[: free.text.index(stop)]


def test_the_context_is_a_limit(tiny_model, tiny_tokenizer):
    model = tiny_model("llama", max_position_embeddings=16)
    generation = Generation(model, tiny_tokenizer, [5] * 10, Sampling(50, ignore_end=True)).run()
    assert (len(generation.ids), generation.finished) == (6, "context")
    with pytest.raises(RequestError, match="shorten it"):
        Generation(model, tiny_tokenizer, [5] * 16, Sampling(50))


def test_an_empty_prompt_begins_a_text(tiny_model, tiny_tokenizer):
    assert Generation(tiny_model(), tiny_tokenizer, "", Sampling(3)).prompt_ids == [0]


def test_weights_that_are_not_finite_are_reported(tiny_model, tiny_tokenizer):
    model = tiny_model()
    model.lm_head.weight.data.fill_(float("nan"))
    with pytest.raises(EspalierError, match="not finite"):
        Generation(model, tiny_tokenizer, PROMPT, Sampling(3)).run()


def test_closing_lets_go(tiny_model, tiny_tokenizer):
    generation = Generation(tiny_model(), tiny_tokenizer, PROMPT, Sampling(30))
    generation.step()
    generation.close()
    generation.step()
    assert (generation.finished, len(generation.ids)) == ("stopped", 1)


@settings(deadline=None, max_examples=60)
@given(text=st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\x00\ufffd")))
def test_streamed_text_is_the_whole_text_and_never_shows_half_a_character(text, tiny_tokenizer):
    ids = tiny_tokenizer(text, add_special_tokens=False)["input_ids"]
    stream = TextStream(tiny_tokenizer)
    pieces = [stream.push(token) for token in ids]
    pieces.append(stream.finish())
    assert "".join(pieces) == stream.text == text
    assert not any("\ufffd" in piece for piece in pieces)


@pytest.mark.parametrize(
    "options",
    [
        dict(max_new_tokens=0),
        dict(temperature=-1),
        dict(top_p=0),
        dict(top_k=-1),
        dict(min_p=2),
        dict(repetition_penalty=0),
    ],
)
def test_senseless_sampling_is_refused(options):
    with pytest.raises(RequestError):
        Sampling(**options)
