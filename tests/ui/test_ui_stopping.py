"""Requests of programs that are cancelled, or whose connection is closed: the work ends and leaves nothing behind."""

import inspect
import json
import threading
import urllib.request
from dataclasses import replace

import pytest
import torch
from gradio_client import Client

from models.errors import Cancelled
from pruning import job, registry
from ui import local_engine
from ui.background.visitors import Visit
from ui.background.worker import Worker
from ui.engine import Settings
from ui.local_engine import LocalEngine
from ui.page import build_page
from ui.pair import Side
from ui.tabs.classify import classify_pair
from ui.tabs.lanes import lanes_of

LONG = 30.0  # seconds that nothing here comes near; a test that waited so long fails


@pytest.fixture
def served(fake_engine, serve):
    """An engine whose pruning has ever so many steps, with events for when it began and ended, and its address."""
    engine = fake_engine(steps=1_000_000)
    engine.began, engine.ended = threading.Event(), threading.Event()
    engine.before_step = engine.began.set
    prune = engine.prune

    def watched(*values):
        try:
            return prune(*values)
        finally:
            engine.ended.set()

    engine.prune = watched
    return engine, serve(build_page(engine))


def cancel(job, began):
    """Cancels a request that has begun, as soon as its client knows what it is called there."""
    assert began.wait(LONG)
    while job.communicator.event_id is None:
        threading.Event().wait(0.01)
    job.cancel()


def test_a_cancelled_prune_ends_and_is_never_shelved(served):
    engine, address = served
    first, second = (Client(address, verbose=False) for _ in range(2))
    cancel(first.submit(method="magnitude", api_name="/prune"), engine.began)
    assert engine.ended.wait(LONG)
    assert second.predict(prompt="A tree", max_new_tokens=2, api_name="/generate")["dense"]["tokens"] == 2
    assert second.predict(api_name="/models")["pruned"] == [] and engine.made == {}


def test_a_closed_connection_ends_a_prune(served):
    engine, address = served
    body = json.dumps({"data": ["magnitude", 0.5, "unstructured", "", "none", "plain"]}).encode()
    headers = {"Content-Type": "application/json"}
    asked = urllib.request.Request(f"{address}gradio_api/call/prune", body, headers)
    with urllib.request.urlopen(asked, timeout=LONG) as reply:
        event = json.load(reply)["event_id"]
    stream = urllib.request.urlopen(f"{address}gradio_api/call/prune/{event}", timeout=LONG)
    assert engine.began.wait(LONG)
    stream.close()
    assert engine.ended.wait(LONG)
    assert engine.made == {}


@pytest.mark.parametrize(
    "request_",
    [
        dict(text="A tree", labels="bad, good", api_name="/classify"),
        dict(context="A tree.", question="What?", max_new_tokens=90_000, api_name="/answer"),
        dict(prompt="A tree", max_new_tokens=90_000, api_name="/generate"),
    ],
    ids=lambda request_: request_["api_name"],
)
@pytest.mark.parametrize("where", ["loading", "computing"])
def test_every_endpoint_stops_where_it_is(fake_engine, serve, monkeypatch, request_, where):
    engine = fake_engine(max_position_embeddings=100_000)
    began, ended = threading.Event(), threading.Event()

    def endless(*values, **named):
        began.set()
        from models.console.stopping import interruptible

        try:
            with interruptible():
                while True:
                    torch.ones(1)
        finally:
            ended.set()

    model = engine.loaded.model
    if where == "loading":
        monkeypatch.setattr(engine, "dense", endless)
    elif request_["api_name"] == "/classify":
        endless.__signature__ = inspect.signature(model.forward)
        monkeypatch.setattr(model, "forward", endless)
    else:
        forward = model.forward

        def step(*values, **named):
            began.set()
            return forward(*values, **named)

        step.__signature__ = inspect.signature(forward)
        monkeypatch.setattr(model, "forward", step)
    client = Client(serve(build_page(engine)), verbose=False)
    cancel(client.submit(**request_), began)
    engine.worker.run(lambda: None)  # comes back when the machine is free again
    assert where == "computing" or ended.is_set()


@pytest.fixture
def engine(tiny_folder):
    made = LocalEngine(str(tiny_folder()), dtype="float32")
    yield made
    made.worker.close()


def cut_off(worker: Worker, work, stop: threading.Event):
    """Runs a job on the worker; what it raised."""
    with pytest.raises(Cancelled):
        list(worker.follow(lambda publish: publish(work()), stop))


def silent(fraction, message):
    """A callback that never raises: only the work itself can tell that it shall end."""


@pytest.mark.parametrize("solver", ["none", "sparsegpt", "refit", "alps", "exchange"])
def test_pruning_ends_in_the_middle_of_a_solver(engine, monkeypatch, solver):
    stop, solved = threading.Event(), []
    find = registry.find

    def stopping(kind, name):
        entry = find(kind, name)
        if kind != "solver":
            return entry

        def solve(problem):
            stop.set()
            solution = entry.implementation(problem)
            solved.append(solution)
            return solution

        return replace(entry, implementation=solve)

    monkeypatch.setattr(job, "find", stopping)
    settings = Settings("wanda", 0.5, solver=solver)
    cut_off(engine.worker, lambda: engine.prune(engine.default_model, settings, silent), stop)
    assert solved == [] and engine.twins() == []


@pytest.mark.parametrize("measure", ["evals.text_losses.perplexity.token_losses", "evals.cost.speed.time_generation"])
def test_the_figures_of_the_strip_can_be_cut_off(engine, monkeypatch, measure):
    import importlib

    stop = threading.Event()
    module, name = measure.rsplit(".", 1)
    original = getattr(importlib.import_module(module), name)

    def stopping(*values, **named):
        stop.set()
        return original(*values, **named)

    monkeypatch.setattr(measure, stopping)
    cut_off(engine.worker, lambda: engine.prune(engine.default_model, Settings("magnitude"), silent), stop)
    assert engine.twins() == []


def test_a_stop_at_the_very_end_keeps_the_twin_off_the_shelf(engine, monkeypatch):
    stop = threading.Event()
    change = local_engine.Figures.change
    monkeypatch.setattr(local_engine.Figures, "change", lambda *values: (change(*values), stop.set())[0])
    cut_off(engine.worker, lambda: engine.prune(engine.default_model, Settings("magnitude"), silent), stop)
    assert engine.twins() == []


def test_loading_another_model_can_be_cut_off(engine, tiny_folder, monkeypatch):
    stop = threading.Event()
    load = local_engine.load
    monkeypatch.setattr(local_engine, "load", lambda *values, **named: (stop.set(), load(*values, **named))[1])
    other = str(tiny_folder("gpt2"))
    cut_off(engine.worker, lambda: engine.dense(other), stop)
    monkeypatch.undo()
    assert engine.worker.run(lambda: engine.dense(other)).description.family == "gpt2"


def test_making_the_rows_of_a_race_can_be_cut_off(engine):
    stop = threading.Event()
    side = Side("dense", engine.dense(engine.default_model))
    cut_off(engine.worker, lambda: lanes_of([side], "plain", lambda *now: stop.set()), stop)


def test_classify_that_was_stopped_before_it_began_says_so(fake_engine):
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        list(classify_pair(fake_engine(), Visit("tiny"), "A tree", ["bad", "good"], stop))
