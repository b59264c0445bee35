"""`python -m training pretrain`: killed and gone on from, and shared by two processes, to the same model."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from models.storage.files import write_json
from training.shards import write_shard

ROOT = os.path.join(os.path.dirname(__file__), "..", "..")
pytestmark = pytest.mark.slow
STEPS, BATCH, LENGTH = 12, 4, 32
RUN = ("--tokens", STEPS * BATCH * LENGTH, "--batch", BATCH, "--length", LENGTH, "--threads", 1, "--schedule", "wsd")
RUN += ("--learning-rate", 1e-3, "--checkpoint-every", 4, "--validate-every", 4, "--optimizer", "adamw")
KILLED = """
import os, signal, sys
import models.console.progress
from training.__main__ import main

def kill(fraction, message):
    if fraction > 0.8:
        os.kill(os.getpid(), signal.SIGKILL)
models.console.progress.terminal_bar = lambda: kill
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, tiny_tokenizer):
    """Texts that count up by one, three or seven."""
    folder = tmp_path_factory.mktemp("corpus") / "corpus"
    generator = np.random.default_rng(0)
    parts = (2 + generator.integers(300) + generator.choice([1, 3, 7]) * np.arange(50) for _ in range(200))
    shard = write_shard(folder / "tokens.bin", (part % 300 + 2 for part in parts), "<u2")
    tiny_tokenizer.save_pretrained(folder / "tokenizer")
    manifest = {"schema_version": 2, "dtype": "<u2", "shards": [shard], "tokens": shard["tokens"]}
    write_json(folder / "manifest.json", manifest)
    return folder


@pytest.fixture(scope="module")
def unbroken(corpus, tmp_path_factory, run_cli):
    out = tmp_path_factory.mktemp("unbroken") / "model"
    done = run_cli("training", "pretrain", "--corpus", corpus, "--out", out, *RUN, timeout=600)
    assert done.returncode == 0, done.stderr
    return out


def python(*arguments):
    words = [sys.executable, *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)


def record(folder):
    return json.loads((folder / "training.json").read_text())["pretraining"]


def weights(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


def test_the_record_tells_what_was_done(unbroken):
    run = record(unbroken)
    assert run["steps"] == STEPS and run["tokens"] == STEPS * BATCH * LENGTH and run["processes"] == 1
    assert [tokens for tokens, _ in run["validation"]] == [step * BATCH * LENGTH for step in (4, 8, 12)]
    assert run["validation"][-1][1] < run["validation"][0][1] < np.log(320) + 1
    assert run["options"]["schedule"] == "wsd" and run["data"]["shape"] == "6M"
    assert (unbroken / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert "</svg>" in (unbroken / "loss.svg").read_text()


def test_a_killed_run_goes_on_to_the_same_bytes(corpus, unbroken, tmp_path, run_cli):
    out = tmp_path / "model"
    command = ("pretrain", "--corpus", corpus, "--out", out, *RUN)
    assert python("-c", KILLED, *command).returncode == -9
    assert [path.name for path in tmp_path.iterdir()] == ["model.checkpoint"]
    done = run_cli("training", *command, timeout=600)
    assert done.returncode == 0, done.stderr
    assert weights(out) == weights(unbroken) and weights(out)
    assert record(out)["losses"] == record(unbroken)["losses"]
    assert record(out)["validation"] == record(unbroken)["validation"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_two_processes_share_a_run_with_the_same_loss_curve(corpus, unbroken, tmp_path):
    out = tmp_path / "model"
    launch = ("-m", "torch.distributed.run", "--nproc_per_node", 2, "--standalone", "--local_addr", "127.0.0.1")
    done = python(*launch, "-m", "training", "pretrain", "--corpus", corpus, "--out", out, "--device", "cpu", *RUN)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("nats a token") == 1, "each process told the end"
    shared, alone = record(out), record(unbroken)
    assert shared["processes"] == 2 and shared["steps"] == alone["steps"]
    for curve in ("losses", "validation"):
        assert [tokens for tokens, _ in shared[curve]] == [tokens for tokens, _ in alone[curve]]
        assert [loss for _, loss in shared[curve]] == pytest.approx([loss for _, loss in alone[curve]], abs=1e-3)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
