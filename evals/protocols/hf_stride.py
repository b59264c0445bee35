"""The perplexity of transformers' guide: overlapping windows, so that tokens have a context that is not cut off."""

from transformers import PreTrainedTokenizerBase

from evals.judging.text_figures import BITS_PER_BYTE, NLL, PERPLEXITY
from evals.protocols import BOS, Request, protocol, window_length
from evals.text_losses.data import Text
from evals.text_losses.windows import Span, Windows, bos_facts, each_after, text_passage, windows_of
from models.errors import RequestError

LONGEST, STRIDE = 2048, 512


@protocol(figures=(PERPLEXITY, BITS_PER_BYTE), comparisons=(NLL, PERPLEXITY), bos=BOS)
def hf_stride(tokenizer: PreTrainedTokenizerBase, text: Text, request: Request) -> Windows:
    """Windows of L tokens that begin every S tokens, each scored where none before it was.

    The text is encoded once with the tokenizer's default special tokens. Every token but the first is scored exactly
    once, and all weigh the same (transformers' documentation, "Perplexity of fixed-length models", whose code weighs
    each overlapping window by one token less than it scores: at most 1/S). With S = L the windows are disjoint, and the
    first token of each is not scored, as there. With `--bos window`, and by itself for a model that gives nonsense
    without BOS (Gemma), every window is BOS and L-1 tokens of the text, and its first token is scored, too. L is
    min(context, 2048) and S is 512, or half of L if that is less.
    """
    length = window_length(request, min(request.context, LONGEST))
    stride = min(STRIDE, max(1, length // 2)) if request.stride is None else request.stride
    if not 1 <= stride <= length:
        raise RequestError(f"A stride of {stride} tokens is not possible: choose 1 to {length}, the window.")
    each = request.bos == "window"
    if stride > length - each:
        raise RequestError(f"A stride of {stride} tokens leaves no room for the BOS of a window: choose {length - 1}.")
    passage = text_passage(tokenizer, text.content, request.bos)
    tokens = len(passage.ids)
    spans: list[Span] = []
    scored = int(not each)  # the first token has no context but its BOS
    for start in range(0, tokens, stride):
        end = min(start + length - each, tokens)
        first = max(scored, start + (not each))
        if first < end:
            spans.append(Span(start, first, end))
        scored = end
        if end == tokens or len(spans) == request.most:
            break
    facts = {"name": "hf-stride", "length": length, "stride": stride} | bos_facts(tokenizer, passage, request.bos)
    cut = each_after(tokenizer.bos_token_id, passage, spans) if each and spans else (passage, spans)
    return windows_of(text, [cut], facts)
