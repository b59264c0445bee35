"""A text that both models continue, as it stands in the panes, and where the two texts part ways."""

from ui.background.writing import Scene
from ui.parts.html import live_line, pane, quoted, written
from ui.texts import Words


def contents(scene: Scene, about: dict[str, str], prompt: str, words: Words) -> dict[str, str]:
    """The panes of a scene by side, as HTML."""
    parting = scene.parting
    shown = {}
    for at, (name, picture) in enumerate(zip(scene.names, scene.pictures, strict=False)):
        mark = parting.spans[at] if parting and parting.spans else None
        foot = live_line(picture, words, shared=len(scene.names) > 1)
        shown[name] = pane(name, words, written(prompt, picture, mark), foot, about.get(name, ""))
    return shown


def parting_line(scene: Scene, words: Words) -> str:
    """Where the two texts part ways, in a sentence; empty when there is only one."""
    parting = scene.parting
    if parting is None or parting.same == 0 and parting.at is None:
        return ""
    if parting.spans is None:
        return words("part_never" if parting.whole else "part_prefix", n=parting.same)
    pieces = {}
    for name, picture, (start, end) in zip(scene.names, scene.pictures, parting.spans, strict=False):
        pieces[name] = quoted(picture.text[start:end]) if end > start else words("text_end")
    return words("part_at", at=parting.at, **pieces)


def finished_line(scene: Scene, words: Words) -> str:
    """What screen readers hear at the end."""
    if any(picture.finished == "stopped" for picture in scene.pictures):
        return words("stopped")
    counts = {name: picture.tokens for name, picture in zip(scene.names, scene.pictures, strict=False)}
    return words("generated" if len(counts) > 1 else "generated_dense", **counts)
