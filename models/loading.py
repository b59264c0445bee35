"""Loading: MODEL to model, tokenizer and description, with every expected mishap explained in one line."""

import logging
from typing import TYPE_CHECKING, NamedTuple

import torch

from models.console.out_of_memory import ran_out
from models.console.quiet import quiet_transformers
from models.description import Description, content_hash, describe
from models.errors import EspalierError, RequestError, first_line
from models.formats.adapters import base_folder, merge, note
from models.formats.checking import (
    check_fit,
    check_folder,
    check_tokenizer,
    check_weights,
    load_config,
    refuse_unbuildable,
    tokenizer_explained,
    tokenizer_folder,
)
from models.formats.gguf import origin_note
from models.formats.readers import find_layout, find_reader
from models.memory import OutOfMemory, require
from models.policy import choose_device, choose_dtype
from models.precision import STORED, rounding_note, stored_dtype
from models.source import ModelSource, locate
from models.storage.contents import files_read

# Classes of models take seconds to import: a wrong request is told before that.
if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Loaded(NamedTuple):
    """A model ready for use (in eval mode, on its device), its tokenizer, and what it is."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    description: Description


def load(model: str, device: str = "auto", dtype: str = "auto") -> Loaded:
    """Loads MODEL: `embedded`, a local folder, or a Hub id `owner/name[@revision]`.

    Only safetensors are read and no code of a repository is run. The memory is forecast before any weight is read.
    `dtype` is a name of `models.policy.DTYPES`, or "stored": that of the files, whatever this machine is fast in. What
    is rounded by another choice than the person's is told in the description's notes.
    Raises RequestError for whatever the person can mend, EspalierError when loading itself fails.
    """
    target = choose_device(device)
    precision = choose_dtype(target, "auto" if dtype == STORED else dtype)
    source = locate(model, room=lambda size: require(size, target, model))
    if dtype == STORED:
        check_folder(source)
        precision = stored_dtype(check_weights(source)) or precision
    network = load_network(source, target, precision, as_stored=dtype in ("auto", STORED))
    tokenizer = load_tokenizer(source)
    rows = network.get_input_embeddings().num_embeddings
    check_fit(model, rows, tokenizer.get_vocab(), tokenizer.get_added_vocab())
    chosen = dtype in ("auto", STORED) and find_reader(source.folder) is None
    rounded = rounding_note(model, check_weights(source), network) if chosen else None
    notes = tuple(filter(None, [note(source), origin_note(source.folder), rounded]))
    for line in notes:
        logging.getLogger("espalier").warning(line)
    return Loaded(network, tokenizer, describe(network, model, identity(source), notes))


def identity(source: ModelSource) -> str:
    """The commit of a model of the Hub, else the hash of all that loading reads of it."""
    # A commit says nothing of the base that an adapter is merged into.
    if source.revision and source.adapter is None:
        return source.revision
    return content_hash(files_read(source))


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
    needed = sum(header.bytes_as(precision.itemsize) for header in check_weights(source))
    require(needed, target, f"{source.id} in {str(precision).removeprefix('torch.')}")
    network = _load_weights(source, precision)
    if source.adapter is not None:
        network = merge(network, source)
    return network.to(target).eval()


def load_tokenizer(source: ModelSource) -> "PreTrainedTokenizerBase":
    """Loads the tokenizer beside the weights, or beside the adapter. RequestError if there is none or it is damaged."""
    check_tokenizer(source)
    from transformers import AutoTokenizer

    # An adapter's folder has no config.json, by which transformers tells the kind of some tokenizers.
    known = {} if source.adapter is None else {"config": load_config(source)}
    with tokenizer_explained(source):
        return AutoTokenizer.from_pretrained(
            tokenizer_folder(source), trust_remote_code=False, local_files_only=True, **known
        )


def _load_weights(source: ModelSource, dtype: torch.dtype) -> "PreTrainedModel":
    from transformers import AutoModelForCausalLM

    config = load_config(source)
    try:
        with quiet_transformers(), base_folder(source) as folder:
            network, info = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=dtype,
                ignore_mismatched_sizes=True,  # told below, with a remedy
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
    except Exception as error:
        if ran_out(error):
            raise OutOfMemory(
                f"{source.id} did not fit into memory: choose a smaller model or --dtype bfloat16."
            ) from error
        refuse_unbuildable(source, config)
        raise EspalierError(
            f"{source.id} could not be loaded: {first_line(error)}. Check that its files are whole."
        ) from error
    network.config._name_or_path = network.name_or_path = str(source.folder)
    if info["mismatched_keys"]:
        name, stored, wanted = sorted(info["mismatched_keys"], key=str)[0]
        raise RequestError(
            f"{len(info['mismatched_keys'])} weights of {source.id} have other shapes than its config.json says (such "
            f"as {name}: {list(stored)}, not {list(wanted)}): the two do not belong together; fetch the model again."
        )
    if info["missing_keys"]:
        example = sorted(info["missing_keys"])[0]
        raise RequestError(
            f"The files of {source.id} lack {len(info['missing_keys'])} of its weights (such as {example}): "
            "they do not belong to this config.json, or were saved only in part."
        )
    return network
