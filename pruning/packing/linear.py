"""`PackedLinear`: a linear layer whose weight lies packed, in the place of an ordinary one."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from pruning.packing import masks
from pruning.packing.product import multiply
from pruning.packing.storage import Storage, decode, row_starts

TENSORS = ("values", "words", "scales")  # what is saved of it, beside the bias


class PackedLinear(nn.Module):
    """y = x W^T + b with W [out_features, in_features] in a packed `format`.

    `values` is a parameter without gradient (int8, or of the layer's dtype), `words` (the mask) and `scales` are
    buffers; see `pruning.packing.storage`. `transposed`: the layer it stands for stores its weight as [C, R].
    The products are rounded as those of the dense layer are, except that sums are taken in another order; with int8 and
    few rows the inputs are taken with 16 bits and the weights exactly, and with many rows the weights as `decode`
    rounds them. Inputs that are not finite give outputs that are not finite.
    """

    def __init__(self, storage: Storage, bias: nn.Parameter | None = None, transposed: bool = False):
        super().__init__()
        self.in_features, self.out_features = storage.columns, storage.rows
        self.format, self.dtype, self.transposed = storage.format, storage.dtype, transposed
        values = storage.values
        self.values = values if isinstance(values, nn.Parameter) else nn.Parameter(values, requires_grad=False)
        self.register_buffer("words", storage.words)
        self.register_buffer("scales", storage.scales)
        self.register_parameter("bias", bias)
        self.register_buffer("starts", None, persistent=False)
        self.locate_rows()

    @property
    def matrix(self):
        """What the compiled kernels know of it (`torch.classes.espalier.PackedMatrix`): the same until a tensor changes."""
        if self._matrix is None:
            self.__dict__["_matrix"] = torch.classes.espalier.PackedMatrix(
                self.values, self.words, self.starts, self.scales, self.bias,
                self.out_features, self.in_features, self.group, self.row_values,
            )  # fmt: skip
        return self._matrix

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        self.__dict__["_matrix"] = None

    def __getstate__(self):
        return {**self.__dict__, "_matrix": None}

    def locate_rows(self) -> None:
        """Takes down where each row begins in the values, which a mask says; to be called when the mask changes."""
        known = self.words is not None and self.words.device.type != "meta"
        self.starts = row_starts(self.words).to(self.words.device) if known and self.format.kind == "bitmask" else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [..., C] to [..., R]. With gradients wanted for x, by way of the dense weight."""
        if torch.is_grad_enabled() and (x.requires_grad or (self.bias is not None and self.bias.requires_grad)):
            return functional.linear(x, self.weight.to(x.dtype), self.bias)
        return multiply(self, x)

    @property
    def storage(self) -> Storage:
        """What it holds, as `pruning.packing.storage` knows it; the tensors are shared."""
        return Storage(
            self.format, self.out_features, self.in_features, self.dtype, self.values.data, self.words, self.scales
        )

    @property
    def weight(self) -> torch.Tensor:
        """The dense weight [R, C], made anew at every access, on the layer's device."""
        return decode(self.storage).to(self.values.device)

    @property
    def row_values(self) -> int:
        """How many values each row has, where all have the same number (N:M)."""
        return self.in_features // self.format.of * self.format.keep if self.format.kind == "n:m" else 0

    @property
    def group(self) -> int:
        """For how many inputs a scale is."""
        return self.format.group or self.in_features

    @property
    def kept(self) -> int:
        """How many of its weights are stored."""
        return self.values.numel() if self.words is None else int(masks.counts(self.words).sum())

    @property
    def unstored(self) -> int:
        """How many of its weights `values` has no element for (less the elements that are padding)."""
        return self.in_features * self.out_features - self.values.numel()

    def extra_repr(self) -> str:
        bias = self.bias is not None
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={bias}, format={self.format}"

    def _apply(self, fn, recurse=True):
        scales = self.scales
        super()._apply(fn, recurse)
        self.__dict__["_matrix"] = None
        if scales is not None and self.scales.dtype != scales.dtype:  # `.to(dtype)` is about the weights
            self.scales = scales.to(self.scales.device)
        if not self.format.int8:
            self.dtype = self.values.dtype
        elif self.bias is not None:
            self.dtype = self.bias.dtype
        return self

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        # Another model of the same shape may keep other numbers of values.
        for name in TENSORS:
            held, found = getattr(self, name), state_dict.get(prefix + name)
            if held is not None and found is not None and held.shape != found.shape and name == "values":
                self.values = nn.Parameter(torch.empty_like(found, device=held.device), requires_grad=False)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self.locate_rows()
