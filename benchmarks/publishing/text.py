"""What blocks are written of: tables, shares, spreads, and where a figure was measured."""

from tabulate import tabulate

from evals.measurement import Measurement


def table(headers: list[str], rows: list[list]) -> str:
    """A Markdown table."""
    return tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)


def share(measured: Measurement) -> str:
    """A share of 0..1 as percent with its spread."""
    half = (measured.interval[1] - measured.interval[0]) / 2
    return f"{100 * measured.value:.1f} ± {100 * half:.1f} %"


def spread(entry: dict, form: str) -> str:
    """A value with the ends of its interval."""
    if not entry["interval"]:
        return f"{entry['value']:{form}}"
    low, high = entry["interval"]
    return f"{entry['value']:{form}} ({low:{form}} to {high:{form}})"


def where(document: dict) -> str:
    """On what it was measured, and how to measure it again."""
    place = document["environment"]
    libraries = place["libraries"]
    return (
        f"{place['gpu'] or place['cpu']}, {place['threads']} threads, torch {libraries['torch']}, transformers "
        f"{libraries['transformers']}; made by `{document['command']}`."
    )
