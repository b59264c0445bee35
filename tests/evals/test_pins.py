"""The pinned releases and the ranges that they were chosen from."""

from pathlib import Path

import pytest
from packaging.requirements import Requirement

from benchmarks.newest import lowest
from benchmarks.pin import NAMES, ROOT, pins, tidy, wanted


def ranges(name: str) -> list[Requirement]:
    lines = (ROOT / f"{name}.in").read_text(encoding="utf-8").splitlines()
    included = [line.removeprefix("-r ").removesuffix(".in") for line in lines if line.startswith("-r ")]
    own = [Requirement(line) for line in lines if line.strip() and not line.startswith(("-r", "#"))]
    return own + [each for other in included for each in ranges(other)]


@pytest.mark.parametrize("name", NAMES)
def test_every_range_is_pinned_to_releases_that_it_admits(name):
    pinned = pins((ROOT / f"{name}.txt").read_text(encoding="utf-8"))
    for requirement in ranges(name):
        releases = pinned[requirement.name.lower()]
        assert releases and all(requirement.specifier.contains(release) for release in releases), requirement


@pytest.mark.parametrize("name", NAMES)
def test_nothing_but_exact_releases_and_none_of_torchs_cuda_build(name):
    lines = (ROOT / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if not line.startswith("#")]
    assert lines and all("==" in line and "+" not in line.partition(";")[0] for line in lines)
    assert not [line for line in lines if line.startswith(("nvidia", "cuda"))]


def test_the_files_agree_on_the_releases_that_they_share():
    space, tests = (pins((ROOT / f"{name}.txt").read_text(encoding="utf-8")) for name in ("requirements", NAMES[-1]))
    assert {name: tests[name] for name in space} == space


def test_lines_of_the_resolver_are_made_fit_for_every_build():
    lines = ["torch==2.13.0 ; python_version < '3.11'", "torch==2.13.0+cpu ; python_version >= '3.11'"]
    lines += [
        "nvidia-cublas==13.1 ; sys_platform == 'linux'",
        "triton==3.7.1",
        "numpy==2.2.6 ; python_version < '3.11'",
    ]
    lines += ["numpy==2.4.6 ; python_version >= '3.11'"]
    rest = ["numpy==2.2.6 ; python_version < '3.11'", "numpy==2.4.6 ; python_version >= '3.11'"]
    assert tidy(lines, set()) == ["torch==2.13.0", *rest]
    assert tidy(lines, {"triton"}) == ["torch==2.13.0", "triton==3.7.1", *rest]
    assert "triton" in wanted("requirements-dev") and "torch" in wanted("requirements-dev")


def test_the_low_end_of_a_range():
    text = "torch>=2.8,<2.14\ntransformers>=5.0,<6\naccelerate>=1.10\n"
    assert lowest(text, ("transformers", "accelerate")) == ["transformers==5.0", "accelerate==1.10"]


def test_the_space_reads_a_file_that_names_no_other():
    assert "-r" not in Path(ROOT / "requirements.txt").read_text(encoding="utf-8")
