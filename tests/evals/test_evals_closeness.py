"""Closeness of two models: against scipy's divergence and plain greedy decoding, and from end to end."""

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from evals import evaluate_models
from evals.text_losses import scoring
from evals.text_losses.closeness import continuations, partings, prompts, token_closeness
from models.console.progress import silent
from models.errors import EspalierError, RequestError
from models.loading import Loaded
from training.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def models(tiny_model):
    return [tiny_model(seed=seed) for seed in (0, 1)]


@pytest.fixture
def windows():
    return torch.from_numpy(np.random.default_rng(0).integers(2, 320, size=(5, 40)))


def odds(model, windows):
    with torch.no_grad():
        return torch.softmax(model(windows).logits[:, :-1].double(), -1).numpy()


def test_the_divergence_is_scipy_s_and_agreement_that_of_the_likeliest(models, windows):
    found = token_closeness(*models, windows)
    p, q = (odds(model, windows) for model in models)
    np.testing.assert_allclose(found.kl, entropy(p, q, axis=-1), rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(found.agrees, p.argmax(-1) == q.argmax(-1))


def test_large_vocabularies_go_by_pieces_with_the_same_result(models, windows, monkeypatch):
    whole = token_closeness(*models, windows)
    monkeypatch.setitem(scoring.PIECE_BYTES, "cpu", 4 * 320 * 7)
    pieces = token_closeness(*models, windows)
    np.testing.assert_allclose(pieces.kl, whole.kl, rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(pieces.agrees, whole.agrees)


def test_a_model_is_as_close_to_itself_as_can_be(models, windows):
    found = token_closeness(models[0], models[0], windows)
    assert not found.kl.any() and found.agrees.all()


def test_damaged_weights_are_told(models, windows, tiny_model):
    damaged = tiny_model()
    damaged.lm_head.weight.data[3, 3] = float("nan")
    with pytest.raises(EspalierError, match="not finite"):
        token_closeness(models[0], damaged, windows)


def greedy(model, prompt, tokens):
    ids = list(prompt)
    for _ in range(tokens):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt) :]


def test_texts_part_where_greedy_decoding_does(models, tiny_model, tiny_tokenizer):
    near = tiny_model()
    with torch.no_grad():
        for parameter in near.parameters():
            parameter += 2e-3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
    starts = prompts(tiny_tokenizer, tiny_tokenizer("The gardener ties the branches. " * 40)["input_ids"], 9, 12)
    dense, pruned = (Loaded(model, tiny_tokenizer, None) for model in (models[0], near))
    written = continuations(dense, starts, 15, silent)
    assert written == [greedy(models[0], start, 15) for start in starts]
    expected = []
    for start, text in zip(starts, written, strict=True):
        pairs = zip(greedy(near, start, 15), text, strict=True)
        expected.append(next((at for at, (one, other) in enumerate(pairs) if one != other), 15))
    assert partings(pruned, starts, written, silent).tolist() == expected
    assert len(set(expected)) > 1
    assert (partings(dense, starts, written, silent) == 15).all()


@pytest.mark.parametrize(("tokens", "count", "length"), [(100, 10, 10), (95, 9, 10), (5, 1, 5), (1, 1, 1)])
def test_prompts_do_not_overlap_and_begin_as_texts_do(tiny_tokenizer, tokens, count, length):
    body = list(range(10, 10 + tokens))
    found = prompts(tiny_tokenizer, [tiny_tokenizer.bos_token_id, *body], 10, 10)
    assert [len(prompt) for prompt in found] == [length + 1] * count
    assert all(prompt[0] == tiny_tokenizer.bos_token_id for prompt in found)
    used = [token for prompt in found for token in prompt[1:]]
    assert len(set(used)) == len(used) and set(used) <= set(body)


@pytest.fixture(scope="module")
def pair(tiny_folder):
    return [str(tiny_folder(seed=seed)) for seed in (0, 1)]


def test_a_run_tells_how_close_the_second_model_is(pair, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("A tree beside a wall bears pears, as every one of them did in the year before. " * 60)
    document = evaluate_models(pair, metrics=["closeness"], data=str(text), quick=True, dtype="float32", cache=None)
    found = {entry["metric"]: entry for entry in document["results"]}
    assert list(found) == ["kl_divergence", "top1_agreement", "tokens_until_parting", "texts_never_parting"]
    for entry in found.values():
        low, high = entry["interval"]
        assert 0 <= low <= entry["value"] <= high
        assert entry["model"] == pair[1] and entry["protocol"]["dense"] == pair[0]
    assert found["kl_divergence"]["value"] > 0 and found["top1_agreement"]["interval"][1] <= 1
    assert found["tokens_until_parting"]["protocol"]["prompts"] == found["tokens_until_parting"]["n"]


def test_models_with_other_tokenizers_are_not_compared(pair, tmp_path, tiny_model):
    train_tokenizer(["A tree beside a wall, another text altogether."] * 9, 320).save_pretrained(tmp_path / "other")
    tiny_model().save_pretrained(tmp_path / "other")
    document = evaluate_models([pair[0], str(tmp_path / "other")], metrics=["closeness"], dtype="float32", cache=None)
    assert document["results"] == [] and "different vocabularies" in document["notes"][0]
    assert "\n" not in document["notes"][0]


def test_one_model_is_close_to_none(pair):
    with pytest.raises(RequestError, match="at least two"):
        evaluate_models(pair[:1], metrics=["closeness"], cache=None)
