"""A task is data: one small YAML file in tasks/, or one that a person wrote.

    summary: The mood of reviews, two labels.          # what `python -m evals tasks` lists
    metric: classification                             # the file of metrics/ that measures it
    data: {file: sst2_glue/test.tsv.gz}                # below --source; or {embedded: reviews_en.jsonl} of evals/texts
    hub: stanfordnlp/sst2:default:validation           # optional: where there is no --source
    prompt: "Review: {sentence}\\nSentiment:"          # the row's fields in braces
    most: 2000                                         # optional: so many rows, evenly spaced, unless --limit says less
    licence: research use                              # optional
    shots: 2                                           # optional: how many solved examples the prompt begins with
    may_be_empty: [sentence]                           # optional: fields of the prompt that some rows have nothing in

    cluster: context                                   # optional: rows that share this field are one sample to intervals

and whatever else its metric asks for (`label`, `choices`, `references`, `stop`, ...). `data` may say `layout` and
`columns` (see `evals.rows.rows`) and name a list of files: their rows follow one another, unless the layout is `parallel`,
where the files' lines belong together (a column `null` is a .jsonl file, whose rows have names of their own). `kept_back: {title: 6}` leaves only rows whose field was kept back from the
training of the embedded model (`training.held_out`), `treebank: [text]` joins the words of a field that the Penn
Treebank's spacing parts (`do n't , please`), `one_line: [text]` makes every run of white space in a field one
space, and `stripped: [text]` takes it off both ends. `form: question` brings rows of several layouts into one
(`evals.forms`). `trained_on` says what the embedded model learned from the set otherwise, which the report then tells.

Every row is checked before a model is asked (`check_rows`): a complaint names the file and the line.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import Formatter
from typing import Any

from evals.forms import shaped
from evals.rows.row import Row, is_missing, place_of
from evals.rows.rows import read_parallel, read_rows
from models.errors import RequestError
from models.storage.reading import is_there, reading, require_file, user_path
from models.text.characters import BYTE_ORDER_MARK, check_strings
from training.formats import one_line
from training.held_out import is_held_out
from training.sources import join_tokens

FOLDER = Path(__file__).parent / "tasks"
TEXTS = Path(__file__).parent / "texts"
REQUIRED = ("summary", "metric", "data", "prompt")
MOST_LABELS = 50
UNHASHED = ("shots", "may_be_empty")  # say what the prompt and the rows are, which the digests of both cover
CLEANED = {"treebank": join_tokens, "one_line": one_line, "stripped": str.strip}


@dataclass(frozen=True)
class Task:
    """One task: `options` are the entries that its metric asks for."""

    name: str
    summary: str
    metric: str
    data: dict
    prompt: str
    hub: str | None = None
    most: int | None = None
    options: dict = field(default_factory=dict)

    @property
    def is_embedded(self) -> bool:
        """Whether its data ships with the project."""
        return "embedded" in self.data

    @property
    def files(self) -> list[str]:
        """The files of its data below --source; none where it ships, or names files by their whole path."""
        listed = self.data.get("file") or []
        return [file for file in ([listed] if isinstance(listed, str) else listed) if not Path(file).is_absolute()]

    @property
    def shots(self) -> int:
        """How many solved examples the prompt begins with."""
        return self.options.get("shots", 0)

    def rows(self, source: Path | None = None, most: int | None = None) -> list[Row]:
        """Its rows, or `most` of them (see `chosen`). RequestError as `all_rows`."""
        return self.chosen(self.all_rows(source), most)

    def all_rows(self, source: Path | None = None) -> list[Row]:
        """Every row that the task is of. RequestError, saying where they are looked for, if the data is not there."""
        return self._kept(self._all_rows(source))

    def chosen(self, rows: Sequence[Row], most: int | None = None) -> list[Row]:
        """At most so many rows, evenly spaced, so that a file sorted by label is not cut to one label."""
        caps = [cap for cap in (self.most, most) if cap is not None]
        return evenly(rows, min(caps) if caps else None)

    def prompt_of(self, row: Row) -> str:
        """The prompt with the row's fields. RequestError for a field that is missing, null, empty or no text."""
        return self.fill(self.prompt, row)

    def fill(self, template: str, row: Row) -> str:
        """A template with the row's fields; RequestError as `prompt_of`."""
        try:
            for name in (name for _, name, _, _ in Formatter().parse(template) if name is not None):
                value, root = Formatter().get_field(name, (), row)
                self._as_text(row, name, value, empty=root in self.options.get("may_be_empty", ()))
            return template.format_map(row)
        except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
            have = ", ".join(map(str, row))
            raise RequestError(
                f"{self.at(row)}: {template!r} asks for {error}, and its rows have {have}: name its fields."
            ) from None

    def field(self, row: Row, name: str) -> Any:
        """A field of a row. RequestError if the row lacks it."""
        if name not in row:
            raise RequestError(f"{self.at(row)}: there is no field {name!r}; its rows have {', '.join(map(str, row))}.")
        return row[name]

    def text(self, row: Row, name: str, empty: bool = False) -> str:
        """A field as text. RequestError where it is missing, null, no text or number, or empty unless `empty`."""
        return self._as_text(row, name, self.field(row, name), empty)

    def texts(self, row: Row, name: str, values: Sequence, empty: bool = False) -> list[str]:
        """What a field lists, each as text; RequestError as `text`."""
        return [self._as_text(row, name, value, empty) for value in values]

    def label(self, row: Row, name: str) -> str:
        """A field as the name of a class: without white space around it, 1.0 as `1`, true as `True`."""
        value = self.field(row, name)
        whole = isinstance(value, float) and value.is_integer()
        return self._as_text(row, name, int(value) if whole else value).strip(BYTE_ORDER_MARK).strip()

    def at(self, row: Row) -> str:
        """What a complaint about a row begins with."""
        return ", ".join(filter(None, [f"Task {self.name}", place_of(row)]))

    def check_rows(self, rows: Sequence[Row], check: Callable[["Task", Row], None]) -> None:
        """RequestError, with its line, for the first of the rows that cannot be asked; `check` is the metric's."""
        for row in rows:
            self.prompt_of(row)
            if cluster := self.options.get("cluster"):
                self.text(row, cluster)
            check(self, row)

    def _as_text(self, row: Row, name: str, value: Any, empty: bool = False) -> str:
        if is_missing(value):
            raise RequestError(f"{self.at(row)}: {name!r} is null: give it a value, or leave the row out.")
        if not isinstance(value, str | int | float):
            raise RequestError(f"{self.at(row)}: {name!r} is {value!r:.40}, where a text is needed.")
        text = str(value)
        if not empty and not text.strip():
            raise RequestError(f"{self.at(row)}: {name!r} is empty: give it a value, or leave the row out.")
        return text

    def option(self, name: str) -> Any:
        """An entry that the metric needs. RequestError if the task's file lacks it."""
        if name not in self.options:
            raise RequestError(f"Task {self.name} lacks {name!r}, which {self.metric} needs: add it to its file.")
        return self.options[name]

    @property
    def digest(self) -> str:
        """SHA-256 of the definition, 16 hex digits of it: another prompt is another task, another folder is not."""
        file = self.data.get("file")
        data = (
            self.data | {"file": Path(file).name} if isinstance(file, str) and Path(file).is_absolute() else self.data
        )
        options = {name: value for name, value in self.options.items() if name not in UNHASHED}
        told = [self.metric, data, self.prompt, self.most, options]
        return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:16]

    def _kept(self, rows: list[Row]) -> list[Row]:
        """The rows that the task is of, in its form, with cleaned fields."""
        if form := self.data.get("form"):
            rows = shaped(rows, form)
        for name, one_in in self.data.get("kept_back", {}).items():
            # Training knows a text without the white space around it, and as it is within.
            rows = [row for row in rows if is_held_out(self.text(row, name, empty=True).strip(), one_in)]
        for entry, clean in CLEANED.items():
            for name in self.data.get(entry, ()):
                rows = [row | {name: clean(self.text(row, name, empty=True))} for row in rows]
        return rows

    def _all_rows(self, source: Path | None) -> list[Row]:
        layout, columns = self.data.get("layout"), self.data.get("columns", ())
        if self.is_embedded:
            return read_rows(TEXTS / self.data["embedded"], layout, columns)
        files = self.data["file"] if isinstance(self.data["file"], list) else [self.data["file"]]
        paths = [Path(source or "") / name for name in files]
        missing = [name for name, path in zip(files, paths, strict=True) if not is_there(path)]
        if not missing and (source or paths[0].is_absolute()):
            if layout == "parallel":
                return read_parallel(paths, columns)
            return [row for path in paths for row in read_rows(path, layout, columns)]
        if self.hub and source is None:
            from evals.rows.hub_rows import hub_rows

            return hub_rows(self.hub)
        raise RequestError(
            f"The task {self.name} needs {(missing or files)[0]}: give the folder that holds it by --source"
            f"{' (it is not in ' + str(source) + ')' if source else ''}."
        )


def evenly(items: Sequence, most: int | None) -> list:
    """At most so many of the items, evenly spaced; all where `most` is None."""
    size = min(len(items) if most is None else most, len(items))
    return [items[at * len(items) // size] for at in range(size)]


def names() -> list[str]:
    """The tasks that ship with the project."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def find(name: str, columns: dict[str, str] | None = None) -> Task:
    """A task by its name, by the path of its .yaml file, or made of a .jsonl, .csv or .tsv file.

    A table is taken for a classification: `columns` says which of its fields are `text` and `label` (those names by
    default); the labels are the words that are scored, unless `columns` names a field with the `choices` of each row.
    RequestError if there is no such task.
    """
    if name in names():
        return read_task(FOLDER / f"{name}.yaml")
    path = user_path(name)
    if path.suffix in (".yaml", ".yml"):
        return read_task(path)
    if is_there(path):
        return _of_table(path.absolute(), columns or {})
    raise RequestError(f"Unknown task {name!r}: use some of {', '.join(names())}, or a .yaml, .jsonl or .csv file.")


def read_task(path: Path) -> Task:
    """The task of a YAML file. RequestError if it is missing, broken, or lacks an entry."""
    import yaml

    require_file(path, f"There is no task file {path}: check the path.")
    try:
        with reading(path):
            entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"{path} is not YAML ({' '.join(str(error).split())[:160]}): mend it.") from None
    check_strings(entries, str(path))
    if not isinstance(entries, dict) or any(name not in entries for name in REQUIRED):
        raise RequestError(f"{path} is not a task: it needs {', '.join(REQUIRED)}.")
    data = entries["data"]
    if not isinstance(data, dict) or not {"file", "embedded"} & data.keys():
        raise RequestError(f"{path}: `data` must name a `file` below --source.")
    most = entries.get("most")
    if most is not None and (not isinstance(most, int) or most < 1):
        raise RequestError(f"{path}: `most` must be a number of rows.")
    shots = entries.get("shots", 0)
    if not isinstance(shots, int) or isinstance(shots, bool) or shots < 0:
        raise RequestError(f"{path}: `shots` must be a number of examples, 0 or more.")
    options = {name: value for name, value in entries.items() if name not in (*REQUIRED, "hub", "most")}
    fields = {name: str(entries[name]) for name in ("summary", "metric", "prompt")}
    return Task(name=path.stem, data=data, hub=entries.get("hub"), most=most, options=options, **fields)


def _of_table(path: Path, columns: dict[str, str]) -> Task:
    text, label = columns.get("text", "text"), columns.get("label", "label")
    rows = read_rows(path)
    for name in (text, label):
        if name not in rows[0]:
            raise RequestError(f"{path} has no column {name!r} (it has {', '.join(rows[0])}): name it by --columns.")
    task = Task(path.name.split(".")[0], f"The labels of {path.name}", "choice", {"file": str(path)}, "")
    if "choices" in columns:
        prompt, options = f"{{{text}}}\nAnswer:", {"label": label, "choices": columns["choices"]}
        return replace(task, prompt=prompt, options=options)
    labels = sorted({task.label(row, label) for row in rows})
    if not 2 <= len(labels) <= MOST_LABELS:
        raise RequestError(f"{path} has {len(labels)} different labels in {label!r}: 2 to {MOST_LABELS} can be scored.")
    options = {"label": label, "choices": {name: f" {name}" for name in labels}}
    return replace(task, metric="classification", prompt=f"{{{text}}}\nLabel:", options=options)
