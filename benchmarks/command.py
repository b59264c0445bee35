"""The command that a script was started with, as anybody would give it: results are published with it."""

import shlex
import sys

# Options whose value is a folder or a program of one machine, and the word that manuals have for it.
NAMES = {
    "--source": "DATA",
    "--corpus": "CORPUS",
    "--pretrained": "PRETRAINED",
    "--openvino": "PYTHON",
    "--work": "FOLDER",
    "--out": "OUT",
}


def command_line(words: list[str] | None = None) -> str:
    """The words of a command (this process's), with the names of `NAMES` in the place of folders."""
    words = list(sys.argv if words is None else words)
    for at, word in enumerate(words):
        option, equals, _ = word.partition("=")
        if equals and option in NAMES:
            words[at] = f"{option}={NAMES[option]}"
        elif at and words[at - 1] in NAMES:
            words[at] = NAMES[words[at - 1]]
    return shlex.join(words)
