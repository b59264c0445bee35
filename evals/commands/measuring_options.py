"""The options of `run` and `sweep` that say what is measured, and how. Imports nothing heavy."""

from typing import Any

from evals import protocols
from models.errors import RequestError

PERPLEXITY = ("protocol", "length", "stride", "bos")


def add_measuring(group, metrics: str | None, metrics_help: str) -> None:
    """Adds them to a parser or a group of its options; `metrics` is the default of --metrics."""
    group.add_argument("--metrics", default=metrics, metavar="A,B", help=metrics_help)
    group.add_argument(
        "--tasks", default="", metavar="A,B", help="tasks by name (see `evals tasks`) or file: .yaml, .jsonl, .csv"
    )
    group.add_argument("--source", metavar="DIR", help="folder of the public data sets that tasks name")
    group.add_argument("--limit", type=int, metavar="N", help="at most N rows of every task, evenly spaced")
    group.add_argument(
        "--columns", default="", metavar="FIELD=COLUMN,...", help="columns of a table as task: text, label, choices"
    )
    group.add_argument(
        "--data",
        default="embedded",
        metavar="TEXT",
        help="text for perplexity: `embedded`, a .txt, .raw or .jsonl file (also .gz), or a Hub data set "
        "owner/name[@revision][:config[:split]] (default: %(default)s)",
    )
    named = ", ".join(protocols.names())
    group.add_argument("--protocol", metavar="NAME", help=f"of the perplexity: {named} (default: gptq)")
    group.add_argument(
        "--no-layouts", dest="layouts", action="store_false", default=None, help="time sparse models only as they are"
    )
    group.add_argument("--length", type=int, metavar="L", help="tokens of its windows (default: the protocol's)")
    group.add_argument("--stride", type=int, metavar="S", help="tokens between two windows of hf-stride (default: 512)")
    group.add_argument(
        "--bos",
        metavar="auto|text|window",
        help="BOS once before the text or before every window of gptq and hf-stride (default: what the model needs)",
    )
    group.add_argument("--quick", action="store_true", help="fewer samples: wider intervals, sooner")
    group.add_argument("--device", default="auto", metavar="auto|cpu|cuda", help="default: %(default)s")
    group.add_argument("--dtype", default="auto", metavar="auto|float32|bfloat16|float16", help="default: %(default)s")
    group.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the bootstrap, and of what is drawn (default: %(default)s)"
    )
    group.add_argument(
        "--cache",
        default="default",
        metavar="FILE|none",
        help="where answers are kept (default: in the user's cache folder)",
    )


def read_measuring(options) -> dict[str, Any]:
    """The options by the names of the arguments of `evals.runs.run.evaluate_models`. RequestError for --columns amiss."""
    return {
        "metrics": None if options.metrics is None else words(options.metrics),
        "tasks": words(options.tasks),
        "source": options.source,
        "limit": options.limit,
        "columns": columns(options.columns),
        "data": options.data,
        "options": {name: found for name in (*PERPLEXITY, "layouts") if (found := getattr(options, name)) is not None},
        "quick": options.quick,
        "device": options.device,
        "dtype": options.dtype,
        "cache": None if options.cache == "none" else options.cache,
    }


def words(listed: str) -> list[str]:
    """`a, b` as a list."""
    return [word.strip() for word in listed.split(",") if word.strip()]


def columns(listed: str) -> dict[str, str]:
    """`text=review,label=stars` as a dict."""
    pairs = [word.partition("=") for word in words(listed)]
    if any(not value for _, _, value in pairs):
        raise RequestError("--columns wants FIELD=COLUMN pairs, such as text=review,label=stars.")
    return {name.strip(): value.strip() for name, _, value in pairs}
