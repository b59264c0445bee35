"""Messages of the lower floors without the command line's options, which mean nothing on the page and its API."""

import re

# What an option is about, where `the`, its name and spaces for dashes would not say it.
MEANINGS = {
    "activations": "activations on",
    "calibration": "calibration text",
    "columns": "names for its columns",
    "metrics": "measures",
    "no-fetch": "no refusal to fetch models",
    "offload": "offloading",
    "out": "a folder",
    "samples": "calibration samples",
    "sequence-length": "calibration length",
    "source": "a folder of data sets",
}
HERE = {"method", "model", "pattern", "solver", "sparsity"}  # what the page and its API let one choose
ELSEWHERE = "(What cannot be set here, Espalier's command line can set.)"
OPTION = re.compile(
    r"(?P<before>\b(?:fewer|more|other|another|a shorter|a smaller|a larger|the|this) )?"
    r"(?<![\w-])--(?P<name>[a-z][a-z-]*[a-z])"
)
OURS = re.compile(r"(?P<open>\()?`?python -m \w+(?: [^\s`():;,]+)*`?")
OTHERS = re.compile(r"\((?P<program>[\w-]+)(?: --[\w-]+)+\)")


def without_options(message: str) -> str:
    """The message with every `--option` called by what it is about, and our commands called the command line.

    Where an option has no counterpart here, a sentence at the end says where it has.
    """
    message = OTHERS.sub(
        r"(\g<program>)",
        OURS.sub(lambda found: "(by the command line" if found["open"] else "the command line", message),
    )
    named = [found["name"] for found in OPTION.finditer(message)]
    message = OPTION.sub(_called, message)
    return message if HERE.issuperset(named) else f"{message} {ELSEWHERE}"


def _called(found: re.Match) -> str:
    name, before = found["name"], found["before"] or ""
    if name in MEANINGS:
        return before + MEANINGS[name]
    plain = name.replace("-", " ")
    return f"{before}{plain}" if before else f"the {plain}"
