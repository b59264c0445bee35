"""Results and samples in the files of lm-evaluation-harness 0.4, so that its tools and leaderboards read them.

For each model `OUT/<model>/results_<date>.json` and, for each task, `OUT/<model>/samples_<task>_<date>.jsonl`, with the
keys of lm_eval/result_schema.py (`EvalResults`, `SampleResult`) and ours beside them: `speed`, `memory`, `paired`,
`pruning`, `environment`, `schema_version`. Figures have its names (`acc,none`); what we measure and it does not keeps
ours. `schema.json` describes both files.
"""

import hashlib
import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from evals.reporting.harness_samples import FILTER, renamed, sample_row, task_hash
from evals.rows.samples import Sample
from evals.runs.results import HARNESS_RESULTS, HARNESS_SAMPLE, Result, check
from models.storage.files import write_json, write_text

TASK_VERSION = 1.0
LONGEST = 160  # bytes of a name, to which come a date and what a file is called while it is written; disks take 255
ROOT = Path(__file__).parents[2]
LOWER_IS_BETTER = re.compile(
    r"(\w*perplexity|bits_per_byte|nll|brier|ece|seq_rep_\w+|repetition_rate|wer|flip_rate|kl\w*)(\[.*\])?"
)
OUTPUT_TYPES = {"classification": "multiple_choice", "choice": "multiple_choice", "grammar": "multiple_choice"}
OUTPUT_TYPES |= {"last_word": "loglikelihood", "partial": "multiple_choice", "perplexity": "loglikelihood_rolling"}
Samples = Mapping[tuple[str, str], Sequence[Sample]]  # by model and task


def export(out: Path | str, document: dict, samples: Samples) -> dict:
    """Writes the files of every model to the folder `out`.

    Returns the document with their names, relative to `out`: all under `harness`, and each task's samples at its
    results. Raises InvalidResults if anything does not follow the schema; nothing is written then.
    """
    out = Path(out)
    date = _date(document).replace(":", "-")
    results: dict[Path, dict] = {}
    rows: dict[Path, list[dict]] = {}
    places: dict[tuple[str, str], str] = {}
    for model, folder in _folders(document).items():
        hashes = {}
        for task in [task for known, task in samples if known == model]:
            place = folder / f"samples_{sanitized(task)}_{date}.jsonl"
            protocol = _protocol(document, task)
            rows[place] = [sample_row(sample, protocol) for sample in samples[model, task]]
            hashes[task] = task_hash(rows[place])
            places[model, task] = place.as_posix()
        results[folder / f"results_{date}.json"] = harness_results(document, model, hashes)
    for place, content in results.items():
        check(content, HARNESS_RESULTS, str(out / place))
    for place, lines in rows.items():
        for number, line in enumerate(lines, 1):
            check(line, HARNESS_SAMPLE, f"{out / place}, line {number}")
    try:
        for place, lines in rows.items():
            write_text(out / place, "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines))
        for place, content in results.items():
            write_json(out / place, content)
    except BaseException:
        for place in (*rows, *results):  # all or none: another attempt gives them another date
            (out / place).unlink(missing_ok=True)
        raise
    entries = [entry | _samples_of(entry, places) for entry in document["results"]]
    return document | {"results": entries, "harness": [path.as_posix() for path in (*results, *rows)]}


def harness_results(document: dict, model: str, task_hashes: Mapping[str, str]) -> dict:
    """The results file of one model; `task_hashes` say by task which samples it answered."""
    of_model = [Result.from_dict(entry) for entry in document["results"] if entry["model"] == model]
    measured = [result for result in of_model if result.baseline is None]
    by_task: dict[str, list[Result]] = {}
    for result in measured:
        if (task := _task(result)) is not None:
            by_task.setdefault(task, []).append(result)
    record = next(entry for entry in document["models"] if entry["id"] == model)
    known = {
        "results": {task: _metrics(task, members) for task, members in by_task.items()},
        "group_subtasks": {},  # there are no groups
        "configs": {task: _task_config(task, members) for task, members in sorted(by_task.items())},
        "versions": dict.fromkeys(sorted(by_task), TASK_VERSION),
        "n-shot": {task: int(by_task[task][0].measurement.protocol.get("shots", 0)) for task in sorted(by_task)},
        "higher_is_better": {
            task: {_name(result): higher_is_better(result) for result in members}
            for task, members in sorted(by_task.items())
        },
        "n-samples": {task: _counts(members) for task, members in by_task.items()},
        "config": _config(document, record),
        "git_hash": _git_hash(),
        "date": _moment(document).timestamp(),
        "pretty_env_info": _told(document["environment"]),
        "transformers_version": document["environment"]["libraries"].get("transformers", "N/A"),
        "upper_git_hash": None,
        "task_hashes": dict(task_hashes),
        "model_source": "hf",
        "model_name": model,
        "model_name_sanitized": sanitized(model),
        "system_instruction": None,
        "system_instruction_sha": None,
        "fewshot_as_multiturn": None,
        "chat_template": None,
        "chat_template_sha": None,
        "total_evaluation_time_seconds": None if "seconds" not in document else str(document["seconds"]),
    }
    apart = {group: [entry.as_dict() for entry in of_model if entry.group == group] for group in ("speed", "memory")}
    other = [result for result in measured if _task(result) is None and result.group not in apart]
    return (
        known
        | apart
        | {
            "paired": [
                result.as_dict() for result in of_model if result.baseline is not None and result.group not in apart
            ],
            "further": [result.as_dict() for result in other],
            "pruning": record.get("pruning"),
            "environment": document["environment"],
            "schema_version": document["schema_version"],
        }
    )


def sanitized(model: str) -> str:
    """The model's name as the harness names its folder; of a long one the end, after a digest of the whole."""
    name = re.sub(r"[\"<>:/|\\?*\[\]]+", "__", model)
    if len(name.encode("utf-8", "surrogatepass")) > LONGEST:
        end = name[-LONGEST // 4 :]  # a character takes up to 4 bytes
        name = f"{hashlib.sha256(model.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}__{end}"
    return name if name.strip(".") else "__"  # `.` and `..` are other folders


def higher_is_better(result: Result) -> bool:
    """Whether a higher value of the figure is the better one."""
    return LOWER_IS_BETTER.fullmatch(result.measurement.metric) is None


def _folders(document: dict) -> dict[str, Path]:
    """A folder for each model, of a name that no other has."""
    folders: dict[str, Path] = {}
    for model in document["models"]:
        name, number = sanitized(model["id"]), 2
        while Path(name) in folders.values():
            name, number = f"{sanitized(model['id'])}__{number}", number + 1
        folders[model["id"]] = Path(name)
    return folders


def _protocol(document: dict, task: str) -> dict:
    """How a task was measured."""
    return next((entry["protocol"] for entry in document["results"] if entry["protocol"].get("task") == task), {})


def _samples_of(entry: dict, places: Mapping[tuple[str, str], str]) -> dict:
    place = places.get((entry["model"], entry["protocol"].get("task")))
    return {} if place is None or entry["baseline"] is not None else {"samples": place}


def _task(result: Result) -> str | None:
    """The task; perplexity of a text is one too: the text under its protocol."""
    if result.task is not None or result.group != "perplexity":
        return result.task
    protocol = result.measurement.protocol
    return f"{protocol.get('text', 'text')}_{protocol.get('name', 'perplexity')}"


def _metrics(task: str, results: Sequence[Result]) -> dict:
    found: dict[str, Any] = {"name": task, "alias": task, "sample_len": max(result.measurement.n for result in results)}
    for result in results:
        stderr = result.measurement.stderr
        found[f"{_name(result)},{FILTER}"] = result.measurement.value
        found[f"{_name(result)}_stderr,{FILTER}"] = "N/A" if stderr is None else stderr
    return found


def _task_config(task: str, results: Sequence[Result]) -> dict:
    names = list(dict.fromkeys(map(_name, results)))
    better = {_name(result): higher_is_better(result) for result in results}
    return {
        "task": task,
        "output_type": OUTPUT_TYPES.get(results[0].group, "generate_until"),
        "num_fewshot": int(results[0].measurement.protocol.get("shots", 0)),
        "metric_list": [{"metric": name, "higher_is_better": better[name]} for name in names],
        "metadata": {"version": TASK_VERSION},
        "protocol": results[0].measurement.protocol,
    }


def _counts(results: Sequence[Result]) -> dict[str, int]:
    protocol = results[0].measurement.protocol
    used = max(int(protocol.get("rows", 0)), *(result.measurement.n for result in results))
    return {"original": int(protocol.get("rows_available", used)), "effective": used}


def _config(document: dict, record: dict) -> dict:
    settings, seed = document["settings"], int(document["settings"].get("seed", 0))
    arguments = {"pretrained": record["id"], "dtype": record.get("dtype", settings.get("dtype", "auto"))}
    return {
        "model": "hf",
        "model_args": arguments | ({"revision": record["revision"]} if record["revision"] else {}),
        "model_num_parameters": record["parameters"],
        "model_dtype": f"torch.{record['dtype']}" if "dtype" in record else "",
        "model_revision": record["revision"] or "",
        "model_sha": record["revision"] or "",
        "batch_size": "auto",
        "batch_sizes": [],
        "device": record.get("device", settings.get("device")),
        "use_cache": None,
        "limit": settings.get("limit"),
        "bootstrap_iters": 4000,
        "gen_kwargs": None,
        "random_seed": seed,
        "numpy_seed": seed,
        "torch_seed": seed,
        "fewshot_seed": seed,
    }


def _name(result: Result) -> str:
    return renamed(result.measurement.metric)


def _moment(document: dict) -> datetime:
    moment = datetime.fromisoformat(document["created"])
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _date(document: dict) -> str:
    """ISO 8601 in UTC without its offset, which the harness's tools do not expect in a file's name."""
    return _moment(document).astimezone(timezone.utc).replace(tzinfo=None).isoformat()


def _git_hash() -> str | None:
    """The commit of the project's own folder, None outside a checkout."""
    if not (ROOT / ".git").exists():
        return None
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None


def _told(environment: dict) -> str:
    libraries = [f"{name}: {version}" for name, version in environment["libraries"].items()]
    facts = [f"{key}: {value}" for key, value in environment.items() if key != "libraries" and value is not None]
    return "\n".join([*facts, *libraries])
