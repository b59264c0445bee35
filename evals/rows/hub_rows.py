"""Rows of a Hub data set, through the `datasets` library."""

from evals.rows.row import Row
from models.errors import RequestError
from models.text.characters import check_strings
from models.text.documents import HUB_DATASET, explain_hub_error


def hub_rows(name: str) -> list[Row]:
    """All rows of `owner/name[@revision]:config:split` (config `default`: the set's own, whatever it is called).

    Raises RequestError for what the person can mend, EspalierError where the Hub cannot be reached.
    """
    asked = HUB_DATASET.fullmatch(name).groupdict()
    try:
        import datasets
    except ImportError:
        raise RequestError(
            f"Reading {name} needs the package `datasets`: `pip install datasets`, or give --source."
        ) from None
    try:
        config = None if asked["config"] == "default" else asked["config"]
        found = datasets.load_dataset(asked["repo"], config, split=asked["split"], revision=asked["revision"]).to_list()
    except Exception as error:
        raise explain_hub_error(name, error) from error
    rows = [Row(fields, f"{name}, row {number}") for number, fields in enumerate(found, 1)]
    for row in rows:
        check_strings(row, row.where, nul=True)
    return rows
