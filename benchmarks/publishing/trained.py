"""What making a model costs and gives: building data, training speed, distillation, classification head to head."""

from benchmarks.publishing import stored
from benchmarks.publishing.text import spread, table, where
from models.console.units import format_bytes, format_percent

WAYS = {
    "dense": "teacher",
    "pruned": "student, before",
    "next token": "trained on next tokens",
    "distilled": "distilled",
}


def data_building() -> str:
    """Throughput and memory of the whole build, for a part of the file and for all of it."""
    document = stored.document("data_building")
    rows = [
        [
            format_percent(float(share), 0), f"{found['bytes'] / 1e6:.0f} MB", f"{found['seconds']:.0f} s",
            f"{found['bytes_per_second'] / 1e6:.2f} MB/s", format_bytes(found["peak_bytes"]),
        ]
        for share, found in document["results"].items()
    ]  # fmt: skip
    headers = ["share of the articles", "text", "time", "throughput", "most memory held"]
    about = f"{document['protocol']['workers']} workers, all test sets kept out."
    return f"{table(headers, rows)}\n\n{about} {where(document)}"


def training_speed() -> str:
    """Tokens a second, what they are of the machine's peak, and where the time goes."""
    document = stored.document("training_speed")
    results = document["results"]
    rows = [
        [way, spread(_rate(found, "tokens_per_second", "interval"), ".0f")] for way, found in results["speeds"].items()
    ]
    kinds = ", ".join(f"{kind} {format_percent(share, 0)}" for kind, share in results["shares"]["kinds"].items())
    optimizers = sum(results["shares"]["optimizers"].values())
    about = (
        f"{format_percent(results['fraction_of_peak'], 0)} of the bf16 matrix peak, "
        f"{results['peak']['flops_per_second'] / 1e9:.0f} GFLOP/s, at {results['flops_per_token'] / 1e6:.1f} MFLOP a token. "
        f"Time: {kinds}; of all this the optimizers {format_percent(optimizers, 0)}."
    )
    return f"{table(['step', 'tokens/s'], rows)}\n\n{about} {where(document)}"


def distillation() -> str:
    """A shallower student trained on next tokens, and under its teacher for the same time."""
    document = stored.document("distillation")
    results = document["results"]
    rows = []
    for name, title in WAYS.items():
        found = results[name]
        accuracy = {end: _percent(found["sst2_accuracy"][end]) for end in ("value", "interval")}
        rows.append([title, found.get("steps", ""), spread(found["perplexity"], ".1f"), f"{spread(accuracy, '.1f')} %"])
    apart = results["distilled over next token"]
    difference = {end: _percent(apart["sst2_accuracy_difference"][end]) for end in ("value", "interval")}
    about = (
        f"The student has {document['protocol']['student']['layers']} of the blocks. Distilled over trained on next tokens, "
        f"in the same time: perplexity {spread(apart['perplexity_ratio'], '.3f')} times, SST-2 "
        f"{spread(difference, '+.1f')} points."
    )
    headers = ["model", "steps", "perplexity, held-out Wikipedia", "SST-2 accuracy"]
    return f"{table(headers, rows)}\n\n{about} {where(document)}"


def trainer() -> str:
    """Fine-tuning by transformers' Trainer and by our loop, on the same windows."""
    document = stored.document("trainer")
    rows = []
    for name, found in document["results"].items():
        times = _rate(found, "speed_over_trainer", "speed_over_trainer_interval")
        seconds = sorted(found["seconds_per_step"])[len(found["seconds_per_step"]) // 2]
        rows.append([name, f"{seconds:.2f} s", spread(times, ".2f"), f"{found['loss']:.3f}"])
    about = f"{document['protocol']['steps']} steps, {document['protocol']['rounds']} rounds in turns."
    headers = ["loop", "a step", "times as fast as Trainer", "loss on held-out windows"]
    return f"{table(headers, rows)}\n\n{about} {where(document)}"


def classification_folds() -> str:
    """Accuracy of each classifier over the folds, and how far they are apart."""
    document = stored.document("classification_folds")
    results, protocol = document["results"], document["protocol"]
    rows = [
        [name, f"{spread({end: _percent(found[end]) for end in ('value', 'interval')}, form)} {unit}"]
        for group, form, unit in (("accuracy", ".1f", "%"), ("difference", "+.1f", "points"))
        for name, found in results[group].items()
    ]
    about = (
        f"{protocol['sentences']} UCI review sentences, {protocol['folds']} folds, {protocol['epochs']} passes; the "
        "language model had never seen a review before."
    )
    return f"{table(['classifier', 'accuracy, or paired difference'], rows)}\n\n{about} {where(document)}"


def _percent(value: float | list[float]) -> float | list[float]:
    return [100 * each for each in value] if isinstance(value, list) else 100 * value


def _rate(found: dict, value: str, interval: str) -> dict:
    return {"value": found[value], "interval": found[interval]}
