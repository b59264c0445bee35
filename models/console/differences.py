"""In which entries two records of the same kind differ, in words."""

LONGEST = 80  # characters of a value that are shown


def differences(before: dict, now: dict) -> str:
    """What differs between two nested records, entry by entry; empty if nothing does."""
    before, now = _flat(before), _flat(now)
    return ", ".join(
        f"{name} was {_shown(before.get(name))} and is {_shown(now.get(name))}"
        for name in before | now
        if before.get(name) != now.get(name)
    )


def _flat(record: dict, prefix: str = "") -> dict:
    flat = {}
    for name, value in record.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _shown(value: object) -> str:
    told = str(value)
    return told if len(told) <= LONGEST else f"{told[:LONGEST]}..."
