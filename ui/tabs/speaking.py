"""A conversation as it stands in the panes: each side's turns, the last one with its figures."""

from collections.abc import Mapping

from ui.background.streaming import Picture
from ui.parts.html import failure, live_line, marked, pane, turns
from ui.parts.panes import SIDES
from ui.tabs.conversation import Conversation, Turn
from ui.texts import Words


def chat_contents(talk: Conversation, about: Mapping[str, str], words: Words) -> dict[str, str]:
    """The panes by side, as HTML; a side whose last answer has not begun waits for the machine."""
    names = SIDES if talk.visit.twin else SIDES[:1]
    shown = {}
    for at, name in enumerate(names):
        said = [(turn.said, _reply(turn, name, at if turn is talk.turns[-1] else None)) for turn in talk.turns]
        foot = live_line(talk.turns[-1].answers.get(name), words, shared=len(names) > 1)
        shown[name] = pane(name, words, turns(said), foot, about.get(name, ""))
    return shown


def same_again(turn: Turn, earlier: Mapping[str, Picture]) -> bool:
    """Whether a turn is answered as it was answered earlier."""
    return {side: answer.text for side, answer in turn.answers.items()} == {
        side: answer.text for side, answer in earlier.items()
    }


def _reply(turn: Turn, side: str, place: int | None) -> str:
    """One answer as HTML; of the turn in which the sides are compared, where it parts from the other's is marked."""
    if (answer := turn.answers.get(side)) is None:
        return ""
    spans = turn.parting.spans if turn.parting is not None and place is not None else None
    return marked(answer.text, spans[place] if spans else None) + (failure(answer.error) if answer.error else "")
