"""The named ways to take the perplexity of a text: every file here is one, and registers itself by lying here.

Such a file has one function, decorated with `@protocol(...)`, that cuts a text into windows; all share one scoring loop
(`evals.text_losses.scoring`). The name of a protocol is that of its file, with hyphens.
"""

import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from models.errors import RequestError
from models.text.opening import needs_bos

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from evals.judging.text_figures import MeanOfTexts, Pooled
    from evals.text_losses.data import Text
    from evals.text_losses.windows import Windows

DEFAULT = "gptq"
AUTO = "auto"
BOS = ("text", "window")  # where one may stand in the windows of a joined text
_REGISTERED: dict[str, "Protocol"] = {}


@dataclass(frozen=True)
class Request:
    """What is asked of a protocol, in tokens: the model's `context`, the window `length` and the `stride`.

    None is the protocol's own. `most` keeps about the first so many windows. `bos` says where a BOS stands: `text`,
    once before the text where the tokenizer puts one there, or `window`, before every window.
    """

    context: int
    length: int | None = None
    stride: int | None = None
    most: int | None = None
    bos: str = "text"


@dataclass(frozen=True)
class Protocol:
    """`cut` makes the windows; `figures` are what it tells of a model, `comparisons` of how two models differ.

    `bos` are the choices of where a BOS stands; none where the protocol itself says it.
    """

    name: str
    cut: Callable[["PreTrainedTokenizerBase", "Text", Request], "Windows"]
    figures: Sequence["Pooled | MeanOfTexts"]
    comparisons: Sequence["Pooled | MeanOfTexts"]
    bos: Sequence[str] = ()


def protocol(
    figures: Sequence["Pooled | MeanOfTexts"], comparisons: Sequence["Pooled | MeanOfTexts"], bos: Sequence[str] = ()
) -> Callable:
    """Registers the decorated function as the protocol of its file."""

    def register(cut: Callable) -> Callable:
        name = _name(cut.__module__.rpartition(".")[2])
        _REGISTERED[name] = Protocol(name, cut, tuple(figures), tuple(comparisons), tuple(bos))
        return cut

    return register


def names() -> list[str]:
    """The names of all protocols, found without importing any; the default one first."""
    found = sorted(_name(module.name) for module in pkgutil.iter_modules(__path__))
    return [DEFAULT, *(name for name in found if name != DEFAULT)]


def find(name: str) -> Protocol:
    """The protocol of that name. RequestError, with the names there are, if there is none."""
    if name not in names():
        raise RequestError(f"Unknown perplexity protocol {name!r}: use one of {', '.join(names())}.")
    import_module(f"{__name__}.{name.replace('-', '_')}")
    return _REGISTERED[name]


def check_bos(name: str, asked: str | None) -> None:
    """RequestError for a choice of where BOS stands (`--bos`) that the protocol of that name does not have."""
    choices = find(name).bos
    if asked in (None, AUTO, *choices):
        return
    if not choices:
        raise RequestError(f"The protocol {name} says itself where BOS stands: leave --bos out, or use gptq.")
    raise RequestError(f"Unknown place of BOS {asked!r}: use {', '.join((AUTO, *choices))}.")


def bos_of(name: str, asked: str | None, config: "PretrainedConfig", tokenizer: "PreTrainedTokenizerBase") -> str:
    """Where BOS stands in the windows of a protocol: as `asked`, else what the model needs (see `models.text.opening`).

    RequestError for a choice that there is not, or one that the tokenizer has no BOS for.
    """
    check_bos(name, asked)
    has_bos = tokenizer.bos_token_id is not None
    if asked == "window" and not has_bos:
        raise RequestError("The tokenizer has no BOS to begin every window with: leave --bos out.")
    if asked in (None, AUTO):
        return "window" if "window" in find(name).bos and has_bos and needs_bos(config) else "text"
    return asked


def window_length(request: Request, own: int, least: int = 2) -> int:
    """The window of a request, else the protocol's `own`. RequestError unless the model can read it."""
    wanted = own if request.length is None else request.length
    if not least <= wanted <= request.context:
        bounds = f"choose {least} to {request.context}, the model's context"
        raise RequestError(f"A window of {wanted} tokens is not possible: {bounds}.")
    return wanted


def refuse_stride(request: Request, name: str) -> None:
    """RequestError if a stride was asked of a protocol whose windows do not overlap."""
    if request.stride is not None:
        raise RequestError(f"The protocol {name} has no stride: leave it out, or use hf-stride.")


def _name(module: str) -> str:
    return module.replace("_", "-")
