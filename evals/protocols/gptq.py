"""The perplexity that GPTQ, SparseGPT, Wanda and AWQ quote."""

from transformers import PreTrainedTokenizerBase

from evals.data import Text
from evals.judging.text_figures import BITS_PER_BYTE, NLL, PERPLEXITY
from evals.protocols import Request, protocol, refuse_stride, window_length
from evals.windows import Span, Windows, passage_of, windows_of

LONGEST = 2048  # GPTQ, SparseGPT and AWQ; Wanda uses the model's own context


@protocol(figures=(PERPLEXITY, BITS_PER_BYTE), comparisons=(NLL, PERPLEXITY))
def gptq(tokenizer: PreTrainedTokenizerBase, text: Text, request: Request) -> Windows:
    """Disjoint windows of the whole text, each scored but for its first token.

    The text is encoded once with the tokenizer's default special tokens (for Llama one BOS at the start) and cut into
    windows of L tokens, L = min(context, 2048) unless given; the tail is dropped, no window gets a BOS of its own, and
    L-1 tokens of each are scored (GPTQ's `datautils.py` and `llama.py`, Wanda's `eval_ppl_wikitext`).

    A text shorter than L makes one window of its own length, which the protocol then says (`shortened_from`).
    """
    refuse_stride(request, "gptq")
    wanted = window_length(request, min(request.context, LONGEST))
    passage = passage_of(tokenizer, text.content)
    tokens = len(passage.ids)
    used = min(wanted, tokens)
    count = min(tokens // used, request.most or tokens) if used > 1 else 0
    facts = {
        "name": "gptq",
        "length": used,
        "stride": used,
        "bos": bool(tokens and passage.ids[0] == tokenizer.bos_token_id),
    }
    if used < wanted:
        facts["shortened_from"] = wanted
    spans = [Span(at * used, at * used + 1, (at + 1) * used) for at in range(count)]
    return windows_of(text, [(passage, spans)], facts)
