"""Files that cannot be read, or are JSON of another form: one line with the file and the remedy, exit code 2."""

import json
import os
import shutil
import struct
import tempfile
from pathlib import Path

import pytest

from evals import task
from evals.rows.rows import read_rows
from evals.text_losses.data import load_text
from models import load
from models.console.command import finish
from models.errors import EspalierError, RequestError
from models.source import locate
from models.storage.contents import files_read
from models.storage.files import read_json, sha256
from models.storage.reading import is_there, unreadable
from models.storage.weights import file_headers
from models.text.documents import file_documents
from pruning.anatomy import inspection
from pruning.calibration import find_source
from pruning.commands.cli import main
from pruning.saved.record import finished_record
from training.documents import read_documents

READERS = {
    "json": read_json,
    "hash": sha256,
    "calibration.txt": lambda path: find_source(str(path)).identity(str(path)),
    "documents.jsonl": lambda path: list(file_documents(path)),
    "data.txt": lambda path: load_text(str(path)),
    "rows.csv": read_rows,
    "rows.jsonl": read_rows,
    "task.yaml": task.read_task,
    "table.csv": lambda path: task.find(str(path)),
    "corpus.jsonl": lambda path: list(read_documents(path)),
}


@pytest.fixture
def copy(tiny_folder, tmp_path):
    return shutil.copytree(tiny_folder("llama"), tmp_path / "model")


def broken_link(path):
    path.symlink_to("/nonexistent/blob")


def circle(path):
    path.symlink_to(path.name)


def folder(path):
    path.mkdir()


FAULTS = [
    (broken_link, "is a link to /nonexistent/blob, which is not there"),
    (circle, "leads round in a circle"),
    (folder, "is a folder where a file is needed"),
]


@pytest.fixture(params=FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
def fault(request):
    return request.param


@pytest.mark.parametrize("name", READERS)
def test_every_reader_tells_what_is_wrong_with_a_file(tmp_path, fault, name):
    make, words = fault
    path = tmp_path / name
    make(path)
    with pytest.raises(RequestError) as caught:
        READERS[name](path)
    assert words in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", READERS)
def test_a_missing_file_and_one_behind_a_file_are_told(tmp_path, name):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / name, tmp_path / "file" / name, tmp_path / ("x" * 300) / name):
        with pytest.raises(RequestError) as caught:
            READERS[name](path)
        assert str(path) in str(caught.value) or name == "table.csv"


MODEL_FILES = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json"]


@pytest.mark.parametrize("name", MODEL_FILES)
@pytest.mark.parametrize("make", [broken_link, circle])
def test_a_link_of_a_model_folder_that_leads_nowhere_is_named(copy, name, make):
    (copy / name).unlink()
    make(copy / name)
    with pytest.raises(RequestError, match="is a link") as caught:
        load(str(copy), "cpu")
    assert str(copy / name) in str(caught.value)


@pytest.mark.parametrize("name", ["model.safetensors.index.json", "packing.json", "special_tokens_map.json"])
def test_a_file_that_may_be_there_is_not_taken_for_absent(copy, name):
    broken_link(copy / name)
    with pytest.raises(RequestError, match="is a link to /nonexistent/blob"):
        load(str(copy), "cpu")


def test_a_shard_that_is_a_link_to_nowhere_is_named(copy):
    (copy / "model.safetensors").rename(copy / "model-00001-of-00001.safetensors")
    names = [header.name for header in file_headers(copy / "model-00001-of-00001.safetensors")]
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, "model-00001-of-00001.safetensors")}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    load(str(copy), "cpu")
    (copy / "model-00001-of-00001.safetensors").unlink()
    broken_link(copy / "model-00001-of-00001.safetensors")
    with pytest.raises(RequestError, match="00001.safetensors is a link to /nonexistent/blob"):
        load(str(copy), "cpu")


def test_weights_that_are_a_folder_are_told(copy):
    (copy / "model.safetensors").unlink()
    (copy / "model.safetensors").mkdir()
    with pytest.raises(RequestError, match="model.safetensors is a folder where a file is needed"):
        load(str(copy), "cpu")


def test_the_commands_end_with_2_and_one_line(copy, tmp_path, capsys):
    broken_link(copy / "pruning.json")
    prune = ["prune", str(copy), "--method", "magnitude"]
    broken_link(tmp_path / "plan.json")
    commands = [
        ["inspect", str(copy)],
        ["pack", str(copy), "--out", str(tmp_path / "packed")],
        [*prune, "--resume", "--out", str(copy)],
        ["prune", str(copy), "--plan", str(tmp_path / "plan.json"), "--out", str(tmp_path / "out")],
    ]
    for command in commands:
        assert main(command) == 2, command
        told = capsys.readouterr().err.strip().splitlines()
        assert len(told) == 1 and "is a link to /nonexistent/blob" in told[0] and "Error:" not in told[0]


@pytest.fixture
def secret(tiny_folder):
    """A model folder that anybody may look into, with one file that only its owner may read; we are somebody else."""
    if os.geteuid() != 0:
        pytest.skip("needs to be root, to become another user")
    place = Path(tempfile.mkdtemp(prefix="espalier-secret-"))
    place.chmod(0o755)
    model = shutil.copytree(tiny_folder("llama"), place / "model")
    yield model
    shutil.rmtree(place)


def as_somebody(work):
    os.seteuid(65534)
    try:
        return work()
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_file_that_may_not_be_read_is_named_with_the_remedy(secret, name):
    (secret / name).chmod(0o000)
    with pytest.raises(RequestError, match="may not be opened: change its permissions") as caught:
        as_somebody(lambda: load(str(secret), "cpu"))
    assert str(secret / name) in str(caught.value)


def test_a_folder_that_may_not_be_looked_into_is_told(secret):
    for path in (secret, secret.parent):
        path.chmod(0o700)
        with pytest.raises(RequestError, match="may not be opened"):
            as_somebody(lambda: locate(str(secret)))
        path.chmod(0o755)


def test_a_failing_disk_is_no_wrong_request(tmp_path):
    told = unreadable(OSError(5, "Input/output error"), tmp_path / "weights")
    assert type(told) is EspalierError and "check the disk" in str(told)


def test_what_no_reader_foresaw_is_told_by_the_command_and_the_page(tmp_path, capsys):
    from ui.complaints import explain
    from ui.texts import Words

    broken_link(tmp_path / "x")
    words = "is a link to /nonexistent/blob"
    assert finish(lambda: open(tmp_path / "x").close()) == 2
    assert words in capsys.readouterr().err
    with pytest.raises(FileNotFoundError) as caught:
        open(tmp_path / "x")
    assert words in explain(caught.value, Words())


def test_what_is_there_by_name(tmp_path):
    broken_link(tmp_path / "link")
    assert is_there(tmp_path / "link") and is_there(tmp_path)
    assert not is_there(tmp_path / "none") and not is_there("a\0b") and not is_there(tmp_path / ("x" * 300))


OBJECTS = ["config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json",
           "model.safetensors.index.json", "packing.json"]  # fmt: skip


@pytest.mark.parametrize("text", ["[]", "null", "3", '"llama"', "true", "[" * 100_000, "{", "\ufeff{", "1" * 5000])
@pytest.mark.parametrize("name", OBJECTS)
def test_json_of_another_form_is_one_line_that_names_the_file(copy, name, text):
    (copy / name).write_text(text)
    with pytest.raises(RequestError) as caught:
        load(str(copy), "cpu")
    assert str(copy / name) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architectures": "LlamaForCausalLM"}, r"a text as architectures, which must be a list"),
        ({"architectures": {"a": 1}}, "an object as architectures"),
        ({"architectures": [None]}, "architectures"),
        ({"model_type": ["llama"]}, "a list as model_type"),
        ({"model_type": None}, "names no model_type"),
        ({"model_type": "of_next_year"}, "install a newer one"),
        ({"num_hidden_layers": "three"}, "config.json cannot be made sense of"),
        ({"hidden_size": 36, "head_dim": 8}, "have other shapes than its config.json says"),
    ],
)
def test_a_malformed_entry_of_the_configuration_is_named(copy, changes, words):
    config = json.loads((copy / "config.json").read_text()) | changes
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(RequestError, match=words):
        load(str(copy), "cpu")


@pytest.mark.parametrize("weight_map", [None, [], {}, {"a": 3}, {"a": ["x"]}, {"a": "../x.safetensors"}, {"a": ""}])
def test_a_malformed_index_is_damaged(copy, weight_map):
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(RequestError, match="index.json is damaged"):
        load(str(copy), "cpu")


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
HEADERS = [
    [], None, 3, "x", {"a": []}, {"a": None}, {"a": {}}, {"a": ENTRY | {"shape": "2"}}, {"a": ENTRY | {"shape": [3]}},
    {"a": ENTRY | {"shape": [-2]}}, {"a": ENTRY | {"shape": [True, 2]}}, {"a": ENTRY | {"dtype": 3}},
    {"a": ENTRY | {"data_offsets": [0]}}, {"a": ENTRY | {"data_offsets": [8, 0]}}, {"a": ENTRY | {"data_offsets": [0, "8"]}},
    {"a": ENTRY | {"data_offsets": None}}, {"a": ENTRY, "b": ENTRY}, {"a": ENTRY, "__metadata__": []}, {},
]  # fmt: skip


@pytest.mark.parametrize("header", HEADERS, ids=json.dumps)
def test_a_malformed_safetensors_header_is_damage(copy, header):
    text = json.dumps(header).encode()
    (copy / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    with pytest.raises(RequestError, match="model.safetensors is damaged or cut off"):
        load(str(copy), "cpu")


RECORDS = [
    [], None, 3, {"dense": "x"}, {"dense": {"id": 3}}, {"config": []}, {"plan": []}, {"plan": {}}, {"calibration": []},
    {"plan": {"blocks": {"kept": 3, "removed": []}, "projections": []}}, {"calibration": {"sketch": 3}},
    {"plan": {"blocks": None, "projections": [3]}}, {"plan": {"blocks": None, "projections": [{"name": "a"}]}},
]  # fmt: skip


@pytest.mark.parametrize("record", RECORDS, ids=json.dumps)
def test_a_malformed_record_of_a_pruning_is_named(copy, record):
    (copy / "pruning.json").write_text(json.dumps(record))
    for read in (lambda: finished_record(copy), lambda: inspection.inspect(str(copy))):
        with pytest.raises(RequestError, match="pruning.json.*remove it to go on"):
            read()


def test_a_folder_with_colons_in_its_name_is_a_model(copy, tmp_path, monkeypatch):
    odd = copy.rename(tmp_path / "run::int8")
    assert load(str(odd), "cpu", "float32").description.id == str(odd)
    source = locate(f"{odd}::int8")
    assert (source.folder, source.layout) == (odd, "int8")
    monkeypatch.chdir(tmp_path)
    assert locate("run::int8").layout is None


def test_a_checkpoint_one_folder_deeper_is_hinted_at(copy, tmp_path):
    with pytest.raises(RequestError, match=f"no config.json.*Did you mean {copy}"):
        load(str(tmp_path), "cpu")


def test_the_content_hash_covers_the_configuration_and_the_tokenizer(copy):
    seen = {load(str(copy), "cpu").description.revision}
    for name in ("config.json", "tokenizer.json", "generation_config.json"):
        (copy / name).write_text((copy / name).read_text() + "\n")
        seen.add(load(str(copy), "cpu").description.revision)
    (copy / "README.md").write_text("no part of the model")
    seen.add(load(str(copy), "cpu").description.revision)
    assert len(seen) == 4


def test_a_cell_of_a_sweep_gets_every_file_that_the_fingerprint_covers(copy):
    from evals.sweeping import sweep_plan
    from evals.sweeping.inputs import Inputs

    (copy / "additional_chat_templates").mkdir()
    (copy / "additional_chat_templates" / "tools.jinja").write_text("{{ messages }}")
    inputs = Inputs()
    name = sweep_plan._named(inputs, str(copy))
    assert set(files_read(locate(str(copy)))) <= set(inputs.files([name]).values())
    assert any(file.name == "tools.jinja" for file in files_read(locate(str(copy))))
