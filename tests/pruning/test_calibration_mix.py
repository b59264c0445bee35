"""The calibration text that ships: whole, balanced from its first window on, of parts that can be chosen, read lazily."""

import copy
import gzip
import hashlib
import json
import sys
from itertools import islice
from pathlib import Path

import pytest

from models.errors import RequestError
from models.text.dialogues import Dialogue
from pruning import PruningConfig
from pruning.calibrating import mixture
from pruning.calibrating.mixture import FOLDER, SOURCES, Stream, mixed, part_names, streams
from pruning.calibrating.windows import calibration_windows, join
from pruning.calibration import find_source
from pruning.commands.cli import main

pytestmark = pytest.mark.usefixtures("unchecked")

RECORD = json.loads((FOLDER / SOURCES).read_text(encoding="utf-8"))
CHATML = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + eos_token + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
TALK = Dialogue((("user", "Who prunes?"), ("assistant", "The gardener.")))


def length(document) -> int:
    return len(document) if isinstance(document, str) else sum(len(content) for _, content in document.messages)


def chatting(tokenizer, template: str = CHATML):
    copied = copy.deepcopy(tokenizer)
    copied.chat_template = template
    return copied


def test_the_files_are_those_of_the_record():
    listed = {entry["file"] for entry in RECORD["files"]}
    present = {file.name for file in FOLDER.iterdir() if file.suffix in (".txt", ".zst")}
    assert listed == present
    for entry in RECORD["files"]:
        content = (FOLDER / entry["file"]).read_bytes()
        documents = list(Stream.of(FOLDER, entry).documents())
        assert (len(content), hashlib.sha256(content).hexdigest()) == (entry["bytes"], entry["sha256"])
        assert (len(documents), sum(map(length, documents))) == (entry["documents"], entry["characters"])
        assert all(source["licence"] for source in entry["sources"])
    assert (FOLDER / "LICENSE-APACHE-2.0").read_text().strip().startswith("Apache License")
    told = (FOLDER / "SOURCES.md").read_text(encoding="utf-8")
    assert all(f"{entry['bytes']:,} |" in told and entry["sha256"][:16] in told for entry in RECORD["files"])


def test_it_fills_128_windows_of_2048_tokens_in_half_a_megabyte():
    assert RECORD["tokens"]["model"] == "smollm2" and RECORD["tokens"]["all"] > 128 * 2048 * 1.1
    assert sum(entry["bytes"] for entry in RECORD["files"]) < 500_000
    characters = sum(entry["characters"] for entry in RECORD["files"])
    assert 3.5 < characters / RECORD["tokens"]["all"] < 5  # the count is of these texts


def test_nothing_in_it_was_found_in_what_is_measured():
    cleansed = RECORD["decontamination"]
    for name in ("wikitext2", "c4_sample", "piqa", "hellaswag", "lambada", "mmlu", "squad", "blimp", "texts of evals"):
        assert cleansed["sets"][name] > 1000
    assert set(cleansed["documents_dropped"]) <= set(part_names())


def test_no_document_occurs_twice():
    documents = [str(document) for document in mixed(streams())]
    assert len(set(documents)) == len(documents) == sum(entry["documents"] for entry in RECORD["files"])


@pytest.mark.parametrize("characters", [40_000, 120_000, 500_000])
def test_every_beginning_is_mixed_like_the_whole(characters):
    part_of = {}
    for stream in streams():
        part_of |= dict.fromkeys(map(str, stream.documents()), stream.part)
    whole = sum(stream.characters for stream in streams())
    given = dict.fromkeys(part_names(), 0)
    for document in mixed(streams()):
        given[part_of[str(document)]] += length(document)
        if sum(given.values()) >= characters:
            break
    for part in part_names():
        share = sum(stream.characters for stream in streams() if stream.part == part) / whole
        assert abs(given[part] - share * characters) < 9000  # a document of each file or so


def test_parts_are_chosen_by_name(tiny_model, tiny_tokenizer):
    found = find_source("embedded:chat, code")
    documents = list(mixed(s for s in streams() if s.part in ("chat", "code")))
    windows = calibration_windows(
        tiny_model(), tiny_tokenizer, PruningConfig(calibration="embedded:code", samples=4, sequence_length=64)
    )
    words = tiny_tokenizer.decode(windows.batches[0].ids[0]).removeprefix("<|endoftext|>").split("<|endoftext|>")[0]
    assert windows.source == "embedded:code" and any(words in each for each in documents if isinstance(each, str))
    identities = {name: found.identity(name) for name in ("embedded", "embedded:prose", "embedded:code,chat")}
    assert len(set(identities.values())) == 3
    assert found.identity("embedded:chat,code") == identities["embedded:code,chat"]
    assert found.identity(f"embedded:{','.join(part_names())}") == identities["embedded"]
    assert any(isinstance(each, Dialogue) for each in documents) and any(isinstance(each, str) for each in documents)


@pytest.mark.parametrize("name", ["embedded:poems", "embedded:", "embedded:prose,,code"])
def test_an_unknown_part_is_refused_with_those_there_are(name, tmp_path, capsys):
    with pytest.raises(RequestError, match="no part .*: name some of prose, facts, code, chat"):
        PruningConfig(calibration=name)
    assert main(["prune", "embedded", "--out", str(tmp_path / "out"), "--calibration", name]) == 2
    assert "name some of prose" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_no_more_is_read_than_is_needed(tiny_model, tiny_tokenizer, monkeypatch):
    read = []

    def counting(chosen):
        for document in mixed(chosen):
            read.append(document)
            yield document

    monkeypatch.setattr(sys.modules["pruning.calibration.embedded"], "mixed", counting)
    config = PruningConfig(samples=4, sequence_length=64)
    calibration_windows(tiny_model(), tiny_tokenizer, config)
    assert 0 < len(read) < 6
    streams.cache_clear()
    opened = []
    monkeypatch.setattr(mixture.Stream, "documents", lambda self: opened.append(self) or iter(()))
    find_source("embedded").identity("embedded")
    assert not opened  # what a request is made of is known without reading a text


def test_streams_of_other_sizes_stay_in_step(tmp_path):
    def stream(name: str, count: int, size: int) -> Stream:
        (tmp_path / name).write_text("\n===\n".join([name[0] * size] * count))
        return Stream(tmp_path / name, name, count * size, "")

    chosen = [stream("a.txt", 40, 10), stream("b.txt", 10, 10), stream("c.txt", 1, 100)]
    given = [document[0] for document in mixed(chosen)]
    assert len(given) == 51 and given.index("c") in range(20, 30)  # in the middle
    for end in range(5, 51, 5):
        assert abs(given[:end].count("a") - 4 * given[:end].count("b")) <= 4


def test_conversations_are_written_by_the_template_with_one_end_between(tiny_tokenizer):
    tokenizer = chatting(tiny_tokenizer)
    ids = join([TALK, TALK, "plain", TALK], tokenizer, 10_000)
    talk = "<|user|>Who prunes?<|endoftext|>\n<|assistant|>The gardener.<|endoftext|>\n"
    assert tokenizer.decode(ids) == f"<|endoftext|>{talk}{talk}plain<|endoftext|>{talk}"
    assert tiny_tokenizer.chat_template is None
    script = "User: Who prunes?\n\nAssistant: The gardener."
    plain = tiny_tokenizer.decode(join([TALK, TALK], tiny_tokenizer, 10_000))
    assert plain == f"<|endoftext|>{script}<|endoftext|>{script}"


def test_a_template_s_own_bos_is_not_doubled(tiny_model, tiny_tokenizer):
    tokenizer = chatting(tiny_tokenizer, "{{ bos_token }}" + CHATML.replace("eos_token", "'.'"))
    assert tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id
    config = PruningConfig(samples=2, sequence_length=32)
    windows = calibration_windows(tiny_model(), tokenizer, config, [TALK] * 20)
    rows = [row.tolist() for batch in windows.batches for row in batch.ids]
    assert all(row[0] == 0 and row[1] != 0 for row in rows)
    assert not any(pair == (0, 0) for row in rows for pair in zip(row, row[1:], strict=False))


def test_a_template_that_refuses_is_one_clear_line(tiny_model, tiny_tokenizer):
    strict = "{% if messages[1:] | length > 0 and messages[0]['role'] == messages[1]['role'] %}" \
        "{{ raise_exception('roles must alternate') }}{% endif %}" + CHATML  # fmt: skip
    twice = Dialogue((("user", "One."), ("user", "Two.")))
    with pytest.raises(RequestError, match="Document 2 .*roles must alternate.*embedded:prose") as caught:
        join([TALK, twice], chatting(tiny_tokenizer, strict), 1000)
    assert "\n" not in str(caught.value)


ROWS = [{"prefix": "The gar", "gold_completion": f"dener ties {n} branches to the wall.", "id": n} for n in range(60)]


def test_columns_are_taken_recorded_and_part_of_the_identity(tiny_folder, tmp_path, capsys):
    path, out = tmp_path / "rows.jsonl.gz", tmp_path / "out"
    path.write_bytes(gzip.compress("\n".join(json.dumps(row) for row in ROWS).encode()))
    words = ["prune", str(tiny_folder()), "--out", str(out), "--calibration", str(path), "--samples", "2"]
    words += ["--sequence-length", "16", "--device", "cpu", "--dtype", "float32"]
    assert main([*words, "--columns", "prefix,gone"]) == 2
    assert "line 1 has no column `gone` (it has prefix, gold_completion, id)" in capsys.readouterr().err
    assert main([*words, "--columns", "prefix,gold_completion"]) == 0
    record = json.loads((out / "pruning.json").read_text())
    assert record["config"]["columns"] == "prefix,gold_completion"
    assert record["identity"]["calibration"].endswith(", columns prefix, gold_completion")
    capsys.readouterr()
    assert main([*words, "--resume"]) == 2
    assert "another run" in capsys.readouterr().err
    assert main([*words, "--resume", "--columns", "prefix,gold_completion"]) == 0


def test_columns_make_no_sense_without_rows(tmp_path):
    for name in ("embedded", "self"):
        with pytest.raises(RequestError, match=f"{name} has no columns: omit --columns"):
            PruningConfig(calibration=name, columns="text")
    with pytest.raises(RequestError, match="each once"):
        PruningConfig(calibration=str(tmp_path / "a.jsonl"), columns="a,,b")


def test_rows_of_the_hub_are_read_by_the_same_rules(tiny_model, tiny_tokenizer, monkeypatch):
    class Rows(list):
        def shuffle(self, seed, buffer_size):
            return self

    class Library:
        @staticmethod
        def get_dataset_split_names(repo, config_name, revision):
            return ["train"]

        @staticmethod
        def load_dataset(repo, config, *, revision, split, streaming):
            return Rows(ROWS)

    monkeypatch.setitem(sys.modules, "datasets", Library)
    config = PruningConfig(calibration="owner/name", columns="gold_completion", samples=2, sequence_length=16)
    windows = calibration_windows(tiny_model(), tiny_tokenizer, config)
    text = tiny_tokenizer.decode(windows.batches[0].ids.flatten())
    assert "ranches to the wall" in text and "The gar" not in text


def test_building_is_the_same_every_time_and_drops_what_is_measured(tmp_path, monkeypatch):
    """The script's own parts on a small folder: paragraphs of a test set go, conversations with one go whole."""
    from benchmarks.calibration_texts import cleansing

    sentence = "a long sentence of the test set which nobody may ever see in calibration text again"
    (tmp_path / "wikitext2").mkdir()
    (tmp_path / "wikitext2" / "test.txt").write_text(sentence)
    cleanser = cleansing.Cleanser(tmp_path)
    kept = "Other words stand here, and there are more of them than of those that have to go. " * 4
    documents = [f"{kept}\n{sentence.upper()}!", "untouched text", sentence]
    assert list(cleanser.prose("prose", documents)) == [kept.strip(), "untouched text"]
    assert list(cleanser.whole("code", documents, str)) == ["untouched text"]
    told = cleanser.as_dict()
    assert told["documents_dropped"] == {"prose": 1, "code": 2} and told["lines_cut"]["prose"] == 1
    assert told["lines_in_common"]["wikitext2"] == 4 and "piqa" in told["absent_sets"]


def test_the_script_s_selection_stops_before_it_is_too_long():
    from benchmarks.calibration_building import packed, up_to

    documents = ["abcd", "efgh", [{"role": "user", "content": "ijkl"}], "mnop"]
    assert list(up_to(iter(documents), 12)) == documents[:3] and list(up_to(documents, 11)) == documents[:2]
    assert packed(documents) == packed(list(documents))
    assert list(islice(up_to(documents, 100), 4)) == documents and Path(FOLDER, "SOURCES.md").is_file()
