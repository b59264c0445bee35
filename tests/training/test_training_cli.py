"""`python -m training`: the whole chain on a few lines of text, and what is said of bad input."""

import gzip
import json
import lzma
import random

import pytest


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    files = {
        "wikipedia_en_2015/train.jsonl.xz": "".join(
            json.dumps({"title": f"River {i}", "text": prose(i, 120)}) + "\n" for i in range(30)
        ),
        "novels_en/novels.jsonl.xz": json.dumps({"text": prose(99, 2000)}) + "\n",
        "sst2_glue/train.tsv.gz": "sentence\tlabel\n" + "a fine film .\t1\nit is n't good\t0\n" * 20,
        "squad/dev-v1.1.json.gz": json.dumps(
            {
                "data": [
                    {"title": f"T{i}", "paragraphs": [{"context": f"Ada had {i} cats.", "qas": [question(i)]}]}
                    for i in range(12)
                ]
            }
        ),
    }
    files["squad/dev-v2.0.json.gz"] = files["squad/dev-v1.1.json.gz"]
    files |= {
        f"reviews_uci/{name}_labelled.txt": "Works well.\t1\nBroke.\t0\n" for name in ("amazon_cells", "imdb", "yelp")
    }
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(exist_ok=True)
        opener = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
        with opener(path, "wt", encoding="utf-8") as file:
            file.write(content)
    return root


def prose(seed, count):
    """English words in a random order, with enough function words to pass for prose."""
    vocabulary = (
        "the of and to that with river town garden tree runs grows early winter stone people water small".split()
    )
    return " ".join(random.Random(seed).choices(vocabulary, k=count))


def question(number):
    return {"question": "How many cats?", "answers": [{"text": str(number)}]}


@pytest.mark.slow
def test_the_three_commands_make_a_model_that_plain_transformers_loads(data, tmp_path, run_cli):
    # Not Muon: torch's multiplies in bfloat16 always, which takes seconds a step where the CPU has none.
    small = ("--batch", 2, "--length", 64, "--threads", 1, "--optimizer", "adamw")
    steps = (
        ("data", "--source", data, "--out", tmp_path / "corpus", "--vocabulary", 400, "--length", 64),
        ("pretrain", "--corpus", tmp_path / "corpus", "--out", tmp_path / "pre", "--tokens", 512, *small),
        (
            "finetune",
            tmp_path / "pre",
            "--corpus",
            tmp_path / "corpus",
            "--source",
            data,
            "--out",
            tmp_path / "tuned",
            *small,
        ),
    )
    for step in steps:
        done = run_cli("training", *step)
        assert done.returncode == 0, done.stderr
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tmp_path / "tuned")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tuned")
    assert model.config.num_key_value_heads < model.config.num_attention_heads
    assert model.dtype.itemsize == 2 and len(tokenizer) == model.config.vocab_size
    record = json.loads((tmp_path / "tuned" / "training.json").read_text())
    assert record["pretraining"]["tokens"] == 512
    assert record["finetuning"]["tokens"] == record["finetuning"]["steps"] * 128
    assert sorted(p.name for p in tmp_path.iterdir()) == ["corpus", "pre", "tuned"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("data", "--source", "nowhere", "--out", "OUT"), "does not exist"),
        (("pretrain", "--corpus", "nowhere", "--out", "OUT"), "does not exist"),
        (("pretrain", "--corpus", "nowhere"), "--out"),
        (("pretrain", "--corpus", "nowhere", "--out", "OUT", "--device", "tpu"), "invalid choice"),
        (("cook",), "invalid choice"),
        ((), "STAGE"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, run_cli, arguments, words):
    done = run_cli("training", *(tmp_path / "out" if a == "OUT" else a for a in arguments))
    lines = [line for line in done.stderr.splitlines() if not line.startswith("[")]
    assert done.returncode == 2 and len(lines) == 1 and words in lines[0]
    assert list(tmp_path.iterdir()) == []
