"""Loading: what works, and every expected mishap as one clear line with a remedy."""

import json
import shutil

import pytest
import torch

from models import load
from models.errors import RequestError
from models.memory import OutOfMemory, parameter_bytes
from models.storage.weights import tensor_headers


@pytest.fixture(scope="module")
def good(tiny_folder):
    return tiny_folder("llama")


@pytest.fixture
def copy(good, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(good, folder)
    return folder


def edit_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2", "bloom"])
def test_a_folder_loads_and_is_described(tiny_folder, tiny_model, family):
    folder = tiny_folder(family)
    loaded = load(str(folder), device="cpu", dtype="float32")
    original = tiny_model(family)
    ids = torch.tensor([[5, 6, 7, 8]])
    assert torch.equal(loaded.model(ids).logits, original(ids).logits)
    description = loaded.description
    assert description.family == family
    assert (description.layers, description.heads, description.hidden) == (3, 4, 32)
    assert description.kv_heads == (2 if family in ("llama", "qwen2") else 4)
    assert description.parameters == sum(p.numel() for p in original.parameters())
    assert description.bytes == parameter_bytes(loaded.model)
    assert not loaded.model.training


def test_the_content_hash_tells_models_apart(good, tiny_folder):
    one, same, other = (load(str(f), "cpu").description.revision for f in (good, tiny_folder(), tiny_folder(seed=1)))
    assert one == same != other


def test_tied_weights_count_once(tiny_model):
    tied = tiny_model("llama", tie_word_embeddings=True)
    assert parameter_bytes(tied) < parameter_bytes(tiny_model("llama", tie_word_embeddings=False))


def test_headers_know_the_bytes_before_reading(good):
    headers = list(tensor_headers(good, "good"))
    model = load(str(good), "cpu", "bfloat16").model
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    assert sum(h.bytes_as(2) for h in headers) == weights


def break_truncate(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def break_garbage(folder):
    (folder / "model.safetensors").write_bytes(b"not a safetensors file at all")


def break_empty(folder):
    (folder / "model.safetensors").write_bytes(b"")


def break_pickle(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def break_weights(folder):
    (folder / "model.safetensors").unlink()


def break_shard(folder):
    index = {"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def break_tokenizer(folder):
    for file in folder.glob("tokenizer*"):
        file.unlink()


def break_tokenizer_content(folder):
    (folder / "tokenizer.json").write_text('{"model": ')


def break_tokenizer_size(folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"extra{i}" for i in range(50)])
    tokenizer.save_pretrained(folder)


def break_pad_token(folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(folder)


def break_tokenizer_choice(folder):
    from training.tokenizer import train_tokenizer

    words = ["gardener", "branches", "tree", "wall", "fruit", "orchard", "quince", "pear", "ladder", "winter", "knife"]
    texts = [" ".join(f"{one}{other}" for other in words) for one in words] * 5
    train_tokenizer(texts, 360).save_pretrained(folder)


MISHAPS = [
    (break_truncate, "cut off"),
    (break_garbage, "cut off"),
    (break_empty, "cut off"),
    (break_pickle, "pickle"),
    (break_weights, "no .safetensors"),
    (break_shard, "lacks 1 of 1"),
    (break_tokenizer, "no tokenizer"),
    (break_tokenizer_content, "tokenizer"),
    (break_tokenizer_size, r"added and has no embedding: extra0 \(320\) and 49 more"),
    (break_pad_token, r"added and has no embedding: \[PAD\] \(320\), where the model has 320.*resize_token_embeddings"),
    (break_tokenizer_choice, "belongs to another model"),
    (lambda folder: (folder / "config.json").unlink(), "no config.json"),
    (lambda folder: (folder / "config.json").write_text("{"), "not valid JSON"),
    (lambda folder: edit_config(folder, architectures=["LlamaForSequenceClassification"]), "cannot generate"),
    (lambda folder: edit_config(folder, model_type="bert", architectures=["BertForMaskedLM"]), "cannot generate"),
    (lambda folder: edit_config(folder, model_type="t5", architectures=["T5ForConditionalGeneration"]), "decoder"),
    (lambda folder: edit_config(folder, model_type="own", auto_map={"AutoConfig": "x.Y"}), "never run"),
    (lambda folder: edit_config(folder, num_hidden_layers=4), "lack 9 of its weights"),
]


@pytest.mark.parametrize(("damage", "words"), MISHAPS, ids=[words.replace(" ", "-") for _, words in MISHAPS])
def test_a_damaged_folder_is_explained_in_one_line(copy, damage, words):
    damage(copy)
    with pytest.raises(RequestError, match=words) as caught:
        load(str(copy), "cpu")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("model", "words"),
    [("./nowhere", "no folder"), ("/nowhere/at/all", "no folder"), ("a b c", "no folder"), ("../x", "no folder")],
)
def test_a_missing_folder_is_not_looked_for_on_the_hub(model, words):
    with pytest.raises(RequestError, match=words):
        load(model, "cpu")


def test_a_file_is_not_a_model(good):
    with pytest.raises(RequestError, match="is a file"):
        load(str(good / "config.json"), "cpu")


def test_what_cannot_fit_is_refused_with_the_figures_before_it_is_read(good, monkeypatch):
    monkeypatch.setattr("models.memory.available_bytes", lambda device: 100 << 20)
    monkeypatch.setattr("models.loading._load_weights", lambda *_: pytest.fail("weights were read"))
    with pytest.raises(OutOfMemory, match=r"needs about \d+ MiB of memory and 100 MiB is free"):
        load(str(good), "cpu")


@pytest.mark.parametrize(("device", "dtype"), [("tpu", "auto"), ("cpu", "int3")])
def test_unknown_devices_and_dtypes_are_refused(good, device, dtype):
    with pytest.raises(RequestError, match="Unknown"):
        load(str(good), device, dtype)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_card_is_refused(good):
    with pytest.raises(RequestError, match="--device cpu"):
        load(str(good), "cuda")
