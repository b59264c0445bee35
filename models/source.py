"""Where a MODEL comes from: the embedded one, a local folder, or a repository of the Hub with a revision."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from models.adapters import with_adapter
from models.errors import EspalierError, RequestError, first_line
from models.quantised import refuse_quantised_config
from models.readers import find_layout
from models.reading import is_there, reading
from models.stopping import aside

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

EMBEDDED = Path(__file__).parent / "embedded"
HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+|[\w.-]+)(@(?P<revision>[\w./-]+))?")
WANTED = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model", "*.jinja")
UNWANTED = ("original/*", "onnx/*", "*/onnx/*", "openvino/*")
Room = Callable[[int], None]  # asked before that many bytes of weights are fetched; raises to refuse


@dataclass(frozen=True)
class ModelSource:
    """A model's files: what the person called it, the local folder, and the Hub commit if it has one.

    layout: what the person wrote after `::`, how the model shall lie in memory; None for as it is stored.
    adapter: the folder of the adapter that belongs to it, `folder` then being that of its base; None without one.
    base: what the adapter's settings call that base, None if it lies beside the adapter.
    """

    id: str
    folder: Path
    revision: str | None = None
    layout: str | None = None
    adapter: Path | None = None
    base: str | None = None


def locate(model: str, room: Room | None = None) -> ModelSource:
    """Finds MODEL (`embedded`, a folder, or `owner/name[@revision]`), downloading from the Hub what is missing.

    After it may stand `::LAYOUT`, such as `::int8`: how the model shall lie in memory once it is loaded.
    `room(bytes)` is asked before a download and may refuse it. Raises RequestError for everything a person can mend.
    """
    folder = _local_folder(model)
    name, separator, layout = model.rpartition("::")
    if folder is None and separator:
        find_layout("check")(layout)
        return replace(locate(name, room), id=model, layout=layout)
    if model == "embedded":
        return ModelSource("embedded", EMBEDDED)
    found = ModelSource(model, folder) if folder is not None else _from_hub(model, room)
    return with_adapter(found, lambda base: locate(base, room))


def _local_folder(model: str) -> Path | None:
    """The folder of that name, if there is one. RequestError if what is there is a file, or may not be looked into."""
    path = Path(os.path.expanduser(model))
    if not is_there(path):
        return None
    if path.is_file():
        raise RequestError(f"{model} is a file: {_instead(path)}")
    with reading(path):
        os.scandir(path).close()
    return path


def _instead(path: Path) -> str:
    if path.suffix.lower() == ".gguf":
        return "GGUF cannot be read here; give the folder or the Hub id of the original model, with its safetensors."
    return "give the folder that holds config.json and the safetensors."


def _from_hub(model: str, room: Room | None) -> ModelSource:
    match = HUB_ID.fullmatch(model)
    if match is None or model.startswith((".", "/", "~")):
        raise RequestError(f"There is no folder {model}: check the path (or give a Hub id such as owner/name).")
    return _download(model, match["repo"], match["revision"], room)


def _download(model: str, repo: str, revision: str | None, room: Room | None) -> ModelSource:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub import errors as hub

    try:
        info = HfApi().model_info(repo, revision=revision, files_metadata=True)
        refuse_quantised_config(model, _config_of(info))
        _check_listing(model, [(file.rfilename, file.size or 0) for file in info.siblings or []], room)
        # By the name that was asked for, not by commit: only so is the name remembered for use without a network.
        folder = aside(
            lambda: snapshot_download(repo, revision=revision, allow_patterns=WANTED, ignore_patterns=UNWANTED)
        )
    except hub.GatedRepoError:
        raise RequestError(
            f"{repo} is gated: accept its terms on its Hub page, then log in with `hf auth login` or set HF_TOKEN."
        ) from None
    except hub.RevisionNotFoundError:
        raise RequestError(f"{repo} has no revision {revision}: use a branch, tag or commit that it has.") from None
    except hub.RepositoryNotFoundError:
        raise RequestError(
            f"There is no folder {model} here and no such model on the Hub (if it is private, log in with `hf auth login`)."
        ) from None
    except hub.HFValidationError as error:
        raise RequestError(f"{model} is neither a folder nor a valid Hub id: {error}") from None
    except Exception as error:
        if not _is_network_trouble(error):
            raise
        folder = _cached(repo, revision)
        if folder is None:
            raise EspalierError(
                f"Could not fetch {model} and no complete copy is cached ({first_line(error)}): check the network, "
                "set HF_ENDPOINT to a mirror, or use a local folder or `embedded`."
            ) from error
    return ModelSource(model, Path(folder), Path(folder).name)


def _config_of(info: "ModelInfo") -> dict:
    """What the Hub tells of a repository's config.json, before any of it is fetched."""
    config = getattr(info, "config", None)
    return config if isinstance(config, dict) else {}


def _is_network_trouble(error: Exception) -> bool:
    from huggingface_hub import errors as hub

    # The Hub's client has changed its HTTP library twice (requests, httpx, httpx2); all fail with errors of their own.
    own = type(error).__module__.split(".")[0].startswith(("httpx", "requests"))
    return own or isinstance(error, (hub.HfHubHTTPError, hub.LocalEntryNotFoundError, OSError))


def _cached(repo: str, revision: str | None) -> str | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = snapshot_download(repo, revision=revision, allow_patterns=WANTED, local_files_only=True)
    except LocalEntryNotFoundError:
        return None
    return folder if any(Path(folder).glob("*.safetensors")) else None


def _check_listing(model: str, files: list[tuple[str, int]], room: Room | None) -> None:
    weights = {name: size for name, size in files if name.endswith(".safetensors") and "/" not in name}
    if not weights:
        refuse_without_safetensors(model, [name for name, _ in files])
    if room is not None:
        room(sum(weights.values()))


def refuse_without_safetensors(model: str, names: list[str]) -> None:
    """Raises the RequestError for a folder or repository that holds no safetensors."""
    pickles = [name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt"))]
    if pickles:
        raise RequestError(
            f"{model} holds its weights only as pickle files ({pickles[0]}), which can run code when opened: "
            "use a safetensors version of it, or convert it where you trust it."
        )
    raise RequestError(f"{model} holds no .safetensors file: it is not a saved model, or it was saved only in part.")
