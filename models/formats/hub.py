"""Models of the Hub: found in its cache or downloaded, with every expected mishap explained in one line."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from models.console.stopping import aside
from models.errors import EspalierError, RequestError, first_line
from models.formats.quantised import refuse_quantised_config
from models.storage.disk import full
from models.storage.reading import unopened
from models.storage.weights import refuse_without_safetensors

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+|[\w.-]+)(@(?P<revision>[\w./-]+))?")
WANTED = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model", "*.tiktoken", "*.jinja")
UNWANTED = ("original/*", "onnx/*", "*/onnx/*", "openvino/*")
Room = Callable[[int], None]  # asked before that many bytes of weights are fetched; raises to refuse


def from_hub(model: str, room: Room | None = None) -> tuple[Path, str]:
    """The folder and the commit of `owner/name[@revision]`, with what is missing downloaded.

    `room(bytes)` is asked before a download. Raises RequestError for what a person can mend, EspalierError where the Hub
    cannot be reached and nothing is cached.
    """
    match = parse_id(model)
    return download(model, match["repo"], match["revision"], room)


def parse_id(model: str) -> re.Match:
    """`owner/name[@revision]` as its parts `repo` and `revision`. RequestError for what can be no Hub id."""
    match = HUB_ID.fullmatch(model)
    if match is None or model.startswith((".", "/", "~")):
        raise RequestError(f"There is no folder {model}: check the path (or give a Hub id such as owner/name).")
    return match


def download(model: str, repo: str, revision: str | None, room: Room | None = None) -> tuple[Path, str]:
    """The same for a repository; `model` is what the person called it."""
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
        if told := full(error) or unopened(error):  # the cache, not the network
            raise told from error
        if not _is_network_trouble(error):
            raise
        folder = cached(repo, revision)
        if folder is None:
            raise EspalierError(
                f"Could not fetch {model} and no complete copy is cached ({first_line(error)}): check the network, "
                "set HF_ENDPOINT to a mirror, or use a local folder or `embedded`."
            ) from error
    return Path(folder), Path(folder).name


def answers(repo: str, revision: str | None = None, seconds: float = 8.0) -> bool:
    """Whether the Hub answers for a repository within some seconds: behind some firewalls it neither does nor refuses."""
    from huggingface_hub import HfApi

    try:
        HfApi().model_info(repo, revision=revision, timeout=seconds)
    except Exception:  # of whatever HTTP library it uses; the reason is of no use to who has other sources
        return False
    return True


def _config_of(info: "ModelInfo") -> dict:
    """What the Hub tells of a repository's config.json, before any of it is fetched."""
    config = getattr(info, "config", None)
    return config if isinstance(config, dict) else {}


def _is_network_trouble(error: Exception) -> bool:
    from huggingface_hub import errors as hub

    # The Hub's client has changed its HTTP library twice (requests, httpx, httpx2); all fail with errors of their own.
    own = type(error).__module__.split(".")[0].startswith(("httpx", "requests"))
    return own or isinstance(error, (hub.HfHubHTTPError, hub.LocalEntryNotFoundError, OSError))


def cached(repo: str, revision: str | None = None) -> Path | None:
    """The folder of a repository in the Hub's own cache, if its weights are there. Asks no network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = snapshot_download(repo, revision=revision, allow_patterns=WANTED, local_files_only=True)
    except LocalEntryNotFoundError:
        return None
    return Path(folder) if any(Path(folder).glob("*.safetensors")) else None


def blobs(repo: str) -> Path:
    """The folder of the Hub's own cache that a repository's files come into while they are fetched."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}" / "blobs"


def _check_listing(model: str, files: list[tuple[str, int]], room: Room | None) -> None:
    weights = {name: size for name, size in files if name.endswith(".safetensors") and "/" not in name}
    if not weights:
        refuse_without_safetensors(model, [name for name, _ in files])
    if room is not None:
        room(sum(weights.values()))
