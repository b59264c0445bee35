"""A measured number: what it is, its unit, its spread, and the protocol it was taken under."""

from dataclasses import dataclass, field
from math import floor, log10

from models.console.units import format_bytes, format_count


@dataclass(frozen=True)
class Measurement:
    """One number with its spread.

    `interval` is the 95 % interval and `stderr` the standard error, both in the number's own unit; None where the
    number is an exact count or where the samples show no spread: one of them, or several that are all alike. `n` is how many samples it rests on, and `protocol`
    (JSON types) what another person needs to know to take the same number again.
    """

    metric: str
    value: float
    unit: str = ""
    interval: tuple[float, float] | None = None
    stderr: float | None = None
    n: int = 1
    protocol: dict = field(default_factory=dict)

    def __str__(self) -> str:
        """`12.34 ± 0.41`: the value and half the width of its 95 % interval, with the unit.

        A value at an end of its interval, as all right of twenty, has the two ends instead: `1.00 (0.84 to 1.00)`.
        """
        if self.interval is None:
            return format_value(self.value, self.unit)
        if not self.interval[0] < self.value < self.interval[1]:
            return self.with_interval()
        half = (self.interval[1] - self.interval[0]) / 2
        scale, unit = _scale(self.value, self.unit)
        digits = _digits(self.value * scale, half * scale)
        return f"{_fixed(self.value * scale, digits)} ± {_fixed(half * scale, digits)}{unit}"

    def with_interval(self) -> str:
        """`1.43 times (1.39 to 1.47)`: the value and the two ends of its 95 % interval, with the unit."""
        if self.interval is None:
            return format_value(self.value, self.unit)
        scale, unit = _scale(self.value, self.unit)
        low, high = self.interval
        digits = _digits(self.value * scale, (high - low) / 2 * scale)
        ends = f"{_fixed(low * scale, digits)} to {_fixed(high * scale, digits)}"
        return f"{_fixed(self.value * scale, digits)}{unit} ({ends})"

    def as_dict(self) -> dict:
        """The measurement as JSON types."""
        return {
            "metric": self.metric,
            "value": self.value,
            "unit": self.unit,
            "stderr": self.stderr,
            "interval": list(self.interval) if self.interval else None,
            "n": self.n,
            "protocol": self.protocol,
        }


def format_value(value: float, unit: str) -> str:
    """A number with its unit, as people read it: bytes as MiB, counts as M, seconds below one as ms."""
    if unit == "bytes":
        return format_bytes(value)
    if unit == "count":
        return format_count(value)
    scale, shown_unit = _scale(value, unit)
    return f"{_fixed(value * scale, _digits(value * scale))}{shown_unit}"


def _fixed(value: float, digits: int) -> str:
    """So many decimals, and no sign before a number that they show as nothing."""
    shown = f"{value:.{digits}f}"
    return shown.removeprefix("-") if not shown.strip("-0.") else shown


def _scale(value: float, unit: str) -> tuple[float, str]:
    """The factor to the unit that is shown, and that unit with its space."""
    if unit == "bytes":
        for power, name in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
            if abs(value) >= 1 << power:
                return 1 / (1 << power), f" {name}"
        return 1, " B"
    if unit == "s" and abs(value) < 1:
        return 1000, " ms"
    return 1, f" {unit}" if unit else ""


def _digits(value: float, half_width: float = 0.0) -> int:
    """Decimals (twelve at most) that show a spread to two digits, or without one the value to three or four."""
    if half_width > 0:
        return min(max(1 - floor(log10(half_width)), 0), 12)
    size = abs(value)
    return 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 1 or size == 0 else 4
