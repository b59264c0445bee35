"""What the numbers of `evals` are worth: against lm-evaluation-harness, and how often intervals hold the truth."""

from benchmarks.publishing import stored
from benchmarks.publishing.text import spread, table, where

METHODS = {
    "blocks, studentised": "perplexity, as reported",
    "paired difference": "paired difference, as reported",
    "t over windows": "Student's t over windows",
    "blocks, percentile": "percentile bootstrap",
}  # of interval_coverage.py, and the heading of each
SOURCES = {"process": "known process", "model": "tiny model's own texts"}
SECONDS = {
    "speed": "the four-choice questions, in turns",
    "start": "a fresh process until the first file of the model is loaded",
    "help": "`--help`",
}


def harness_parity() -> str:
    """The same model on the same questions and documents, beside lm-evaluation-harness."""
    document = stored.document("harness_parity")
    results, protocol = document["results"], document["protocol"]
    choices = results["choices"]
    rows = []
    for name, title in (("accuracy", "acc"), ("accuracy_norm", "acc_norm")):
        found = choices[name]
        alike = "every answer alike" if found["answers_alike"] else "answers differ"
        rows.append([title, *(f"{100 * found[side]:.2f} %" for side in ("ours", "theirs")), alike])
    apart = f"at most {choices['largest_difference_nats']:.1e} nats apart"
    rows.append([f"log-likelihood of {choices['choices']} choices", "", "", apart])
    for name, found in results["texts"].items():
        sides = (f"{found[side]:.6g}" for side in ("ours", "theirs"))
        rows.append([name.replace("_", " "), *sides, f"{found['relative_difference']:.1e} apart, relative"])
    for name, title in SECONDS.items():
        found = results[name]
        sides = (f"{found[f'{side}_median']:.2f} s" for side in ("ours", "theirs"))
        rows.append([title, *sides, f"{spread({'value': found['ratio'], **found}, '.2f')} times as fast"])
    headers = ["measure", "`evals`", f"lm-evaluation-harness {document['environment']['lm_eval']}", ""]
    about = (
        f"{protocol['questions']} questions of four choices each, made of {protocol['made_of']}; "
        f"{protocol['documents']} documents; the model `{protocol['model']}` in {protocol['dtype']}; "
        f"times are medians of {len(results['speed']['ours_seconds'])}."
    )
    return f"{table(headers, rows)}\n\n{about} {where(document)}"


def harness_tasks() -> str:
    """The standard sets beside lm-evaluation-harness, row by row."""
    document = stored.document("harness_tasks")
    rows = []
    for dtype, tasks in document["results"].items():
        for name, found in tasks.items():
            shares = [
                " / ".join(f"{100 * found[kind][side]:.2f} %" for side in ("ours", "theirs")) if kind in found else ""
                for kind in ("accuracy", "accuracy_norm")
            ]
            differ = sum(found[kind]["answers_differ"] for kind in ("accuracy", "accuracy_norm") if kind in found)
            apart = f"{found['largest_difference_nats']:.1e}"
            rows.append([name, dtype, found["rows"], *shares, differ, apart])
    headers = [
        "task",
        "dtype",
        "rows",
        "acc, ours / theirs",
        "acc_norm, ours / theirs",
        "hits that differ",
        "nats apart, at most",
    ]
    about = f"The model `{document['protocol']['model']}`, lm-evaluation-harness {document['environment']['lm_eval']}."
    return f"{table(headers, rows)}\n\n{about} {where(document)}"


def perplexity_speed() -> str:
    """Perplexity by the protocol `gptq` beside the loop of published pruning code."""
    document = stored.document("perplexity_speed")
    rows = []
    for length, found in document["results"].items():
        published, ours = found["published loop"], found["ours"]
        seconds = [f"{each['median']:.2f} s" for each in (published, ours)]
        perplexities = [f"{each['perplexity']:.5f}" for each in (published, ours)]
        times = {"value": ours["first_over_this"], "interval": ours["first_over_this_interval"]}
        rows.append([length, found["windows"], *perplexities, *seconds, spread(times, ".2f")])
    headers = ["window", "windows", "perplexity, published loop", "ours", "published loop", "ours", "times as fast"]
    about = f"The model `{document['protocol']['model']['id']}` in {document['protocol']['model']['dtype']}, in turns."
    return f"{table(headers, rows)}\n\n{about} {where(document)}"


def interval_coverage() -> str:
    """How often 95 % intervals hold a truth that is known."""
    document = stored.document("interval_coverage")
    sources: dict[tuple, dict[str, dict]] = {}
    for row in document["results"]:
        sources.setdefault((row["source"], row["windows"], row.get("document"), row["beyond"]), {})[row["method"]] = row
    rows = []
    for (source, windows, length, beyond), found in sources.items():
        name = f"{SOURCES[source]}{', too short to tell' * beyond}"
        shares = (covered(found[method]) if method in found else "" for method in METHODS)
        rows.append([name, windows, "" if length is None else f"{length:g}", *shares])
    headers = ["source", "windows", "windows of a document", *METHODS.values()]
    about = (
        f"The share of 95 % intervals that hold the truth, of {document['protocol']['resamples']} texts of each source."
    )
    return f"{table(headers, rows)}\n\n{about} {where(document)}"


def covered(row: dict) -> str:
    """A share in percent with its own interval."""
    low, high = row["interval"]
    return f"{100 * row['coverage']:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
