"""The one policy that turns `auto` into a device and a dtype."""

import torch

from models.errors import RequestError

DEVICES = ("auto", "cpu", "cuda")
DTYPES = ("auto", "float32", "bfloat16", "float16")


def choose_device(name: str = "auto") -> torch.device:
    """`auto` is CUDA where there is a card, else the CPU. RequestError if CUDA is asked for and absent."""
    if name not in DEVICES:
        raise RequestError(f"Unknown device {name!r}: use one of {', '.join(DEVICES)}.")
    if name == "cuda" and not torch.cuda.is_available():
        raise RequestError("There is no CUDA device here (or this torch is a CPU build): use --device cpu.")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def choose_dtype(device: torch.device, name: str = "auto") -> torch.dtype:
    """`auto` is bfloat16 where the hardware multiplies it (CUDA since Ampere, CPUs with AVX512-BF16 or AMX).

    Otherwise float16 on CUDA, which every card has, and float32 on the CPU.
    """
    if name not in DTYPES:
        raise RequestError(f"Unknown dtype {name!r}: use one of {', '.join(DTYPES)}.")
    if name != "auto":
        return getattr(torch, name)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    return torch.bfloat16 if _cpu_multiplies_bfloat16() else torch.float32


def _cpu_multiplies_bfloat16() -> bool:
    # torch has these probes since 2.4 but under private names; without them fp32 is the safe answer.
    probes = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(probe() for probe in probes if probe is not None)
