"""The perplexity of the library `evaluate`: the mean of the texts' own perplexities."""

from transformers import PreTrainedTokenizerBase

from evals.judging.text_figures import BITS_PER_BYTE, MEAN_PERPLEXITY, NLL
from evals.protocols import Request, protocol, refuse_stride, window_length
from evals.text_losses.data import Text
from evals.text_losses.windows import Span, Windows, after, passage_of, windows_of
from models.errors import RequestError


@protocol(figures=(MEAN_PERPLEXITY, BITS_PER_BYTE), comparisons=(NLL, MEAN_PERPLEXITY))
def evaluate(tokenizer: PreTrainedTokenizerBase, text: Text, request: Request) -> Windows:
    """Each document by itself, after BOS, cut off at the context, all its tokens scored.

    As `evaluate.load("perplexity")` does with `max_length=L` and `add_start_token=True`: encoded without special
    tokens, L-1 of its tokens at most, and the perplexity the arithmetic mean over documents, each weighing the same.
    L is the model's context. Documents without a token are left out.
    """
    refuse_stride(request, "evaluate")
    length = window_length(request, request.context)
    if tokenizer.bos_token_id is None:
        raise RequestError("The tokenizer has no BOS, which the protocol evaluate begins a text with: use lm-eval.")
    passages = (passage_of(tokenizer, document, special=False) for document in text.documents[: request.most])
    cut = [
        (after(tokenizer.bos_token_id, passage), [Span(0, 1, 1 + min(len(passage.ids), length - 1))])
        for passage in passages
        if len(passage.ids)
    ]
    return windows_of(text, cut, {"name": "evaluate", "length": length, "documents": len(cut), "prefix": "BOS"})
