"""The files of a packed model, as FORMAT.md describes them: written, and read without the dense weights ever existing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from models.console.quiet import quiet_transformers
from models.errors import EspalierError, RequestError, first_line
from models.memory import require
from models.storage.files import new_folder, write_json
from models.storage.reading import parse_object
from models.storage.weights import TensorHeader, tensor_headers
from pruning.packing.embedding import PackedEmbedding
from pruning.packing.format import Format
from pruning.packing.fused import fuse
from pruning.packing.install import replace
from pruning.packing.kernels import kernels
from pruning.packing.linear import PackedLinear
from pruning.packing.pages import use_huge_pages, want_huge_pages
from pruning.packing.storage import Storage, check
from pruning.saved.record import RECORD

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from models.source import ModelSource

PACKING = "packing.json"
SCHEMA_VERSION = 1
SHARD_BYTES = 4 << 30
DTYPES = {
    "BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64,
    "I8": torch.int8, "I16": torch.int16, "I32": torch.int32, "I64": torch.int64, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


def save_packed(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    out: Path | str,
    record: Path | dict | None = None,
    check: Callable[[Path], None] | None = None,
) -> None:
    """Writes a packed model and its tokenizer to the folder `out`, whole or not at all.

    record: what `pruning.json` shall say, or that file; None writes none. `check(folder)` is called before the folder
    takes its name, and may raise. Raises RequestError if `out` holds anything, EspalierError if writing fails.
    """
    with new_folder(out) as folder:
        write_model(model, folder)
        with quiet_transformers():
            tokenizer.save_pretrained(folder)
        if isinstance(record, dict):
            write_json(folder / RECORD, record)
        elif record is not None:
            shutil.copyfile(record, folder / RECORD)
        if check is not None:
            check(folder)


def write_model(model: PreTrainedModel, save_directory: Path | str, **_) -> None:
    """Writes a packed model's configuration, tensors and `packing.json` into a folder, which need not be empty.

    What `save_pretrained` of a packed model does: its own would write a folder that transformers reads without a word
    and with random weights.
    """
    folder = Path(save_directory)
    folder.mkdir(parents=True, exist_ok=True)
    with quiet_transformers():
        model.config.save_pretrained(folder)
        if model.can_generate():
            model.generation_config.save_pretrained(folder)
    stored, shared = _tensors(model)
    _write(folder, stored)
    write_json(folder / PACKING, describe(model, shared))


def save_as_packed(model: PreTrainedModel) -> None:
    """Has `model.save_pretrained(folder)` write the packed files."""
    model.save_pretrained = partial(write_model, model)  # copies of the model get their own


def describe(model: nn.Module, shared: dict[str, str]) -> dict:
    """What `packing.json` says: every packed matrix, and which tensors are stored under another name."""
    matrices, embeddings = {}, {}
    for name, module in model.named_modules():
        if isinstance(module, PackedLinear):
            matrices[name] = {
                "format": str(module.format),
                "shape": [module.out_features, module.in_features],
                "dtype": str(module.dtype).removeprefix("torch."),
                "bias": module.bias is not None,
                "transposed": module.transposed,
            }
        elif isinstance(module, PackedEmbedding):
            embeddings[name] = {"padding_idx": module.padding_idx}
    return {"schema_version": SCHEMA_VERSION, "matrices": matrices, "embeddings": embeddings, "shared": shared}


def read_packing(folder: Path) -> dict:
    """`packing.json` of a folder. RequestError if it is not one, or of a later version."""
    packing = parse_object(folder / PACKING, "pack the model again")
    parts = [packing.get(name) for name in ("matrices", "embeddings", "shared")]
    if type(packing.get("schema_version")) is not int or not all(isinstance(part, dict) for part in parts):
        raise RequestError(f"{folder / PACKING} is damaged: pack the model again.")
    if packing["schema_version"] > SCHEMA_VERSION:
        raise RequestError(f"{folder} was packed by a later Espalier: use that one, or pack the model again.")
    return packing


def load_packed(source: ModelSource, device: torch.device, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """The packed model of a folder, in eval mode on its device; in `dtype` instead of what it was packed in, if given.

    Each tensor is read into its own memory and nothing else: no dense weight exists at any time.
    Raises RequestError for a folder that is damaged, OutOfMemory before it does not fit.
    """
    packing = read_packing(source.folder)
    headers = {header.name: header for header in tensor_headers(source.folder, source.id)}
    require(sum(header.bytes for header in headers.values()), device, source.id)
    model = _skeleton(source)
    try:
        _fill(model, packing, headers)
    except (KeyError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise RequestError(
            f"The files of {source.id} do not fit together ({first_line(error)}): pack the model again."
        ) from error
    missing = [name for name, tensor in model.state_dict(keep_vars=True).items() if tensor.device.type == "meta"]
    if missing:
        raise RequestError(
            f"The files of {source.id} lack {len(missing)} of its weights (such as {missing[0]}): pack it again."
        )
    model.requires_grad_(False)
    save_as_packed(model)
    fuse(model)
    if device.type == "cpu":
        kernels()  # compiled now, if need be, rather than in the middle of the first answer
        use_huge_pages((*model.parameters(), *model.buffers()))
    model = model.to(device)
    return (model if dtype is None else model.to(dtype)).eval()


def _tensors(model: nn.Module) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors to store by name, and for every other name the one under which its tensor is stored."""
    stored: dict[str, torch.Tensor] = {}
    shared: dict[str, str] = {}
    first: dict[tuple, str] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        key = (tensor.data_ptr(), tensor.dtype, tuple(tensor.shape))
        if tensor.numel() and key in first:
            shared[name] = first[key]
        else:
            first[key] = name
            stored[name] = tensor.detach()
    return stored, shared


def _write(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    from safetensors.torch import save_file

    shards: list[dict[str, torch.Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.nbytes > SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1][name] = tensor.contiguous()
        size += tensor.nbytes
    for number, shard in enumerate(shards, 1):
        # Not model.safetensors: plain transformers must not take this for a model whose weights are missing.
        name = "packed.safetensors" if len(shards) == 1 else f"packed-{number:05}-of-{len(shards):05}.safetensors"
        save_file(shard, folder / name, metadata={"format": "espalier-packed", "schema_version": str(SCHEMA_VERSION)})


def _skeleton(source: ModelSource) -> PreTrainedModel:
    """The model of the configuration with parameters that take no memory; buffers that no file holds are computed."""
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    try:
        with quiet_transformers(), init_empty_weights(include_buffers=False), _matrices_nowhere():
            config = AutoConfig.from_pretrained(source.folder, trust_remote_code=False, local_files_only=True)
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
            if (source.folder / "generation_config.json").exists():
                model.generation_config = GenerationConfig.from_pretrained(source.folder)
    except Exception as error:  # whatever a configuration can be wrong about
        raise EspalierError(
            f"{source.id} could not be loaded: {first_line(error)}. Check that its files are whole."
        ) from error
    return model


@contextmanager
def _matrices_nowhere() -> Iterator[None]:
    """Linear layers and embeddings are made without memory; `init_empty_weights` alone makes each and drops it again."""
    kinds = (nn.Linear, nn.Embedding)
    originals = [kind.__init__ for kind in kinds]

    def nowhere(original):
        @wraps(original)
        def make(self, *arguments, **options):
            with torch.device("meta"):
                original(self, *arguments, **options)

        return make

    for kind, original in zip(kinds, originals, strict=True):
        kind.__init__ = nowhere(original)
    try:
        yield
    finally:
        for kind, original in zip(kinds, originals, strict=True):
            kind.__init__ = original


def _fill(model: PreTrainedModel, packing: dict, headers: dict[str, TensorHeader]) -> None:
    """Gives a skeleton its packed layers, and every tensor that the files hold. Shared ones are read once."""
    shared = packing["shared"]
    read: dict[str, nn.Parameter] = {}

    def tensor(name: str) -> nn.Parameter:
        name = shared.get(name, name)
        if name not in read:
            read[name] = nn.Parameter(_read(headers[name]), requires_grad=False)
        return read[name]

    for name, matrix in packing["matrices"].items():
        replace(model, name, _layer(name, matrix, tensor))
    for name, embedding in packing["embeddings"].items():
        replace(model, name, PackedEmbedding(model.get_output_embeddings(), embedding["padding_idx"]))
    filled = {
        name for name, held in model.state_dict(keep_vars=True).items() if held is read.get(shared.get(name, name))
    }
    for name, held in model.state_dict(keep_vars=True).items():
        if name in filled or _is_packed(model, name):
            continue
        value = tensor(name)
        if value.shape != held.shape:
            raise ValueError(f"{name} has the shape {tuple(value.shape)}, not {tuple(held.shape)}")
        owner, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(owner), attribute, value if isinstance(held, nn.Parameter) else value.data)
    if unknown := sorted(set(headers) - set(read)):
        raise ValueError(f"{unknown[0]} is no part of the model")


def _is_packed(model: nn.Module, name: str) -> bool:
    """Whether a tensor is one that its packed module was made of."""
    owner, _, attribute = name.rpartition(".")
    return attribute != "bias" and isinstance(model.get_submodule(owner), PackedLinear | PackedEmbedding)


def _layer(name: str, matrix: dict, tensor: Callable[[str], nn.Parameter]) -> PackedLinear:
    format = Format.parse(matrix["format"])
    rows, columns = matrix["shape"]
    storage = Storage(
        format,
        rows,
        columns,
        getattr(torch, matrix["dtype"]),
        tensor(f"{name}.values"),
        None if format.kind == "dense" else tensor(f"{name}.words").data,
        tensor(f"{name}.scales").data if format.int8 else None,
    )
    check(storage)
    return PackedLinear(storage, tensor(f"{name}.bias") if matrix["bias"] else None, matrix["transposed"])


def _read(header: TensorHeader) -> torch.Tensor:
    """One tensor in memory of its own: a mapped file would count twice while it is copied, and lies unaligned."""
    memory = torch.empty(header.bytes, dtype=torch.uint8)
    want_huge_pages(memory)
    with open(header.file, "rb", buffering=0) as file:
        file.seek(header.begin)
        view, done = memoryview(memory.numpy()), 0
        while done < len(view):
            if not (count := file.readinto(view[done:])):
                raise ValueError(f"{header.file} is cut off")
            done += count
    return memory.view(DTYPES[header.dtype]).reshape(header.shape)
