"""The examples of CONTRIBUTING.md, as a newcomer types them."""

import re
from pathlib import Path

import torch

from pruning import registry

TEXT = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_example_of_a_score_registers_and_scores(monkeypatch):
    monkeypatch.setitem(registry._entries, "method", dict(registry._entries["method"]))
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(compile(code, "loudest.py", "exec"), {})
    entry = registry.find("method", "loudest")
    assert entry.summary and entry.needs == ("column_norms",)
    scores = entry.implementation(torch.tensor([[1.0, -2.0]]), {"column_norms": torch.tensor([3.0, 1.0])})
    assert scores.tolist() == [[9.0, 4.0]]


def test_the_files_that_it_names_are_there():
    root = Path(__file__).parent.parent
    for page in (root / "CONTRIBUTING.md", root / "README.md", *(root / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[\w-]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} names {target}, which is not there"
