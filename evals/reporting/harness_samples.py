"""Samples as the lines of lm-evaluation-harness's samples files (`SampleResult` of lm_eval/result_schema.py)."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from evals.rows.samples import Sample

FILTER = "none"
# The harness's name for a figure of ours; all others are called alike.
NAMES = {
    "accuracy": "acc", "accuracy_norm": "acc_norm", "accuracy_bytes": "acc_bytes", "accuracy_pmi": "acc_mutual_info",
    "brier": "brier_score",
}  # fmt: skip


def sample_row(sample: Sample, protocol: Mapping[str, Any]) -> dict:
    """One line, of the task with that protocol. Log-likelihoods are strings there, as the harness writes them."""
    doc, target = _json_types(sample.doc), _text(sample.target)
    responses = _responses(sample.answer)
    values = {renamed(name): found[0] if len(found) == 1 else found for name, found in sample.statistics.items()}
    asked = _arguments(sample, protocol, len(responses))
    fixed = {
        "doc_id": sample.doc_id,
        "doc": doc,
        "target": target,
        "arguments": {f"gen_args_{at}": each for at, each in enumerate(asked)},
        "resps": [[response] for response in responses],
        "filtered_resps": responses,
        "filter": FILTER,
        "metrics": list(values),
        "doc_hash": _sha256(json.dumps(doc, indent=2, ensure_ascii=False)),
        "prompt_hash": _sha256(sample.prompt),
        "target_hash": _sha256(target),
    }
    return fixed | values


def task_hash(rows: Iterable[dict]) -> str:
    """SHA-256 over the hashes of all lines: two runs with one hash asked the same."""
    return _sha256("".join(row["doc_hash"] + row["prompt_hash"] + row["target_hash"] for row in rows))


def renamed(figure: str) -> str:
    """The harness's name of a figure; a comma would end it before its filter."""
    base, bracket, rest = figure.partition("[")
    return (NAMES.get(base, base) + bracket + rest).replace(",", ";")


def _responses(answer: Any) -> list[str | list[str]]:
    """One response a request: what was written, or [log-likelihood, whether greedy decoding writes it]."""
    if isinstance(answer, dict):
        answer = [answer]
    if not isinstance(answer, list):
        return [_text(answer)]
    return [_likelihood(choice) for choice in answer]


def _likelihood(choice: Any) -> str | list[str]:
    if isinstance(choice, dict) and "log_likelihood" in choice:
        return [str(choice["log_likelihood"]), str(bool(choice.get("greedy", False)))]
    if isinstance(choice, float):
        return [str(choice), "False"]
    return _text(choice)


def _arguments(sample: Sample, protocol: Mapping[str, Any], requests: int) -> list[dict[str, Any]]:
    """What each request asked: the prompt, and how it was to be written on or, where that is known, which text scored."""
    if not isinstance(sample.answer, dict | list):
        until, most = protocol.get("stop", []), protocol.get("max_new_tokens")
        return [{"arg_0": sample.prompt, "arg_1": {"until": until, "max_gen_toks": most, "do_sample": False}}]
    entries = sample.answer if isinstance(sample.answer, list) else [sample.answer]
    known = [[entry.get("choice") if isinstance(entry, dict) else None for entry in entries]]
    known += [each for each in (protocol.get("choices"), sample.doc.get("choices")) if isinstance(each, list)]
    known += [[_text(sample.target)]]  # a single continuation is the target
    scored = next((each for each in known if len(each) == requests and None not in each), [None] * requests)
    prompts = [entry.get("prompt", sample.prompt) if isinstance(entry, dict) else sample.prompt for entry in entries]
    return [
        {"arg_0": prompt} | ({} if choice is None else {"arg_1": choice})
        for prompt, choice in zip(prompts, scored, strict=True)
    ]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(_json_types(value), ensure_ascii=False)


def _json_types(value: Any) -> Any:
    """The value as JSON would read it back; what JSON does not know as text."""
    return json.loads(json.dumps(value, default=str, ensure_ascii=False))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
