"""Adapters of peft: found beside a model or in place of one, and merged into its weights when it is loaded.

What an adapter changes is part of the model from then on, so that pruning and measuring see one model. Without peft
such a folder is refused: its base alone is another model.
"""

import importlib.util
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import EspalierError, RequestError, first_line
from models.storage.reading import is_there, parse_object

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from models.source import ModelSource

SETTINGS, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PICKLE = "adapter_model.bin"
PACKED = "packing.json"  # lies beside packed weights, into which nothing can be merged
EMBEDDINGS = ("embed_tokens", "lm_head", "wte", "embed_in", "embed_out")  # which peft saves unasked beside an adapter


def with_adapter(source: "ModelSource", locate: Callable[[str], "ModelSource"]) -> "ModelSource":
    """The source with the adapter that lies in its folder, and the folder of the base; as it is if there is none.

    The base is what lies beside the adapter, or where nothing does what its settings name, found by `locate`. Raises
    RequestError, before anything is loaded, if peft is not installed or the two cannot be put together.
    """
    folder = source.folder
    if not is_there(folder / SETTINGS):
        return source
    settings = parse_object(folder / SETTINGS, "save the adapter again")
    beside = is_there(folder / "config.json") and any(_whole_weights(folder))
    named = settings.get("base_model_name_or_path")
    _check(source, settings, beside)
    if beside:
        return replace(source, adapter=folder)
    if not isinstance(named, str) or not named:
        raise RequestError(
            f"{source.id} is an adapter that does not say what it was trained on: name its base model as "
            f"base_model_name_or_path in {folder / SETTINGS}."
        )
    if Path(named).is_dir() and os.path.samefile(named, folder):
        raise RequestError(
            f"{source.id} holds an adapter and not the weights that it belongs to: save the base model into it, or "
            f"name that as base_model_name_or_path in {SETTINGS}."
        )
    try:
        base = locate(named)
    except EspalierError as error:
        raise type(error)(f"The base model of the adapter {source.id} cannot be had: {error}") from error
    if base.adapter is not None:
        raise RequestError(
            f"{source.id} is an adapter of {named}, which is one itself: merge that one first (merge_and_unload) and "
            "save it."
        )
    if is_there(base.folder / PACKED):
        raise RequestError(f"{source.id} is an adapter of {named}, which is packed: unpack that first.")
    return replace(source, folder=base.folder, base=named, adapter=folder)


def note(source: "ModelSource") -> str | None:
    """What a person must know of how a model was loaded; None if it has no adapter."""
    if source.adapter is None:
        return None
    base = f"into {source.base}" if source.base else "into the weights beside it"
    return f"{source.id}: its adapter ({SETTINGS}) was merged {base} with peft; what is meant by the model is both."


@contextmanager
def base_folder(source: "ModelSource") -> Iterator[Path]:
    """The folder to load the base from: transformers must not find the adapter, which it would attach and not merge."""
    if source.adapter != source.folder:
        with nullcontext(source.folder) as folder:
            yield folder
        return
    with tempfile.TemporaryDirectory(prefix="espalier-base-") as view:
        for file in source.folder.iterdir():
            if not file.name.startswith("adapter_"):
                (Path(view) / file.name).symlink_to(file.resolve())
        yield Path(view)


def merge(network: "PreTrainedModel", source: "ModelSource") -> "PreTrainedModel":
    """A model with its adapter merged into the weights, with no trace of peft left.

    RequestError if the adapter is of a kind that cannot be merged, or does not fit the model tensor by tensor.
    """
    from peft import PeftConfig, PeftModel, get_peft_model_state_dict

    from models.storage.weights import file_headers

    stored = {header.name for header in file_headers(source.adapter / WEIGHTS)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what does not fit is found out below
            kind = PeftConfig.from_pretrained(str(source.adapter))
            if kind.is_prompt_learning or kind.is_adaption_prompt:
                raise RequestError(
                    f"{source.id} is an adapter of the kind {_name(kind.peft_type)}, which cannot be merged into "
                    "weights: use one of LoRA's kind, or the base model alone."
                )
            adapted = PeftModel.from_pretrained(network, str(source.adapter), config=kind)
            expected = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
            foreign = [name for name in stored - expected if not any(part in name for part in EMBEDDINGS)]
            if others := sorted([*(expected - stored), *foreign]):
                raise RequestError(
                    f"The adapter {source.id} does not fit its base model ({len(others)} tensors differ, such as "
                    f"{others[0]}): use the base that it was trained on."
                )
            return adapted.merge_and_unload(safe_merge=True)
    except RequestError:
        raise
    except Exception as error:  # whatever a kind of adapter can be wrong about
        raise RequestError(
            f"The adapter of {source.id} cannot be merged ({first_line(error)}): use the base that it was trained on "
            "and a peft that knows it, or merge it where it was made (merge_and_unload) and save the whole model."
        ) from error


def _check(source: "ModelSource", settings: dict, beside: bool) -> None:
    folder = source.folder
    what = f"{source.id} holds an adapter ({SETTINGS}) beside its model" if beside else f"{source.id} is an adapter"
    if importlib.util.find_spec("peft") is None:
        kind = f" of the kind {settings['peft_type']}" if isinstance(settings.get("peft_type"), str) else ""
        alone = f", or move {SETTINGS} away to use the model without it" if beside else ""
        raise RequestError(
            f"{what}{kind}, which takes peft to be merged: `pip install peft`, or merge it where it was made "
            f"(merge_and_unload) and save the whole model{alone}."
        )
    if is_there(folder / PACKED):
        raise RequestError(f"{what}, which is packed: merge the adapter into the model first, then pack it.")
    if not is_there(folder / WEIGHTS):
        if is_there(folder / PICKLE):
            raise RequestError(
                f"{what}, and its weights are a pickle file ({PICKLE}), which can run code when opened: save it as "
                "safetensors where you trust it."
            )
        raise RequestError(f"{what}, and its weights are missing ({WEIGHTS}): fetch or save the adapter again.")


def _whole_weights(folder: Path) -> Iterator[Path]:
    return (file for file in folder.glob("*.safetensors") if not file.name.startswith("adapter_"))


def _name(kind: object) -> str:
    return str(getattr(kind, "value", kind))
