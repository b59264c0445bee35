"""Prompts that a model's context is too short for: how many rows lost how many tokens is recorded and told."""

import json
from types import SimpleNamespace

import pytest

from evals import registry, task
from evals.asking.likelihood import ChoiceScore
from evals.asking.writing import Written
from evals.judging.cutting import tell_cuts
from evals.trial import Trial
from models.console.progress import silent

# Of each metric's task, the rows as prompts: those of `b` are cut by what stands here.
LOST = {"a": 0, "b b": 7, "c c": 1900}
TASKS = {
    "choice": dict(prompt="{text}", choices="choices", label="answer"),
    "classification": dict(prompt="{text}", choices={"no": " no", "yes": " yes"}, label="answer"),
    "last_word": dict(prompt="{text} end"),
    "generation": dict(prompt="{text}", max_new_tokens=5),
}


class Short:
    """ModelPool whose context is too short: the prompts lose what `LOST` says, the second model's nothing."""

    names, baseline, others = ["short", "long"], "short", ["long"]

    def dense(self, name):
        return name

    def client(self, name, answers):
        def lost(prompt):
            return LOST.get(prompt.removesuffix(" end"), 0) if name == "short" else 0

        def likelihoods(asked, progress=None):
            return [[ChoiceScore(choice, -1.0, 1, lost(prompt)) for choice in choices] for prompt, choices in asked]

        def write(prompts, max_new_tokens, stop, progress):
            return [Written("x", 1, "stop", lost(prompt)) for prompt in prompts]

        return SimpleNamespace(name=name, likelihoods=likelihoods, write=write)


@pytest.mark.parametrize("metric", TASKS)
def test_every_kind_of_task_records_what_was_cut(tmp_path, metric):
    rows = [{"text": text, "choices": ["no", "yes"], "answer": "no"} for text in LOST]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    entries = {"summary": "x", "metric": metric, "data": {"file": "rows.jsonl"}} | TASKS[metric]
    (tmp_path / "own.yaml").write_text(json.dumps(entries), encoding="utf-8")
    trial = Trial(Short(), None, False, 0, silent, chosen=[task.find(str(tmp_path / "own.yaml"))], source=tmp_path)
    single = [result for result in registry.find(metric).measure(trial) if result.baseline is None]
    assert single
    for result in single:
        wanted = {"rows": 2, "tokens": 1907} if result.model == "short" else {"rows": 0, "tokens": 0}
        assert result.measurement.protocol["contexts_cut"] == wanted
    assert len(trial.notes) == 1
    assert "short, own: 2 of 3 prompts" in trial.notes[0] and "1,907 tokens" in trial.notes[0]


def test_nothing_cut_is_recorded_and_not_worth_a_note(tmp_path):
    trial = Trial(Short(), None, False, 0, silent)
    tell_cuts(trial, "long", SimpleNamespace(name="own"), [0, 0])
    assert trial.contexts_cut == {("long", "own"): {"rows": 0, "tokens": 0}} and trial.notes == []
