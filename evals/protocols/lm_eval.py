"""The perplexities of lm-evaluation-harness: by word and by byte, document for document."""

import re
from collections.abc import Callable, Iterator

from transformers import PreTrainedTokenizerBase

from evals.judging.text_figures import BITS_PER_BYTE, BYTE_PERPLEXITY, WORD_PERPLEXITY
from evals.protocols import Request, protocol, refuse_stride, window_length
from evals.text_losses.data import Text
from evals.text_losses.windows import Passage, Span, Windows, after, passage_of, sharing, windows_of
from models.errors import RequestError

FIGURES = (WORD_PERPLEXITY, BYTE_PERPLEXITY, BITS_PER_BYTE)
COMPARISONS = (BITS_PER_BYTE, WORD_PERPLEXITY, BYTE_PERPLEXITY)


@protocol(figures=FIGURES, comparisons=COMPARISONS)
def lm_eval(tokenizer: PreTrainedTokenizerBase, text: Text, request: Request) -> Windows:
    """Every token of every document scored once, in disjoint windows after one token of context.

    See `rolling`; the documents are scored as they are.
    """
    return rolling("lm-eval", tokenizer, text, request, lambda document: document)


def rolling(
    name: str,
    tokenizer: PreTrainedTokenizerBase,
    text: Text,
    request: Request,
    cleaned: Callable[[str], str],
) -> Windows:
    """The windows of lm-evaluation-harness's `loglikelihood_rolling` (0.4.13), of documents scored as `cleaned`.

    A document is encoded with the tokenizer's default special tokens and comes after BOS, or EOS where there is none,
    so that a tokenizer that adds a BOS has it twice, the second one scored; the harness before 0.4.10, or with
    `add_bos_token=False`, encodes it without. The first window scores L tokens, every other one the next L after the
    one before them; the last one scores what is left, after as much context as fits. L is the model's context.

    Bytes and words are those of the document as it was before it was cleaned, words being the pieces between white
    space, an empty one at either end counted too. A document without a token is left out, where the harness counts a
    word. `most` takes whole documents until they have so many windows.
    """
    refuse_stride(request, name)
    length = window_length(request, request.context, least=1)
    prefix = next((at for at in (tokenizer.bos_token_id, tokenizer.eos_token_id) if at is not None), None)
    if prefix is None:
        raise RequestError(f"The tokenizer has neither BOS nor EOS to begin a document with: {name} needs one.")

    def cut() -> Iterator[tuple[Passage, list[Span]]]:
        windows = 0
        for document in text.documents:
            passage = passage_of(tokenizer, cleaned(document))
            if len(passage.ids):
                spans = rolling_spans(len(passage.ids), length)
                totals = {"bytes": len(document.encode()), "words": len(re.split(r"\s+", document))}
                yield after(prefix, sharing(passage, **totals)), spans
                windows += len(spans)
            if request.most and windows >= request.most:
                return

    passages = list(cut())
    facts = {
        "name": name,
        "length": length,
        "documents": len(passages),
        "prefix": "BOS" if prefix == tokenizer.bos_token_id else "EOS",
        "bos": any(passage.ids[1] == tokenizer.bos_token_id for passage, _ in passages),
    }
    return windows_of(text, passages, facts)


def rolling_spans(tokens: int, length: int) -> list[Span]:
    """The windows of `tokens` tokens that come after a prefix, which is at place 0."""
    spans = []
    scored = 0
    while scored < tokens:
        end = min(scored + length, tokens)
        spans.append(Span(max(0, end - length), scored + 1, end + 1))
        scored = end
    return spans
