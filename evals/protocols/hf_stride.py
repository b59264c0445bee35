"""The perplexity of transformers' guide: overlapping windows, so that tokens have a context that is not cut off."""

from transformers import PreTrainedTokenizerBase

from evals.data import Text
from evals.judging.text_figures import BITS_PER_BYTE, NLL, PERPLEXITY
from evals.protocols import Request, protocol, window_length
from evals.windows import Span, Windows, passage_of, windows_of
from models.errors import RequestError

LONGEST, STRIDE = 2048, 512


@protocol(figures=(PERPLEXITY, BITS_PER_BYTE), comparisons=(NLL, PERPLEXITY))
def hf_stride(tokenizer: PreTrainedTokenizerBase, text: Text, request: Request) -> Windows:
    """Windows of L tokens that begin every S tokens, each scored where none before it was.

    The text is encoded once with the tokenizer's default special tokens. Every token but the first is scored exactly
    once, and all weigh the same (transformers' documentation, "Perplexity of fixed-length models", whose code weighs
    each overlapping window by one token less than it scores: at most 1/S). With S = L the windows are disjoint, and the
    first token of each is not scored, as there. L is min(context, 2048) and S is 512, or half of L if that is less.
    """
    length = window_length(request, min(request.context, LONGEST))
    stride = min(STRIDE, max(1, length // 2)) if request.stride is None else request.stride
    if not 1 <= stride <= length:
        raise RequestError(f"A stride of {stride} tokens is not possible: choose 1 to {length}, the window.")
    passage = passage_of(tokenizer, text.content)
    tokens = len(passage.ids)
    spans: list[Span] = []
    scored = 1  # the first token has no context
    for start in range(0, tokens, stride):
        end = min(start + length, tokens)
        first = max(scored, start + 1)
        if first < end:
            spans.append(Span(start, first, end))
        scored = end
        if end == tokens or len(spans) == request.most:
            break
    facts = {
        "name": "hf-stride",
        "length": length,
        "stride": stride,
        "bos": bool(tokens and passage.ids[0] == tokenizer.bos_token_id),
    }
    return windows_of(text, [(passage, spans)], facts)
