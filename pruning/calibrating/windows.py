"""Calibration text as token windows: as many as asked for, disjoint, chosen by the seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import dropwhile, groupby

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.console.progress import Progress
from models.console.units import format_count
from models.description import context_length
from models.errors import RequestError
from models.text.dialogues import Dialogue
from models.text.opening import window_opening
from pruning.calibrating.encoding import Encoder
from pruning.calibration import Request, find_source
from pruning.collect.blockwise import Batch
from pruning.config import PruningConfig

LONGEST_DEFAULT = 2048  # tokens; what the field calibrates with
BATCH_TOKENS = 4096
READ = 4  # times as many tokens as are used are read, so that the seed has windows to choose from
READ_EVEN = 1.25  # of a source of which every beginning is like the whole


@dataclass(frozen=True)
class Windows:
    """The calibration windows in batches, and what a reader should know about them.

    windows, tokens: how many are used, padding not counted; asked: how many windows were wanted. begin_with: the token
    ids that every window begins with.
    """

    batches: tuple[Batch, ...]
    source: str
    asked: int
    windows: int
    tokens: int
    sequence_length: int
    seed: int
    begin_with: tuple[int, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What fell short, in words."""
        if self.windows >= self.asked:
            return ()
        return (
            f"The calibration text {self.source} fills {self.windows} windows of up to {self.sequence_length} tokens "
            f"({format_count(self.tokens)} tokens), not {self.asked}: all of it was used.",
        )

    def as_dict(self) -> dict:
        """What was used, as JSON types."""
        return {
            "source": self.source,
            "windows_asked": self.asked,
            "windows": self.windows,
            "tokens": self.tokens,
            "sequence_length": self.sequence_length,
            "seed": self.seed,
            "begin_with": list(self.begin_with),
        }


def calibration_windows(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    config: PruningConfig,
    texts: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Windows:
    """The windows that `config` asks for, from `texts` or from the source it names.

    Documents are joined into one stream with the end-of-text token between them. Every window begins with what the
    tokenizer puts before a text, often a BOS (see `models.text.opening`), which counts among its tokens. Raises RequestError
    if the source is not there or holds no text, or if the sequence length is beyond the model's context.
    """
    length = window_length(model, config.sequence_length)
    documents, source, read = texts, "texts given by the caller", READ
    if texts is None:
        found, source, columns = find_source(config.calibration), config.calibration, config.parsed_columns()
        request = Request(source, model, tokenizer, config.samples, length, config.seed, progress, columns)
        documents, read = found.documents(request), READ_EVEN if found.even else READ
    opening = window_opening(model.config.get_text_config(), tokenizer)
    opening = opening if len(opening) < length - 1 else []  # a toy context has no room for it
    limit = max(math.ceil(read * config.samples), config.samples + 1) * length
    stream = join(documents, tokenizer, limit, opening)
    if opening:  # which says that a text begins
        stream = list(dropwhile({*opening, tokenizer.eos_token_id}.__contains__, stream))
    pieces = [[*opening, *piece] for piece in cut(stream, config.samples, length - len(opening), config.seed)]
    if not pieces:
        raise RequestError(f"The calibration text {source} has fewer than 2 tokens: give a longer one.")
    return Windows(
        batches=tuple(make_batches(pieces, length)),
        source=source,
        asked=config.samples,
        windows=len(pieces),
        tokens=sum(map(len, pieces)),
        sequence_length=length,
        seed=config.seed,
        begin_with=tuple(opening),
    )


def window_length(model: PreTrainedModel, asked: int | None) -> int:
    """Tokens in a window: what was asked for, or the model's context up to 2048. RequestError beyond the context."""
    context = context_length(model.config.get_text_config())
    if asked is not None and asked > context:
        raise RequestError(f"A sequence length of {asked} is beyond this model's context of {context}: ask for less.")
    return asked or min(context, LONGEST_DEFAULT)


def join(documents, tokenizer: PreTrainedTokenizerBase, limit: int, opening: Sequence[int] = ()) -> list[int]:
    """The documents as one stream of token ids, the end-of-text token (if there is one) between them and at first.

    Conversations are in the form of the tokenizer's chat template, if it has one. Reading stops once `limit` tokens are there, so that a huge source costs no more than a large one.
    """
    end = tokenizer.eos_token_id
    encoder = Encoder(tokenizer, limit, opening)
    stream: list[int] = []
    ended = False
    for number, document in enumerate(documents, 1):
        ids = encoder.ids(document, f"Document {number} of the calibration text")
        if ids:
            stream += ids if end is None or ended or ids[0] == end else [end, *ids]
            ended = isinstance(document, Dialogue) and end in ids[-2:]  # as templates have it, a line end behind it
        if len(stream) >= limit:
            break
    return stream


def cut(stream: Sequence[int], samples: int, length: int, seed: int) -> list[list[int]]:
    """Up to `samples` disjoint windows of `length` tokens at places that the seed draws.

    A stream too short for that many is used whole, its last window shorter than the others.
    """
    whole = len(stream) // length
    if whole < samples:
        pieces = [list(stream[start : start + length]) for start in range(0, len(stream), length)]
        return [piece for piece in pieces[:samples] if len(piece) > 1]
    generator = torch.Generator().manual_seed(seed)
    shift = int(torch.randint(len(stream) - whole * length + 1, (1,), generator=generator))
    places = torch.randperm(whole, generator=generator)[:samples].sort().values.tolist()
    return [list(stream[shift + place * length :][:length]) for place in places]


def make_batches(pieces: Sequence[Sequence[int]], length: int) -> list[Batch]:
    """The windows in batches of at most 4096 tokens (at least one window), those of a batch equally long.

    So nothing is padded: where a model sends tokens to experts, their rows no longer tell text from padding.
    """
    size = max(1, BATCH_TOKENS // length)
    batches = []
    for _, group in groupby(pieces, key=len):
        equals = list(group)
        for start in range(0, len(equals), size):
            ids = torch.tensor(equals[start : start + size])
            batches.append(Batch(ids, torch.ones_like(ids, dtype=torch.bool)))
    return batches
