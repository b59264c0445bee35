"""Whether a model is causal: told from its logits, since the name of its class and its configuration may say otherwise.

BertLMHeadModel, XLNetLMHeadModel and their like are causal language models to transformers, and unless configured as
decoders they read the later tokens too: their likelihood of a text would be that of one who has seen the answers.
"""

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch

from models.console.out_of_memory import ran_out
from models.description import context_length
from models.errors import EspalierError, RequestError, first_line

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

TOKENS = 4  # of a trial: the fewer, the more of what the last one says reaches the others
ENDINGS = 4  # last tokens that are tried: two of them may have the same embedding
LEAST = 1e-5  # of the spread of the logits; a half float's smallest step is far larger
ROUNDING = 8  # times the rounding that was seen: a mixture of experts rounds by what else is in the batch
SPECIAL = ("pad_token_id", "bos_token_id", "eos_token_id", "mask_token_id", "cls_token_id", "sep_token_id")

_known: "WeakKeyDictionary[PreTrainedModel, bool]" = WeakKeyDictionary()


def refuse_leaks(model: "PreTrainedModel", name: str | None = None) -> None:
    """RequestError unless the model is causal (see `is_causal`); `name` is what the person calls it."""
    if not is_causal(model):
        raise leaking(name or type(model).__name__)


def leaking(name: str) -> RequestError:
    """The refusal of a model that is not causal."""
    return RequestError(
        f"{name} is no causal model: its logits change with later tokens, so it would be scored on text that it has "
        "seen; use a decoder model such as Llama, Qwen, Mistral or GPT-2 (a BERT-like one needs is_decoder: true)."
    )


def is_causal(model: "PreTrainedModel") -> bool:
    """Whether the logits of a model stay as they are when only a later token changes.

    Tried once for each model in memory, on four texts of four tokens that differ in the last one. EspalierError if the
    model cannot be run on them.
    """
    if model not in _known:
        _known[model] = _tried(model)
    return _known[model]


def trial_texts(config: "PretrainedConfig") -> torch.Tensor | None:
    """Token ids [4, T] of texts that differ in the last token; None if the context is too short for two tokens."""
    length = min(TOKENS, context_length(config))
    if length < 2:
        return None
    special: set[int] = set()
    for given in (getattr(config, name, None) for name in SPECIAL):
        special |= set(given) if isinstance(given, list) else {given}
    size, count = config.vocab_size, length - 1 + ENDINGS
    ids = [at * size // count for at in range(count)]
    while plain := [at for at, token in enumerate(ids) if token in special]:
        if size <= count + len(special):
            break  # a toy vocabulary has no tokens to spare
        for at in plain:
            ids[at] = (ids[at] + 1) % size
    return torch.tensor([[*ids[ENDINGS:], ending] for ending in ids[:ENDINGS]])


def leaks(logits: torch.Tensor, repeated: torch.Tensor | None = None) -> bool:
    """Whether the logits [4, T, V] of `trial_texts` before the last place differ among the texts.

    `repeated` [4, T, V] are those of the first text four times over. What differs between its rows, or from that text
    among the others, is rounding.
    """
    logits = logits.float().nan_to_num(0, 0, 0)  # a damaged model is found out by those who score with it
    change = (logits[:, :-1] - logits[:1, :-1]).abs().max()
    if change <= LEAST * logits.std():
        return False
    if repeated is None:
        return True
    repeated = repeated.float().nan_to_num(0, 0, 0)
    rounding = (repeated - logits[:1]).abs().max()
    return bool(change > ROUNDING * rounding)


@torch.inference_mode()
def _tried(model: "PreTrainedModel") -> bool:
    texts = trial_texts(model.config.get_text_config())
    if texts is None:
        return True
    device = next(model.parameters()).device

    def logits(ids: torch.Tensor) -> torch.Tensor:
        return model(input_ids=ids.to(device), use_cache=False).logits

    try:
        found = logits(texts)
        return not (leaks(found) and leaks(found, logits(texts[:1].expand_as(texts))))
    except Exception as error:  # whatever a family of transformers cannot do
        if ran_out(error):
            raise EspalierError("Out of memory while trying the model: use a smaller one.") from error
        dtype = str(model.dtype).removeprefix("torch.")
        other = "another model" if model.dtype == torch.float32 else "--dtype float32, or another model"
        raise EspalierError(
            f"{type(model).__name__} cannot be run on a few tokens in {dtype} ({first_line(error)}): use {other}."
        ) from error
