"""A report of stored results: report.md, results.csv and the plots, of one results file or of several together."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from evals.reporting.csv_file import as_csv
from evals.reporting.headings import title
from evals.reporting.merge import find_sources, merge
from evals.reporting.plotting import Drawn, draw_all, require_matplotlib
from evals.reporting.table import markdown
from models.storage.destination import try_files
from models.storage.files import write_text

PLOTS = "plots"


@dataclass(frozen=True)
class Report:
    """Where a report was written, its text, and which plots it has."""

    folder: Path
    text: str
    plots: Drawn


def write_report(folders: Iterable[Path | str], out: Path | str, groups: Sequence[str] = ()) -> Report:
    """Merges the results files in and below some folders and writes their report to the folder `out`.

    A report that is there already is replaced; nothing else there is touched. `groups` limits it to some metrics.
    Raises RequestError, with nothing written, for files that are missing, broken, or of different protocols.
    """
    out = Path(out)
    for folder in (out, out / PLOTS):
        try_files(folder)
    require_matplotlib()
    document = merge(find_sources(folders), groups)
    drawn = draw_all(document, out / PLOTS)
    text = f"{markdown(document)}\n{_shown(drawn)}"
    write_text(out / "results.csv", as_csv(document))
    write_text(out / "report.md", text)
    return Report(out, text, drawn)


def _shown(drawn: Drawn) -> str:
    """The plots with their captions, and why the others are missing."""
    parts = ["## Plots"]
    for name, caption in drawn.made.items():
        files = f"[SVG]({PLOTS}/{name}.svg)"
        parts.append(f"![{caption}]({PLOTS}/{name}.png)\n\n{caption} ({files}).")
    if drawn.missing:
        parts.append("Not drawn:\n\n" + "\n".join(f"- {title(name)}: {why}." for name, why in drawn.missing.items()))
    return "\n\n".join(parts) + "\n"
