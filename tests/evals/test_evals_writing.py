"""Greedy writing in batches."""

import pytest
import torch

from evals.asking.writing import Written, write
from models.decoding import Generation
from models.errors import Cancelled, EspalierError, RequestError
from models.sampling import Sampling

PROMPTS = [
    "The gardener",
    "A tree that is pruned well bears more fruit",
    "在花园里",
    "",
    "Café crème für 12",
    "x " * 30,
]
FAMILIES = ["llama", "gpt2", "gpt_neox", "opt", "bloom", "mpt", "falcon", "gemma2", "mistral", "qwen3_moe", "gptj"]


def alone(model, tokenizer, prompt, new_tokens, stop=()):
    generation = Generation(model, tokenizer, prompt, Sampling(new_tokens, stop=tuple(stop))).run()
    return generation.text, len(generation.ids), generation.finished


def batched(model, tokenizer, prompts, new_tokens, stop=(), **options):
    found = dict(write(model, tokenizer, prompts, new_tokens, stop, **options))
    assert sorted(found) == list(range(len(prompts)))
    return [found[at] for at in range(len(prompts))]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_writes_what_each_prompt_gets_alone(tiny_model, tiny_tokenizer, family):
    model = tiny_model(family, initializer_range=0.3) if family != "mpt" else tiny_model(family)
    for written, prompt in zip(batched(model, tiny_tokenizer, PROMPTS, 12), PROMPTS, strict=True):
        assert (written.text, written.tokens, written.finished) == alone(model, tiny_tokenizer, prompt, 12)
        assert written.dropped == 0
    assert len({written.text for written in batched(model, tiny_tokenizer, PROMPTS, 12)}) > 1


def test_a_stop_string_is_cut_off_though_it_lies_across_tokens(tiny_model, tiny_tokenizer):
    model = tiny_model("llama", initializer_range=0.3)
    whole = [text for text, _, _ in (alone(model, tiny_tokenizer, prompt, 16) for prompt in PROMPTS)]
    stops = [text[len(text) // 2 :][:3] for text in whole if len(text) > 8][:2]
    found = batched(model, tiny_tokenizer, PROMPTS, 16, stops)
    for written, prompt in zip(found, PROMPTS, strict=True):
        assert (written.text, written.tokens, written.finished) == alone(model, tiny_tokenizer, prompt, 16, stops)
        assert not any(stop in written.text for stop in stops)
    assert {written.finished for written in found} == {"stop", "length"}


def test_an_end_of_text_ends_its_row_alone(tiny_model, tiny_tokenizer):
    model = tiny_model("llama", initializer_range=0.3)
    ids = Generation(model, tiny_tokenizer, PROMPTS[0], Sampling(16)).run().ids
    model.generation_config.eos_token_id = [ids[5]]
    found = batched(model, tiny_tokenizer, PROMPTS, 16)
    assert found[0].finished == "end" and found[0].tokens == ids.index(ids[5]) + 1
    for written, prompt in zip(found, PROMPTS, strict=True):
        assert (written.text, written.tokens, written.finished) == alone(model, tiny_tokenizer, prompt, 16)
    assert "length" in {written.finished for written in found}


def test_the_models_own_generation_settings_have_no_say_and_stay(tiny_model, tiny_tokenizer):
    model = tiny_model("llama", initializer_range=0.3)
    plain = batched(model, tiny_tokenizer, PROMPTS, 12)
    ids = Generation(model, tiny_tokenizer, PROMPTS[0], Sampling(12)).run().ids
    settings = model.generation_config
    settings.update(do_sample=True, temperature=5.0, repetition_penalty=9.0, suppress_tokens=ids, min_new_tokens=9)
    assert batched(model, tiny_tokenizer, PROMPTS, 12) == plain
    assert model.generation_config is settings and settings.repetition_penalty == 9.0


def test_a_prompt_too_long_keeps_its_end_and_its_leading_special_token_and_says_so(tiny_model, tiny_tokenizer):
    model = tiny_model("llama", initializer_range=0.3)
    prompt = "".join(f"{number} trees, " for number in range(100))
    ids = tiny_tokenizer(prompt)["input_ids"]
    long, short = batched(model, tiny_tokenizer, [prompt, "Twelve trees"], 10)
    assert long.dropped == len(ids) - (128 - 10) and short.dropped == 0
    kept = [tiny_tokenizer.bos_token_id, *ids[1 + long.dropped :]]
    assert len(kept) == 118 and ids[0] == kept[0]
    assert long.text == alone(model, tiny_tokenizer, kept, 10)[0]
    assert short.text == alone(model, tiny_tokenizer, "Twelve trees", 10)[0]


def test_batches_come_as_they_are_done_the_longest_first(tiny_model, tiny_tokenizer, monkeypatch):
    monkeypatch.setattr("evals.asking.writing.BATCH_TOKENS", 80)
    seen = []
    prompts = ["tree " * count for count in (3, 30, 5, 20)]
    model = tiny_model()
    found = write(model, tiny_tokenizer, prompts, 4, progress=lambda fraction, message: seen.append(fraction))
    assert next(found)[0] == 1
    early = len(seen)
    rest = [at for at, _ in found]
    assert rest[0] == 3 and sorted(rest[1:]) == [0, 2]
    assert 0 < early < len(seen) and seen == sorted(seen) and seen[-1] == 1
    texts = dict(write(model, tiny_tokenizer, prompts, 4))
    assert all(texts[at].text == alone(model, tiny_tokenizer, prompt, 4)[0] for at, prompt in enumerate(prompts))


def test_no_prompts_need_no_forward_pass(tiny_model, tiny_tokenizer):
    assert list(write(tiny_model(), tiny_tokenizer, [], 4)) == []


def test_a_model_without_logits_to_keep_gets_smaller_batches(tiny_model, tiny_tokenizer, monkeypatch):
    from evals.asking import writing

    model = tiny_model()
    monkeypatch.setattr(writing, "LOGIT_BYTES", 4 * 10 * len(tiny_tokenizer) * 2)
    assert [len(batch) for batch in writing._batches(model, [10] * 5, 4)] == [5]
    forward = model.forward
    model.forward = lambda input_ids, **options: forward(input_ids, **options)
    assert [len(batch) for batch in writing._batches(model, [10] * 5, 4)] == [2, 2, 1]


@pytest.mark.parametrize(("new_tokens", "said"), [(0, "at least 1"), (128, "no room"), (500, "no room")])
def test_what_cannot_be_written_is_refused(tiny_model, tiny_tokenizer, new_tokens, said):
    with pytest.raises(RequestError, match=said):
        list(write(tiny_model(), tiny_tokenizer, ["x"], new_tokens))


def test_output_that_is_not_finite_is_one_clear_line(tiny_model, tiny_tokenizer):
    model = tiny_model()
    own = model.generation_config
    model.model.norm.weight.data[:] = float("nan")
    with pytest.raises(EspalierError, match="not finite"):
        list(write(model, tiny_tokenizer, PROMPTS, 4))
    assert model.generation_config is own


def test_running_out_of_memory_is_one_clear_line(tiny_model, tiny_tokenizer, monkeypatch):
    model = tiny_model()

    def fail(*arguments, **options):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(model, "generate", fail)
    with pytest.raises(EspalierError, match="^Out of memory while writing"):
        list(write(model, tiny_tokenizer, PROMPTS, 4))


def test_it_can_be_cancelled_between_two_tokens(tiny_model, tiny_tokenizer):
    def cancel(fraction, message):
        raise Cancelled

    with pytest.raises(Cancelled):
        list(write(tiny_model(), tiny_tokenizer, PROMPTS, 4, progress=cancel))


def test_what_was_written_compares_by_value():
    assert Written("a", 1, "end") == Written("a", 1, "end", 0)
