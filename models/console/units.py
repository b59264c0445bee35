"""Quantities as people read them. Bytes are bytes, shown with IEC names; sparsity is a fraction of zeros."""


def format_bytes(count: float) -> str:
    """`9.8 KiB`, `11.2 MiB`, `2.30 GiB`: three significant digits or so."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024 or unit == "GiB":
            break
        count /= 1024
    digits = 0 if unit == "B" or abs(count) >= 100 else 1 if abs(count) >= 10 else 2
    return f"{count:.{digits}f} {unit}"


def format_count(count: float) -> str:
    """`950`, `5.77 K`, `17.3 M`, `1.24 B`: parameters and tokens."""
    for unit in ("", " K", " M", " B"):
        if abs(count) < 1000 or unit == " B":
            break
        count /= 1000
    if not unit:
        return f"{count:.0f}"
    return f"{count:.{2 if abs(count) < 10 else 1 if abs(count) < 100 else 0}f}{unit}"


def format_percent(fraction: float, digits: int = 1) -> str:
    """A fraction as `50.0 %`."""
    return f"{100 * fraction:.{digits}f} %"
