"""Checkpoints whose weights were quantised by others: refused by name, before a weight is read or fetched."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import RequestError
from models.storage.reading import is_there

if TYPE_CHECKING:
    from models.storage.weights import TensorHeader

ENTRIES = ("quantization_config", "compression_config")  # of config.json; the second is compressed-tensors' old name
# What lies beside config.json where a quantiser does not write into it, and whose it is.
FILES = {
    "quantize_config.json": "gptq",
    "quant_config.json": "awq",
    "hf_quant_config.json": "modelopt",
    "quant_strategy.json": "aqlm",
}
# Last parts of the names of tensors that only quantised layers have, and whose they are.
PARTS = {
    "qweight": "gptq or awq", "qzeros": "gptq or awq", "g_idx": "gptq", "weight_packed": "compressed-tensors",
    "weight_scale": "compressed-tensors or fp8", "weight_scale_inv": "fp8", "input_scale": "fp8",
    "weight_zero_point": "compressed-tensors", "SCB": "bitsandbytes", "absmax": "bitsandbytes",
    "quant_map": "bitsandbytes", "W_q": "hqq", "codebooks": "aqlm", "down_proj_blocks": "mxfp4",
    "gate_up_proj_blocks": "mxfp4",
}  # fmt: skip
NARROW = ("F8_", "F6_", "F4")  # the beginnings of dtypes that are of no use without a scale
INTEGERS = {"I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64"}


def refuse_quantised_config(model: str, config: Mapping[str, Any]) -> None:
    """RequestError if a config.json, or the part of it that is about text, says that the weights are quantised."""
    for part in (config, *(value for value in config.values() if isinstance(value, Mapping))):
        for entry in ENTRIES:
            if part.get(entry) is not None:
                raise _refusal(model, _told(part[entry]))


def refuse_quantised_folder(model: str, folder: Path) -> None:
    """RequestError if a file of a quantiser lies beside config.json."""
    for name, method in FILES.items():
        if is_there(folder / name):
            raise _refusal(model, f"{method}, as {name} says")


def refuse_quantised_tensors(model: str, headers: Iterable["TensorHeader"]) -> None:
    """RequestError if a tensor is quantised, as its header shows: read as it is it would lack its scale."""
    for header in headers:
        last = header.name.rpartition(".")[2]
        if last in PARTS:
            raise _refusal(model, f"{PARTS[last]}, as its tensor {header.name} shows")
        if header.dtype.startswith(NARROW) or (header.dtype in INTEGERS and last == "weight"):
            raise _refusal(model, f"its tensor {header.name} is {header.dtype}")


def _told(settings: Any) -> str:
    """The method and the bits that the settings of a quantiser name."""
    if not isinstance(settings, Mapping):
        return "by a method that config.json does not name"
    method = settings.get("quant_method") or ("bitsandbytes" if _of_bits_and_bytes(settings) else None)
    bits = settings.get("bits") or settings.get("w_bit")
    bits = bits or next((bits for bits in (4, 8) if settings.get(f"load_in_{bits}bit")), None)
    told = f"{method}" if method else "by a method that config.json does not name"
    return f"{told}, {bits} bits" if bits else told


def _of_bits_and_bytes(settings: Mapping[str, Any]) -> bool:
    return any(settings.get(f"load_in_{bits}bit") for bits in (4, 8))


def _refusal(model: str, how: str) -> RequestError:
    return RequestError(
        f"{model} is quantised ({how}): use the original model that it was made of, in float32, bfloat16 or float16 "
        "(where there is none, a copy that was dequantised and saved)."
    )
