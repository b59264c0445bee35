"""What is checked of a model's files before any weight is read, so that a mistake is told in the first second."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from models.errors import RequestError, first_line
from models.formats.quantised import refuse_quantised_config, refuse_quantised_folder, refuse_quantised_tensors
from models.formats.readers import find_reader
from models.source import ModelSource
from models.storage.contents import adapter_files, has_any, small_files
from models.storage.reading import is_there, kind_of, parse_object, reading, require_files
from models.storage.weights import TensorHeader, tensor_headers, weight_files

if TYPE_CHECKING:
    from transformers import PretrainedConfig

CONFIG, GENERATION, INDEX = "config.json", "generation_config.json", "model.safetensors.index.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
TOKENIZER_OBJECTS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.json")
CAUSAL_SUFFIXES = ("ForCausalLM", "LMHeadModel")


def check_folder(source: ModelSource) -> None:
    """Raises RequestError unless the folder holds a decoder language model that transformers knows by itself.

    Every file that loading will read must be readable, and the configuration one of weights that are not quantised.
    """
    if not is_there(source.folder / CONFIG):
        raise RequestError(
            f"{source.id} has no {CONFIG}: it is not a model folder that transformers can load.{_below(source)}"
        )
    require_files([*small_files(source.folder), *adapter_files(source)])
    if is_there(source.folder / INDEX) or any(source.folder.glob("*.safetensors")):
        require_files(weight_files(source.folder, source.id))
    config = parse_object(source.folder / CONFIG)
    refuse_quantised_config(source.id, config)
    refuse_quantised_folder(source.id, source.folder)
    if is_there(source.folder / GENERATION):
        parse_object(source.folder / GENERATION)
    _check_family(source, config)


def check_weights(source: ModelSource) -> list[TensorHeader]:
    """The headers of a model's tensors. RequestError if a file is damaged, or the tensors are quantised ones."""
    headers = list(tensor_headers(source.folder, source.id))
    if find_reader(source.folder) is None:
        refuse_quantised_tensors(source.id, headers)
    return headers


def check_tokenizer(source: ModelSource) -> None:
    """Raises RequestError if no tokenizer lies beside the weights, or its files are damaged.

    Takes milliseconds: what transformers makes of the file takes a second to import.
    """
    folder = tokenizer_folder(source)
    if not has_any(folder, TOKENIZER_FILES):
        raise RequestError(
            f"{source.id} has no tokenizer files: copy tokenizer.json and tokenizer_config.json "
            "from the model it was made of."
        )
    require_files(small_files(folder))
    for file in (folder / name for name in TOKENIZER_OBJECTS):
        if is_there(file):
            parse_object(file, "copy the tokenizer's files again")
    if is_there(file := folder / "tokenizer.json"):
        from tokenizers import Tokenizer

        with tokenizer_explained(source), reading(file):
            with open(file, "rb"):
                pass  # the library tells neither a folder nor a refusal from a damaged file
            Tokenizer.from_file(str(file))


def tokenizer_folder(source: ModelSource) -> Path:
    """Where a model's tokenizer lies: beside its adapter if that brought one, else beside the weights."""
    return source.adapter if source.adapter and has_any(source.adapter, TOKENIZER_FILES) else source.folder


def load_config(source: ModelSource) -> "PretrainedConfig":
    """A model's configuration as transformers reads it. RequestError if it cannot be made sense of."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(source.folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # whatever a configuration can be wrong about
        raise _senseless(source, error) from error


def refuse_unbuildable(source: ModelSource, config: "PretrainedConfig") -> None:
    """RequestError if no model can be made of a configuration, which not every transformers checks in reading it."""
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception as error:
        raise _senseless(source, error) from error


def _senseless(source: ModelSource, error: Exception) -> RequestError:
    return RequestError(
        f"{source.folder / CONFIG} cannot be made sense of ({first_line(error)}): fetch or save the model again."
    )


@contextmanager
def tokenizer_explained(source: ModelSource) -> Iterator[None]:
    """Explains what goes wrong in reading a tokenizer: RequestError, with the package to install if one is missing."""
    try:
        yield
    except RequestError:
        raise
    except ImportError as error:
        raise RequestError(
            f"The tokenizer of {source.id} needs a package that is not installed ({first_line(error)}): install it "
            "(`pip install sentencepiece tiktoken protobuf` has them all)."
        ) from error
    except Exception as error:  # the tokenizers library raises bare Exceptions for damaged files
        raise RequestError(
            f"The tokenizer of {source.id} cannot be read ({first_line(error)}): copy its files again."
        ) from error


def check_fit(name: str, rows: int, vocabulary: Mapping[str, int], added: Mapping[str, int]) -> None:
    """RequestError unless each of a tokenizer's tokens has its row among the embeddings.

    rows: how many embeddings there are. vocabulary: all tokens and their ids; added: those that were put to them later.
    """
    if not vocabulary:
        raise RequestError(f"The tokenizer of {name} has no tokens: copy its files from the model it was made of.")
    beyond = sorted((number, token) for token, number in vocabulary.items() if number >= rows)
    if not beyond:
        return
    if all(token in added for _, token in beyond):
        number, token = beyond[0]
        more = f" and {len(beyond) - 1} more" if len(beyond) > 1 else ""
        raise RequestError(
            f"The tokenizer of {name} has a token that was added and has no embedding: {token} ({number}){more}, where "
            f"the model has {rows}. Give the model one (model.resize_token_embeddings(len(tokenizer)), then save it), or "
            "take the token out of the tokenizer's files (to pad, its end-of-text token will do)."
        )
    raise RequestError(
        f"The tokenizer of {name} has token ids up to {beyond[-1][0]} and the model only {rows} embeddings: "
        "it belongs to another model. Copy the tokenizer files of the right one."
    )


def _check_family(source: ModelSource, config: dict[str, Any]) -> None:
    family, architectures = config.get("model_type"), config.get("architectures") or []
    path = source.folder / CONFIG
    if family is None:
        raise RequestError(f"{path} names no model_type: it is not a model's, or not whole; fetch the model again.")
    if not isinstance(family, str):
        raise RequestError(f"{path} has {kind_of(family)} as model_type, which must be a text such as llama: mend it.")
    if not isinstance(architectures, list) or not all(isinstance(name, str) for name in architectures):
        raise RequestError(
            f"{path} has {kind_of(architectures)} as architectures, which must be a list of texts such as "
            '["LlamaForCausalLM"]: mend it.'
        )
    if family not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        if "auto_map" in config:
            raise RequestError(
                f"{source.id} needs code of its own repository, which is never run: "
                "use a model whose family is part of transformers."
            )
        if family not in CONFIG_MAPPING_NAMES:
            raise RequestError(
                f"{source.id} is of the family {family!r}, which this transformers does not know: install a newer one "
                "(`pip install -U transformers`), or use a decoder model such as Llama, Qwen, Mistral or GPT-2."
            )
        raise RequestError(
            f"{source.id} is of the family {family!r}, which has no causal language model in this transformers: "
            "use a decoder model such as Llama, Qwen, Mistral or GPT-2."
        )
    if architectures and not architectures[0].endswith(CAUSAL_SUFFIXES):
        raise RequestError(
            f"{source.id} is a {architectures[0]}, not a causal (decoder) language model: it cannot generate text. "
            "Use a decoder model such as Llama, Qwen, Mistral or GPT-2."
        )


def _below(source: ModelSource) -> str:
    """A hint if models lie one folder deeper, as the checkpoints of a training do."""
    deeper = sorted(path.parent.name for path in source.folder.glob(f"*/{CONFIG}"))
    return f" Did you mean {source.folder / deeper[-1]}?" if deeper else ""
