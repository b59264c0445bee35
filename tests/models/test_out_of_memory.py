"""Memory that runs out in a forward pass is told as that, wherever it is: never taken for a model's own way."""

import pytest
import torch

from evals.asking.batching import takes_batches
from evals.asking.forward import text_logits
from evals.asking.writing import write
from evals.text_losses.perplexity import score
from evals.texts import prose
from models import Loaded, load
from models.console.out_of_memory import ran_out
from models.decoding import Generation
from models.errors import EspalierError
from models.forward.causality import refuse_leaks
from models.forward.state import carriage_of
from models.sampling import Sampling


def real_error() -> RuntimeError:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 52, dtype=torch.float64)
    return caught.value


ERRORS = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    "torch's own on the CPU",
]


@pytest.fixture(params=ERRORS, ids=str)
def error(request):
    return real_error() if isinstance(request.param, str) else request.param


@pytest.fixture
def starved(tiny_model, tiny_tokenizer, error):
    """A model that is known to be causal and now finds no memory."""
    model = tiny_model("llama")
    refuse_leaks(model)

    def starve(*args, **kwargs):
        raise error

    model.model.layers[1].forward = starve
    return model


def test_other_errors_are_not_taken_for_it(error):
    assert ran_out(error)
    for other in (RuntimeError("shapes do not fit"), ValueError("out of memory"), EspalierError("Out of memory")):
        assert not ran_out(other)


def test_whoever_tries_what_a_model_can_do_says_that_there_was_no_memory(starved, tiny_model, error):
    for trial in (carriage_of, takes_batches, lambda model: text_logits(model, torch.ones(1, 4, dtype=torch.long))):
        with pytest.raises(Exception) as caught:
            trial(starved)
        assert ran_out(caught.value) or "Out of memory" in str(caught.value)
    starved.model.layers[1].forward = type(starved.model.layers[1]).forward.__get__(starved.model.layers[1])
    assert text_logits(starved, torch.ones(1, 4, dtype=torch.long)).isfinite().all()
    assert carriage_of(starved).name == carriage_of(tiny_model("llama")).name  # nothing false was learnt meanwhile


def test_scoring_and_writing_say_what_takes_less(starved, tiny_tokenizer, error):
    loaded = Loaded(starved, tiny_tokenizer, None)
    with pytest.raises(EspalierError, match="Out of memory while scoring"):
        score(loaded, prose(), most=1)
    with pytest.raises(EspalierError, match="Out of memory"):
        Generation(starved, tiny_tokenizer, "The river", Sampling(max_new_tokens=4)).step()
    with pytest.raises(EspalierError, match="Out of memory"):
        list(write(starved, tiny_tokenizer, ["The river"], 4))


def test_loading_says_what_takes_less(tiny_folder, monkeypatch, error):
    from transformers import AutoModelForCausalLM

    def starve(*args, **kwargs):
        raise error

    folder = tiny_folder("llama")
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", starve)
    with pytest.raises(EspalierError, match="did not fit into memory: choose a smaller model"):
        load(str(folder))
