"""The two panes of a tab and its buttons, as components with the few things that happen to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import gradio as gr

from ui.background.visitors import Visit
from ui.parts.html import failure, pane, quiet
from ui.texts import Words, label

SIDES = ("dense", "pruned")


@dataclass(frozen=True)
class Panes:
    """Dense left, pruned right; on a narrow screen dense first."""

    dense: gr.HTML
    pruned: gr.HTML

    @property
    def components(self) -> list[gr.HTML]:
        """Both, as a list of outputs."""
        return [self.dense, self.pruned]

    def show(self, contents: Mapping[str, str], words: Words) -> dict:
        """Updates by side; a side without content says that there is no pruned model yet."""
        missing = pane("pruned", words, quiet(words("pane_no_twin")))
        return {self.dense: contents["dense"], self.pruned: contents.get("pruned", missing)}

    def empty(self, visit: Visit, words: Words, invitation: str) -> dict:
        """Both panes before anything was asked."""
        names = SIDES if visit.twin else SIDES[:1]
        return self.show({name: pane(name, words, quiet(invitation)) for name in names}, words)

    def fail(self, complaint: str, words: Words) -> dict:
        """A failure of the whole request: the dense pane says what, the pruned one is left blank."""
        return {self.dense: pane("dense", words, failure(complaint)), self.pruned: pane("pruned", words, "")}


@dataclass(frozen=True)
class Buttons:
    """Run and Stop, and what else must rest while the tab is at work."""

    run: gr.Button
    stop: gr.Button
    others: tuple[gr.Button, ...] = ()

    @property
    def components(self) -> list[gr.Button]:
        """All of them, as a list of outputs."""
        return [self.run, self.stop, *self.others]

    def running(self, yes: bool) -> dict:
        """While it runs only Stop can be pressed, else everything but Stop."""
        return {button: gr.update(interactive=yes == (button is self.stop)) for button in self.components}


def build_panes(tab: str) -> Panes:
    """Places the two panes in a row that stacks on a narrow screen."""
    with gr.Row(elem_classes="panes", equal_height=True):
        with gr.Column(min_width=300):
            dense = gr.HTML(elem_id=f"{tab}-dense", apply_default_css=False)
        with gr.Column(min_width=300):
            pruned = gr.HTML(elem_id=f"{tab}-pruned", apply_default_css=False)
    return Panes(dense, pruned)


def build_buttons(tab: str, run_label: str, *others: str, hidden: Sequence[str] = ()) -> Buttons:
    """Places Run, Stop and the others in a row, some of them hidden at first.

    Their classes are what the keyboard shortcuts look for.
    """
    with gr.Row(elem_classes="acts-row"):
        run = gr.Button(
            label(run_label), variant="primary", elem_id=f"{tab}-run", elem_classes="run", min_width=140, scale=2
        )
        stop = gr.Button(label("stop"), interactive=False, elem_id=f"{tab}-stop", elem_classes="stop", min_width=110)
        rest = tuple(
            gr.Button(label(name), visible=name not in hidden, elem_id=f"{tab}-{name.replace('_', '-')}", min_width=110)
            for name in others
        )
    return Buttons(run, stop, rest)
