"""The command `tasks`: what can be asked."""

import json

from models.console.command import add_debug


def add_to(commands):
    """Adds the command to those of `python -m evals`, and returns its parser."""
    listing = commands.add_parser("tasks", help="list the tasks, what they measure and the data they need")
    listing.add_argument("--json", action="store_true", help="as JSON")
    add_debug(listing)
    listing.set_defaults(action=run)
    return listing


def run(options) -> None:
    """`tasks`, with the options parsed."""
    from tabulate import tabulate

    from evals import task

    found = [task.find(name) for name in task.names()]
    rows = [
        {"task": each.name, "metric": each.metric, "data": each.files or ["ships"], "summary": each.summary}
        for each in found
    ]
    if options.json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        shown = [row | {"data": ", ".join(row["data"])} for row in rows]
        print(tabulate(shown, headers="keys", disable_numparse=True))
