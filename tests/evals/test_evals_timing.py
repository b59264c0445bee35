"""One timed generation: the definitions on a set clock, batches, the clocks, and what goes wrong."""

import pytest
import torch

from evals.cost import timing
from evals.cost.timing import EventClock, HostClock, RanOutOfMemory, Run, clock_for, prompt_batch, time_generation
from models.errors import Cancelled, EspalierError
from models.forward.state import open_state


def test_the_formulas():
    run = Run(token_times=[0.5, *(0.6 + 0.1 * at for at in range(19)), 2.5], prompt_tokens=100)
    assert (run.ttft, run.seconds, run.new_tokens) == (0.5, 2.5, 21)
    assert run.tpot == pytest.approx(0.1)
    assert run.prefill_rate == pytest.approx(200)
    assert run.decode_rate == pytest.approx(10)
    assert run.output_rate == pytest.approx(21 / 2.5)
    assert run.gaps == pytest.approx([0.1] * 20)


def test_the_rates_of_a_batch_count_all_of_its_tokens():
    run = Run(token_times=[0.5, 0.6, 0.8], prompt_tokens=100, batch=4)
    assert run.tpot == pytest.approx(0.15)  # as one request sees it
    assert run.prefill_rate == pytest.approx(800)
    assert run.decode_rate == pytest.approx(4 * 2 / 0.3)
    assert run.output_rate == pytest.approx(12 / 0.8)


@pytest.fixture
def ticking(tiny_model, monkeypatch):
    """A tiny model whose forward pass takes a second for the prompt and a quarter for every token after it."""
    now = [10.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    model = tiny_model()
    forward = model.forward

    def timed(input_ids, logits_to_keep=0, **options):
        now[0] += 1.0 if input_ids.shape[1] > 1 else 0.25
        return forward(input_ids, logits_to_keep=logits_to_keep, **options)

    model.forward = timed
    return model


def test_the_marks_lie_at_the_tokens(ticking):
    run = time_generation(ticking, torch.ones(3, 7, dtype=torch.long), new_tokens=4)
    assert run.token_times == [1.0, 1.25, 1.5, 1.75]
    assert (run.prompt_tokens, run.batch, run.cache_bytes) == (7, 3, None)
    assert run.cpu_seconds > 0


def test_a_prompt_in_pieces_is_one_prefill(ticking):
    run = time_generation(ticking, torch.ones(1, 7, dtype=torch.long), new_tokens=2, chunk=3)
    assert run.token_times == [1.0 + 1.0 + 0.25, 2.5]  # pieces of 3, 3 and 1


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "bloom", "deepseek_v3"])
def test_a_batch_writes_what_greedy_generation_writes(family, tiny_model, monkeypatch):
    model = tiny_model(family)
    prompts = torch.randint(2, 320, (3, 9), generator=torch.Generator().manual_seed(1))
    open_state(model, batch=3)  # finds out how the model carries its state, by forward passes of its own
    fed = []
    forward = model.forward

    def watched(input_ids, logits_to_keep=0, **rest):
        fed.append(input_ids)
        return forward(input_ids, **rest)

    monkeypatch.setattr(model, "forward", watched)
    time_generation(model, prompts, new_tokens=6)
    written = torch.cat(fed[1:], dim=1)
    monkeypatch.undo()
    model.generation_config.eos_token_id = model.generation_config.pad_token_id = None
    expected = model.generate(prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=5, do_sample=False)
    assert torch.equal(written, expected[:, 9:])


def test_the_cache_is_counted_at_its_largest(tiny_model):
    run = time_generation(tiny_model(), torch.ones(2, 10, dtype=torch.long), new_tokens=5, count_cache=True)
    # 3 layers, keys and values, 2 key-value heads of 8 floats; the last token is not read
    assert run.cache_bytes == 2 * (10 + 4) * 3 * 2 * 2 * 8 * 4


def test_a_sliding_cache_is_largest_after_the_prompt(tiny_model):
    model = tiny_model("mistral", sliding_window=8)
    run = time_generation(model, torch.ones(1, 40, dtype=torch.long), new_tokens=5, count_cache=True)
    assert run.cache_bytes == 40 * 3 * 2 * 2 * 8 * 4


def test_stop_is_asked_before_every_forward_pass(ticking):
    asked = iter([False, False, False, True])
    with pytest.raises(Cancelled):
        time_generation(ticking, torch.ones(1, 6, dtype=torch.long), 9, lambda: next(asked), chunk=3)
    assert next(asked, None) is None


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    ],
)
def test_lack_of_memory_is_told_with_the_size_that_did_not_fit(ticking, error):
    def fail(**options):
        raise error

    ticking.forward = fail
    with pytest.raises(RanOutOfMemory, match="batch of 4, 6 prompt tokens and 3 new ones"):
        time_generation(ticking, torch.ones(4, 6, dtype=torch.long), 3)


def test_another_failure_is_not_taken_for_lack_of_memory(ticking):
    with pytest.raises(IndexError):
        time_generation(ticking, torch.full((1, 4), 9999), 3)


def test_an_output_that_is_not_finite_is_refused(ticking):
    with torch.no_grad():
        ticking.model.norm.weight[0] = float("nan")
    with pytest.raises(EspalierError, match="not finite"):
        time_generation(ticking, torch.ones(2, 4, dtype=torch.long), 3)


def test_cuda_is_timed_by_events_read_after_one_synchronisation(monkeypatch):
    calls, now = [], [0.0]

    class FakeEvent:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.at, now[0] = now[0], now[0] + 250
            calls.append("record")

        def elapsed_time(self, other):
            assert calls[-1] == "synchronize"
            return other.at - self.at  # milliseconds

    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: calls.append("synchronize"))
    clock = EventClock()
    for _ in range(4):
        clock.mark()
    assert clock.seconds() == [0.25, 0.5, 0.75]
    assert calls == ["synchronize", *["record"] * 4, "synchronize"]


def test_each_device_has_its_clock():
    assert clock_for(torch.device("cuda")) is EventClock
    assert clock_for(torch.device("cpu")) is HostClock


def test_the_prompts_of_a_batch_are_cut_one_after_another_and_round():
    assert prompt_batch([1, 2, 3, 4, 5], 2, 2).tolist() == [[1, 2], [3, 4]]
    assert prompt_batch([1, 2, 3], 2, 4).tolist() == [[1, 2, 3, 1], [2, 3, 1, 2]]
    assert prompt_batch([1], 1, 1).dtype == torch.int64
