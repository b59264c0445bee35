"""Loading: MODEL to model, tokenizer and description, with every expected mishap explained in one line."""

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from models.description import Description, content_hash, describe
from models.errors import EspalierError, RequestError, first_line
from models.files import read_json
from models.memory import OutOfMemory, require
from models.policy import choose_device, choose_dtype
from models.quiet import quiet_transformers
from models.readers import find_layout, find_reader
from models.source import ModelSource, locate
from models.weights import tensor_headers, weight_files

# Classes of models take seconds to import: a wrong request is told before that.
if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
CAUSAL_SUFFIXES = ("ForCausalLM", "LMHeadModel")


class Loaded(NamedTuple):
    """A model ready for use (in eval mode, on its device), its tokenizer, and what it is."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    description: Description


def load(model: str, device: str = "auto", dtype: str = "auto") -> Loaded:
    """Loads MODEL: `embedded`, a local folder, or a Hub id `owner/name[@revision]`.

    Only safetensors are read and no code of a repository is run. The memory is forecast before any weight is read.
    Raises RequestError for whatever the person can mend, EspalierError when loading itself fails.
    """
    target = choose_device(device)
    precision = choose_dtype(target, dtype)
    source = locate(model, room=lambda size: require(size, target, model))
    network = load_network(source, target, precision, as_stored=dtype == "auto")
    tokenizer = load_tokenizer(source)
    _check_fit(model, network, tokenizer)
    revision = source.revision or content_hash(weight_files(source.folder, model))
    return Loaded(network, tokenizer, describe(network, model, revision))


def load_network(
    source: ModelSource, target: torch.device, precision: torch.dtype, as_stored: bool = False
) -> "PreTrainedModel":
    """The model of a located folder, in eval mode on its device, after a check of the folder and of the memory.

    A packed one keeps the dtype it was packed in where that is as good as any (`as_stored`).
    """
    check_folder(source)
    if reader := find_reader(source.folder):
        network = reader(source, target, None if as_stored else precision)
    else:
        network = _load_network(source, target, precision)
    return find_layout("apply")(network, source.layout) if source.layout else network


def _load_network(source: ModelSource, target: torch.device, precision: torch.dtype) -> "PreTrainedModel":
    needed = sum(header.bytes_as(precision.itemsize) for header in tensor_headers(source.folder, source.id))
    require(needed, target, f"{source.id} in {str(precision).removeprefix('torch.')}")
    return _load_weights(source, precision).to(target).eval()


def check_folder(source: ModelSource) -> None:
    """Raises RequestError unless the folder holds a decoder language model that transformers knows by itself."""
    if not (source.folder / "config.json").exists():
        raise RequestError(f"{source.id} has no config.json: it is not a model folder that transformers can load.")
    config = read_json(source.folder / "config.json")
    family = config.get("model_type")
    architecture = (config.get("architectures") or [""])[0]
    if family not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        if "auto_map" in config:
            raise RequestError(
                f"{source.id} needs code of its own repository, which is never run: "
                "use a model whose family is part of transformers."
            )
        raise RequestError(
            f"{source.id} is of the family {family!r}, which has no causal language model in this transformers: "
            "use a decoder model such as Llama, Qwen, Mistral or GPT-2."
        )
    if architecture and not architecture.endswith(CAUSAL_SUFFIXES):
        raise RequestError(
            f"{source.id} is a {architecture}, not a causal (decoder) language model: it cannot generate text. "
            "Use a decoder model such as Llama, Qwen, Mistral or GPT-2."
        )


def check_tokenizer(source: ModelSource) -> None:
    """Raises RequestError if no tokenizer lies beside the weights, or its file is damaged.

    Takes milliseconds: what transformers makes of the file takes a second to import.
    """
    if not any((source.folder / name).exists() for name in TOKENIZER_FILES):
        raise RequestError(
            f"{source.id} has no tokenizer files: copy tokenizer.json and tokenizer_config.json "
            "from the model it was made of."
        )
    if (file := source.folder / "tokenizer.json").exists():
        from tokenizers import Tokenizer

        with _tokenizer_explained(source):
            Tokenizer.from_file(str(file))


def load_tokenizer(source: ModelSource) -> "PreTrainedTokenizerBase":
    """Loads the tokenizer that lies beside the weights. RequestError if there is none or it is damaged."""
    check_tokenizer(source)
    from transformers import AutoTokenizer

    with _tokenizer_explained(source):
        return AutoTokenizer.from_pretrained(source.folder, trust_remote_code=False, local_files_only=True)


@contextmanager
def _tokenizer_explained(source: ModelSource):
    try:
        yield
    except Exception as error:  # the tokenizers library raises bare Exceptions for damaged files
        raise RequestError(
            f"The tokenizer of {source.id} cannot be read ({first_line(error)}): copy its files again."
        ) from error


def _load_weights(source: ModelSource, dtype: torch.dtype) -> "PreTrainedModel":
    from transformers import AutoModelForCausalLM

    try:
        with quiet_transformers():
            network, info = AutoModelForCausalLM.from_pretrained(
                source.folder,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
    except (MemoryError, torch.cuda.OutOfMemoryError) as error:
        raise OutOfMemory(
            f"{source.id} did not fit into memory: choose a smaller model or --dtype bfloat16."
        ) from error
    except Exception as error:
        raise EspalierError(
            f"{source.id} could not be loaded: {first_line(error)}. Check that its files are whole."
        ) from error
    if info["missing_keys"]:
        example = sorted(info["missing_keys"])[0]
        raise RequestError(
            f"The files of {source.id} lack {len(info['missing_keys'])} of its weights (such as {example}): "
            "they do not belong to this config.json, or were saved only in part."
        )
    return network


def _check_fit(name: str, network: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
    rows = network.get_input_embeddings().num_embeddings
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if largest < 0 or largest >= rows:
        raise RequestError(
            f"The tokenizer of {name} has token ids up to {largest} and the model only {rows} embeddings: "
            "it belongs to another model. Copy the tokenizer files of the right one."
        )
