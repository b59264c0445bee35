"""Puts packed layers into a model, and ordinary ones back."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from models.console.progress import Progress, silent
from models.errors import RequestError
from pruning.anatomy.roles import Projection, find_anatomy
from pruning.packing import masks
from pruning.packing.embedding import PackedEmbedding
from pruning.packing.format import Format
from pruning.packing.fused import fuse, unfuse
from pruning.packing.kernels import kernels
from pruning.packing.linear import PackedLinear
from pruning.packing.pages import use_huge_pages
from pruning.packing.storage import CannotPack, encode

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Packing:
    """What `pack` did: the bytes of the packed layers before and after (embeddings that share them included).

    left: the projections that stay as they are, with why, if there are any. signed_zeros: how many -0.0 are stored.
    """

    format: Format
    dense_bytes: int
    packed_bytes: int
    matrices: int
    left: tuple[str, ...] = ()
    signed_zeros: int = 0

    def as_dict(self) -> dict:
        """The same as JSON types."""
        return dataclasses.asdict(self) | {"format": str(self.format), "left": list(self.left)}


def packed_layers(model: nn.Module) -> dict[str, PackedLinear]:
    """The packed layers of a model, by name, in its order."""
    return {name: module for name, module in model.named_modules() if isinstance(module, PackedLinear)}


def is_packed(model: nn.Module) -> bool:
    """Whether a model holds packed layers."""
    return any(isinstance(module, PackedLinear) for module in model.modules())


def pack(
    model: PreTrainedModel, format: Format, progress: Progress | None = None, signed_zeros: bool = True
) -> Packing:
    """Packs the projections of a model in place, one after another, and its head.

    The head and whatever is not pruned takes the dense layout, in int8 if the format says so; a head tied to its
    embedding stays so. Experts that share one parameter stay as they are. No gradients are taken afterwards.
    Without `signed_zeros` every -0.0 of the projections becomes 0.0.

    Raises CannotPack, which names the layer, where a weight does not fit the format, RequestError if the model is
    packed already. What was packed until then stays: load the model again.
    """
    if is_packed(model):
        raise RequestError("The model is packed already: unpack it first (python -m pruning unpack DIR --out DIR).")
    report = progress or silent
    anatomy = find_anatomy(model)
    projections = {entry.name: entry for entry in anatomy.projections if entry.expert is None}
    left = {entry.parameter_name for entry in anatomy.projections if entry.expert is not None}
    model.requires_grad_(False)
    head = model.get_output_embeddings()
    names = {id(module): name for name, module in model.named_modules()}
    before = after = done = signed = 0
    for number, (name, projection) in enumerate(projections.items()):
        report(number / (len(projections) + 1), f"Packing {name}")
        if signed_zeros and not format.int8:
            signed += masks.signed_zeros(projection.weight)
        layer = _packed(name, projection, format, signed_zeros)
        before, after, done = before + projection.weight.nbytes, after + layer.storage.bytes, done + 1
        replace(model, name, layer)
    if isinstance(head, nn.Linear) and id(head) in names:
        report(len(projections) / (len(projections) + 1), "Packing the head")
        before += head.weight.nbytes
        after += _pack_head(model, names[id(head)], head, format)
        done += 1
    from pruning.packing.folder import save_as_packed

    save_as_packed(model)
    fuse(model)
    if model.device.type == "cpu":
        kernels()  # compiled now, if need be, rather than in the middle of the first answer
        use_huge_pages((*model.parameters(), *model.buffers()))
    report(1.0, "Packed")
    kept_back = tuple(f"{name} (experts in one parameter)" for name in sorted(left))
    return Packing(format, before, after, done, kept_back, signed)


def unpack(model: PreTrainedModel) -> None:
    """Puts ordinary layers with the same (for int8: the quantised) weights back, in place; tied ones tied."""
    tied = _shared(model)
    unfuse(model)
    for name, layer in packed_layers(model).items():
        replace(model, name, _ordinary(layer))
    for name, embedding in [entry for entry in model.named_modules() if isinstance(entry[1], PackedEmbedding)]:
        table = nn.Embedding(embedding.num_embeddings, embedding.embedding_dim, embedding.padding_idx, device="meta")
        table.weight = nn.Parameter(embedding.weight, requires_grad=False)
        replace(model, name, table)
    model.__dict__.pop("save_pretrained", None)
    if tied:
        model.get_output_embeddings().weight = model.get_input_embeddings().weight


def _shared(model: PreTrainedModel) -> bool:
    """Whether the packed head has the embedding's table."""
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    if not isinstance(head, PackedLinear):
        return False
    return head.values is (table.values if isinstance(table, PackedEmbedding) else table.weight)


def _packed(name: str, projection: Projection, format: Format, signed_zeros: bool) -> PackedLinear:
    bias = projection.module.bias
    try:
        storage = encode(projection.weight, format, signed_zeros)
    except CannotPack as error:
        raise CannotPack(f"{name}: {error}") from None
    return PackedLinear(_on(storage, projection.weight.device), bias, projection.transposed)


def _pack_head(model: PreTrainedModel, name: str, head: nn.Linear, format: Format) -> int:
    """Packs the head, with the embedding that it is tied to, and returns the bytes of both."""
    table = model.get_input_embeddings()
    tied = table.weight is head.weight
    kind = "dense" if tied or format.kind == "n:m" else format.kind
    if tied and type(table) is not nn.Embedding and format.int8:
        format = dataclasses.replace(
            format, int8=False, group=None
        )  # it does more than look up: its table stays as it is
    storage = encode(head.weight, format.of_kind(kind))
    if tied and not format.int8:
        storage.values = head.weight
    layer = PackedLinear(_on(storage, head.weight.device), head.bias)
    replace(model, name, layer)
    if tied and format.int8:
        names = {id(module): name for name, module in model.named_modules()}
        replace(model, names[id(table)], PackedEmbedding(layer, table.padding_idx))
    return layer.storage.bytes


def _on(storage, device: torch.device):
    for name in ("values", "words", "scales"):
        tensor = getattr(storage, name)
        if tensor is not None and tensor.device != device:
            setattr(storage, name, tensor.to(device))
    return storage


def _ordinary(layer: PackedLinear) -> nn.Module:
    weight = layer.weight
    if layer.transposed:
        from transformers.pytorch_utils import Conv1D

        with torch.device("meta"):
            ordinary = Conv1D(layer.out_features, layer.in_features)
        weight = weight.t().contiguous()
    else:
        bias = layer.bias is not None
        ordinary = nn.Linear(layer.in_features, layer.out_features, bias=bias, device="meta")
    ordinary.weight = nn.Parameter(weight, requires_grad=False)
    ordinary.bias = layer.bias
    return ordinary


def replace(model: nn.Module, name: str, module: nn.Module) -> None:
    """Puts a module in the place of the one of that name."""
    parent, _, child = name.rpartition(".")
    module.train(model.training)
    setattr(model.get_submodule(parent), child, module)
