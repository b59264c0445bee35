"""Plans, reports, inspections and the catalogue as compact text for a terminal."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from models.console.progress import format_seconds
from models.console.units import format_bytes, format_count, format_percent

if TYPE_CHECKING:
    from pruning.anatomy.capability import Capability
    from pruning.anatomy.inspection import Found, Inspection
    from pruning.forecast import Forecast
    from pruning.plan import Plan
    from pruning.registry import Entry
    from pruning.report import Report


def plan_text(plan: "Plan", forecast: "Forecast") -> str:
    """What will go, one line per block, and what it will take."""
    parts = [
        f"model {format_bytes(forecast.model_bytes)}",
        f"statistics of one block {format_bytes(forecast.statistics_bytes)}",
        f"activations {format_bytes(forecast.activation_bytes)} ({forecast.activations})",
        *([f"recovery {format_bytes(forecast.recovery_bytes)}"] if forecast.recovery_bytes else []),
    ]
    lines = [
        f"Forecast: about {format_bytes(forecast.memory_bytes)} of memory ({', '.join(parts)}) and "
        f"{format_seconds(forecast.seconds)}, without loading and saving."
    ]
    return "\n".join([_settings(plan), "", *_plan_lines(plan), "", *lines])


def report_text(report: "Report", out: str) -> str:
    """What went, what the model was and is, and what that saves."""
    before, after = report.before, report.after
    rows = [
        ("", "before", "after"),
        ("parameters", format_count(before.parameters), format_count(after.parameters)),
        ("not zero", format_count(before.nonzero), format_count(after.nonzero)),
        ("bytes", format_bytes(before.bytes), format_bytes(after.bytes)),
        ("bytes if packed", "", format_bytes(after.packed_bytes)),
        ("zeros among prunable", format_percent(before.sparsity, 2), format_percent(after.sparsity, 2)),
    ]
    lines = [_settings(report.plan), "", *_table(rows), "", *_plan_lines(report.plan), "", report.note]
    if report.dense_perplexity is not None:
        lines.append(f"Before: perplexity {report.dense_perplexity:.4g} on the first calibration tokens.")
    lines += [_recovered(done) for done in report.recovery]
    lines += [f"Note: {warning}" for warning in report.warnings]
    return "\n".join([*lines, f"Saved to {out} in {report.seconds:.1f} s of pruning; loaded again and checked."])


def inspection_text(inspection: "Inspection") -> str:
    """What can be pruned, and what the files hold: one line per block, with the share of zeros of every role."""
    capability = inspection.capability
    lines = [
        f"{inspection.model}: {inspection.family} ({capability.architecture}), {inspection.blocks} blocks, "
        f"{format_count(capability.parameters)} parameters",
        "",
        *_capability_lines(capability),
        "",
        *(_census_lines(inspection) if inspection.census else [f"Zeros were not counted: {inspection.not_counted}"]),
    ]
    if inspection.removed_blocks:
        lines += ["", f"Blocks removed from the dense model: {_indices(inspection.removed_blocks)}"]
    if inspection.agrees is not None:
        dense = inspection.record["dense"]
        verdict = "agrees with" if inspection.agrees else "DOES NOT agree with"
        lines += ["", f"pruning.json (pruned from {dense['id']}, {dense['revision']}) {verdict} the files."]
    return "\n".join(lines)


def methods_text(entries: Iterable["Entry"]) -> str:
    """The catalogue, kind by kind."""
    lines = []
    for kind, group in groupby(entries, key=lambda entry: entry.kind):
        lines += [*([""] if lines else []), kind]
        lines += [f"  {entry.name:<16} {entry.summary}" for entry in group]
    return "\n".join(lines)


def _capability_lines(capability: "Capability") -> list[str]:
    rows = [("role", "count", "outputs x inputs", "parameters", "share", "stored")]
    for role in capability.roles:
        shapes = ", ".join(f"{rows}x{columns}" for rows, columns in role.shapes)
        share = format_percent(role.share)
        size = format_count(role.parameters)
        rows.append((role.role, str(role.count), shapes, size, share, ", ".join(role.storage)))
    kept = [f"{kind} {format_count(count)}" for kind, count in capability.never_pruned.items() if count]
    fitting = [name for name, fits in capability.patterns.items() if fits == capability.projections]
    partly = [f"{name} ({fits})" for name, fits in capability.patterns.items() if fits < capability.projections]
    lines = [
        f"Can be pruned: {format_count(capability.prunable)} parameters "
        f"({format_percent(capability.prunable / capability.parameters)}) in {capability.projections} projections",
        *_table(rows),
        f"Never pruned: {'; '.join(kept)}",
        f"Patterns that fit every projection: {', '.join(fitting)}",
    ]
    if partly:
        lines.append(f"Patterns that fit only so many of the {capability.projections}: {', '.join(partly)}")
    if capability.experts:
        lines.append(f"Experts: {capability.experts} a block, each with projections of its own")
    return lines


def _census_lines(inspection: "Inspection") -> list[str]:
    census = inspection.census
    roles = dict.fromkeys(found.role for found in inspection.projections)
    rows = [("block", *roles, "pattern")]
    for block, group in groupby(inspection.projections, key=lambda found: found.block):
        found = list(group)
        patterns = {entry.pattern for entry in found}
        pattern = patterns.pop() if len(patterns) == 1 else None
        zeros = [_zeros([entry for entry in found if entry.role == role]) for role in roles]
        rows.append((str(block), *zeros, pattern or "-"))
    return [
        f"{format_percent(census.sparsity, 2)} of the {format_count(census.prunable)} prunable weights are zero "
        f"({format_count(census.nonzero)} parameters are not, of {format_bytes(census.bytes)})",
        *_table(rows),
    ]


def _zeros(found: Sequence["Found"]) -> str:
    """The share of zeros of some projections, empty if there are none."""
    weights = sum(entry.rows * entry.columns for entry in found)
    return format_percent(sum(entry.zeros for entry in found) / weights, 2) if weights else ""


def _recovered(done: dict) -> str:
    """What a recovery did, from the report's record of it."""
    took = f"in {format_seconds(done['seconds'])}"
    if "parts" not in done:
        first, last = done["first"], done["last"]
        return f"{done['name']}: from {first:.4g} to {last:.4g} nats a token away from the dense model {took}."
    before, after = (sum(part[when] for part in done["parts"]) for when in ("before", "after"))
    return (
        f"{done['name']}: the relative errors of {len(done['parts'])} parts came from {before:.4g} to {after:.4g} in sum, "
        f"the last to {done['parts'][-1]['after']:.4g}, {took}."
    )


def _settings(plan: "Plan") -> str:
    pattern = "" if plan.blocks else f", {plan.pattern}"
    return f"{plan.method}, structure {plan.structure}{pattern}, sparsity {format_percent(plan.sparsity)}"


def _plan_lines(plan: "Plan") -> list[str]:
    if plan.blocks:
        sizes = f"{format_bytes(plan.blocks.bytes_before)} -> {format_bytes(plan.blocks.bytes_after)}"
        influence = [f"  block {index:>3}  {score:.4f}" for index, score in enumerate(plan.blocks.scores)]
        removed = _indices(plan.blocks.removed) or "none"
        return [f"blocks removed: {removed} (of {plan.blocks.count}; blocks {sizes})", *influence]
    rows = [("block", "weights", "go", "share", "bytes", "rules")]
    for block, group in groupby(plan.projections, key=lambda entry: entry.block):
        entries = list(group)
        weights = sum(entry.rows * entry.columns for entry in entries)
        dropped = sum(entry.dropped for entry in entries)
        share = format_percent(dropped / weights, 2)
        rules = "; ".join(dict.fromkeys(entry.rule for entry in entries))
        before = format_bytes(sum(entry.bytes_before for entry in entries))
        after = format_bytes(sum(entry.bytes_after for entry in entries))
        rows.append((str(block), format_count(weights), format_count(dropped), share, f"{before} -> {after}", rules))
    return _table(rows)


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _indices(indices: Iterable[int]) -> str:
    return ", ".join(map(str, indices))
