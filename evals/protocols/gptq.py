"""The perplexity that GPTQ, SparseGPT, Wanda and AWQ quote."""

from transformers import PreTrainedTokenizerBase

from evals.judging.text_figures import BITS_PER_BYTE, NLL, PERPLEXITY
from evals.protocols import BOS, Request, protocol, refuse_stride, window_length
from evals.text_losses.data import Text
from evals.text_losses.windows import Span, Windows, bos_facts, each_after, text_passage, windows_of

LONGEST = 2048  # GPTQ, SparseGPT and AWQ; Wanda uses the model's own context


@protocol(figures=(PERPLEXITY, BITS_PER_BYTE), comparisons=(NLL, PERPLEXITY), bos=BOS)
def gptq(tokenizer: PreTrainedTokenizerBase, text: Text, request: Request) -> Windows:
    """Disjoint windows of the whole text, each scored but for its first token.

    The text is encoded once with the tokenizer's default special tokens (for Llama one BOS at the start) and cut into
    windows of L tokens, L = min(context, 2048) unless given; the tail is dropped, no window gets a BOS of its own, and
    L-1 tokens of each are scored (GPTQ's `datautils.py` and `llama.py`, Wanda's `eval_ppl_wikitext`).

    With `--bos window`, and by itself for a model that gives nonsense without BOS (Gemma), every window is BOS and L-1
    tokens of the text, all of them scored; the protocol then says so (`bos_policy`), and such a perplexity is
    comparable with none of the other kind.

    A text shorter than L makes one window of its own length, which the protocol then says (`shortened_from`).
    """
    refuse_stride(request, "gptq")
    wanted = window_length(request, min(request.context, LONGEST))
    each = request.bos == "window"
    passage = text_passage(tokenizer, text.content, request.bos)
    tokens = len(passage.ids)
    used = min(wanted, tokens + each)
    step = used - each
    count = min(tokens // step, request.most or tokens) if used > 1 else 0
    facts = {"name": "gptq", "length": used, "stride": step} | bos_facts(tokenizer, passage, request.bos)
    if used < wanted:
        facts["shortened_from"] = wanted
    spans = [Span(at * step, at * step + (not each), (at + 1) * step) for at in range(count)]
    cut = each_after(tokenizer.bos_token_id, passage, spans) if each and spans else (passage, spans)
    return windows_of(text, [cut], facts)
