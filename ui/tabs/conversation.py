"""A conversation with the pair: the same questions, and each side's own answers, which are all that it remembers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from threading import Event

from models.description import context_length
from models.errors import RequestError
from models.sampling import SEEDS, Sampling
from models.text.chat import Messages
from ui.background.streaming import Picture
from ui.background.visitors import Visit
from ui.background.writing import Ask, Parting, Scene, write_pair
from ui.engine import Engine
from ui.forms import Asked, Form
from ui.pair import Side
from ui.texts import Words


@dataclass(frozen=True)
class Turn:
    """What the visitor said and what each side answered so far; `attempt` counts the answers that were put away."""

    said: str
    answers: Mapping[str, Picture] = field(default_factory=dict)
    parting: Parting | None = None
    attempt: int = 0

    def remembered(self, side: str) -> bool:
        """Whether a side has an answer that it can go on from: not where it failed or was stopped at once."""
        answer = self.answers.get(side)
        return answer is not None and not answer.error and (bool(answer.text) or answer.finished != "stopped")


@dataclass(frozen=True)
class Conversation:
    """The turns of a visitor with the models of a visit. With others it begins anew."""

    visit: Visit = Visit()
    turns: tuple[Turn, ...] = ()

    def of(self, visit: Visit) -> "Conversation":
        """This conversation if it is with these models, else an empty one with them."""
        return self if self.visit == visit else Conversation(visit)

    def asked(self, said: str) -> "Conversation":
        """With one more turn, unanswered."""
        return replace(self, turns=(*self.turns, Turn(said)))

    def again(self) -> "Conversation":
        """With the last turn unanswered once more."""
        last = self.turns[-1]
        return replace(self, turns=(*self.turns[:-1], Turn(last.said, attempt=last.attempt + 1)))

    def answered(self, scene: Scene) -> "Conversation":
        """With the last turn answered as a scene shows it."""
        answers = dict(zip(scene.names, scene.pictures, strict=False))
        return replace(self, turns=(*self.turns[:-1], replace(self.turns[-1], answers=answers, parting=scene.parting)))

    def messages(self, side: str, system: str = "") -> Messages:
        """What a side is given: its own history, and what was said last."""
        messages = [{"role": "system", "content": system.strip()}] if system.strip() else []
        for turn in self.turns[:-1]:
            if turn.remembered(side):
                messages += [
                    {"role": "user", "content": turn.said},
                    {"role": "assistant", "content": turn.answers[side].text},
                ]
        return [*messages, {"role": "user", "content": self.turns[-1].said}]

    def sampling(self, chosen: Sampling) -> Sampling:
        """How the last turn is answered: a new attempt draws other luck."""
        return replace(chosen, seed=(chosen.seed + self.turns[-1].attempt) % SEEDS)


def ask_turn(conversation: Conversation, system: str, words: Words) -> Ask:
    """The last turn of a conversation, behind each side's own history.

    RequestError for one that is longer than the context.
    """

    def ask(form: Form, side: Side) -> Asked:
        asked = form.conversation(conversation.messages(side.name, system))
        context = context_length(side.loaded.model.config.get_text_config())
        if (length := len(asked.prompt)) >= context:
            raise RequestError(words("chat_full", n=length, context=context))
        return asked

    return ask


def converse(
    engine: Engine, conversation: Conversation, system: str, sampling: Sampling, stop: Event, words: Words
) -> Iterator[tuple[Conversation, Scene] | None]:
    """Yields the conversation while its last turn is answered, with the scene that shows it; None as a heartbeat.

    RequestError for one that is longer than the context.
    """
    ask = ask_turn(conversation, system, words)
    for scene in write_pair(engine, conversation.visit, ask, conversation.sampling(sampling), stop, words):
        yield None if scene is None else (conversation.answered(scene), scene)
