"""The command `report`: tables and plots of stored results. Imports nothing heavy until it runs."""

from pathlib import Path

from models.console.command import add_debug
from models.errors import RequestError


def add_to(commands):
    """Adds the command to those of `python -m evals`, and returns its parser."""
    report = commands.add_parser(
        "report",
        help="tables and plots of stored results",
        description="Merge the results.json files in and below folders into one report: report.md, results.csv, and "
        "plots as PNG and SVG. Files of different protocols are refused.",
    )
    report.add_argument("folders", nargs="+", metavar="DIR", help="folder with results.json in or below it")
    report.add_argument("--out", metavar="DIR", help="folder for the report (default: DIR/report, if there is one DIR)")
    report.add_argument("--metrics", default="", metavar="A,B", help="only these of the measured metrics")
    add_debug(report)
    report.set_defaults(action=run)
    return report


def run(options) -> None:
    """`report`, with the options parsed."""
    if options.out is None and len(options.folders) > 1:
        raise RequestError("Several folders make one report: say by --out where it goes. Nothing was done.")
    from evals.reporting.report import write_report

    out = options.out or Path(options.folders[0]) / "report"
    groups = [name.strip() for name in options.metrics.split(",") if name.strip()]
    made = write_report(options.folders, out, groups)
    print(made.text.rstrip("\n"))
