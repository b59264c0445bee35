"""Plans, reports, inspections and the catalogue as compact text for a terminal."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from models.units import format_bytes, format_count, format_percent

if TYPE_CHECKING:
    from pruning.inspection import Inspection
    from pruning.plan import Plan
    from pruning.registry import Entry
    from pruning.report import Report


def plan_text(plan: "Plan") -> str:
    """What will go, one line per block."""
    return "\n".join([_settings(plan), "", *_plan_lines(plan)])


def report_text(report: "Report", out: str) -> str:
    """What went, what the model was and is, and what that saves."""
    before, after = report.before, report.after
    rows = [
        ("", "before", "after"),
        ("parameters", format_count(before.parameters), format_count(after.parameters)),
        ("not zero", format_count(before.nonzero), format_count(after.nonzero)),
        ("bytes", format_bytes(before.bytes), format_bytes(after.bytes)),
        ("zeros among prunable", format_percent(before.sparsity, 2), format_percent(after.sparsity, 2)),
    ]
    lines = [_settings(report.plan), "", *_table(rows), "", *_plan_lines(report.plan), "", report.note]
    lines += [f"Note: {warning}" for warning in report.warnings]
    return "\n".join([*lines, f"Saved to {out} in {report.seconds:.1f} s of pruning; loaded again and checked."])


def inspection_text(inspection: "Inspection") -> str:
    """What the files hold, one line per block, with the share of zeros of every role."""
    census = inspection.census
    lines = [
        f"{inspection.model}: {inspection.family}, {inspection.blocks} blocks, "
        f"{format_count(census.parameters)} parameters, {format_count(census.nonzero)} not zero, "
        f"{format_bytes(census.bytes)}",
        f"{format_percent(census.sparsity, 2)} of the {format_count(census.prunable)} prunable weights are zero",
        "",
    ]
    header = ("block", *dict.fromkeys(found.role for found in inspection.projections), "pattern")
    rows = [header]
    for block, group in groupby(inspection.projections, key=lambda found: found.block):
        found = list(group)
        shares = {entry.role: format_percent(entry.sparsity, 2) for entry in found}
        patterns = {entry.pattern for entry in found}
        pattern = patterns.pop() if len(patterns) == 1 else None
        rows.append((str(block), *(shares.get(role, "") for role in header[1:-1]), pattern or "-"))
    lines += _table(rows)
    if inspection.removed_blocks:
        lines += ["", f"Blocks removed from the dense model: {_indices(inspection.removed_blocks)}"]
    if inspection.record is not None:
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


def _settings(plan: "Plan") -> str:
    pattern = "" if plan.blocks else f", {plan.pattern}"
    return f"{plan.method}, structure {plan.structure}{pattern}, sparsity {format_percent(plan.sparsity)}"


def _plan_lines(plan: "Plan") -> list[str]:
    if plan.blocks:
        sizes = f"{format_bytes(plan.blocks.bytes_before)} -> {format_bytes(plan.blocks.bytes_after)}"
        influence = [f"  block {index:>3}  {score:.4f}" for index, score in enumerate(plan.blocks.scores)]
        removed = _indices(plan.blocks.removed) or "none"
        return [f"blocks removed: {removed} (of {plan.blocks.count}; blocks {sizes})", *influence]
    rows = [("block", "weights", "go", "share", "rules")]
    for block, group in groupby(plan.projections, key=lambda entry: entry.block):
        entries = list(group)
        weights = sum(entry.rows * entry.columns for entry in entries)
        dropped = sum(entry.dropped for entry in entries)
        share = format_percent(dropped / weights, 2)
        rules = "; ".join(dict.fromkeys(entry.rule for entry in entries))
        rows.append((str(block), format_count(weights), format_count(dropped), share, rules))
    return _table(rows)


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _indices(indices: Iterable[int]) -> str:
    return ", ".join(map(str, indices))
