"""One run: models, metrics and a text in; a validated results document out, as results.json and a report."""

import os
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from evals import registry
from evals.contenders import Contenders
from evals.data import load_text
from evals.environment import environment
from evals.results import FILE_NAME, SCHEMA_VERSION, Result, validate, write_results
from evals.table import markdown
from evals.trial import Trial
from models.errors import RequestError
from models.files import write_text
from models.progress import Progress, part, silent

DEFAULT_METRICS = ("perplexity", "speed", "memory")


def evaluate_models(
    models: Sequence[str],
    out: Path | str | None = None,
    metrics: Sequence[str] = DEFAULT_METRICS,
    data: str = "embedded",
    quick: bool = False,
    device: str = "auto",
    dtype: str = "auto",
    seed: int = 0,
    progress: Progress | None = None,
    command: str | None = None,
) -> dict:
    """Measures MODELs, compares each with the first, and returns the results document (see `evals.results`).

    `data` is `embedded`, FILE or HUB_DATASET (see `evals.data`); `quick` takes fewer samples; `seed` is that of the
    bootstrap intervals. With `out`, results.json and report.md are written there at the end, and a folder that
    holds results already is refused at the beginning. Raises RequestError for every mistake in the request, before
    any measuring and with nothing written.
    """
    if out is not None:
        _refuse_taken(Path(out))
    if not metrics:
        raise RequestError(f"There is no metric to measure: use some of {', '.join(registry.names())}.")
    chosen = [registry.find(name) for name in dict.fromkeys(metrics)]
    text = load_text(data)
    contenders = Contenders(models, device, dtype, max(metric.models_at_once for metric in chosen))
    report = progress or silent
    place = environment()
    results: list[Result] = []
    notes: list[str] = []
    for at, metric in enumerate(chosen):
        share = part(report, at / len(chosen), (at + 1) / len(chosen))
        results += metric.measure(Trial(contenders, text, quick, seed, share, notes))
    source = {"id": text.id, "sha256": text.sha256, "revision": text.revision}
    names = [metric.name for metric in chosen]
    document = {
        "schema_version": SCHEMA_VERSION,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command or f"evaluate_models({list(models)!r}, metrics={names!r}, data={data!r}, quick={quick})",
        "environment": place,
        "settings": {"metrics": names, "data": source, "quick": quick, "device": device, "dtype": dtype, "seed": seed},
        "models": [contenders.record(name) for name in contenders.names],
        "results": [result.as_dict() for result in results],
        "notes": notes,
    }
    validate(document, FILE_NAME)
    if out is not None:
        # The results last: a folder that holds them is complete.
        write_text(Path(out) / "report.md", markdown(document))
        write_results(out, document)
    return document


def _refuse_taken(out: Path) -> None:
    if (out / FILE_NAME).exists():
        raise RequestError(f"{out} holds results already: choose another folder. Nothing was done.")
    place = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not place.is_dir():
        raise RequestError(f"{place} is a file: choose a folder for the results. Nothing was done.")
    if not os.access(place, os.W_OK):
        raise RequestError(f"{place} is not writable: choose another folder for the results. Nothing was done.")
