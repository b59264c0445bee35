"""The page's endpoints for programs: generate, classify, answer, prune, models. Plain values in, JSON out.

Their docstrings are what `/?view=api` shows. They stand in the same line for the machine as the visitors do. A pruned
model is named by the `key` that `prune` returns; an empty key is the newest pruned copy of the model, if there is one.
A request that is cancelled, or whose connection is closed, ends soon and leaves nothing behind.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import gradio as gr

from models.catalogue import Entry, entries
from models.catalogue.listing import facts
from models.console.stopping import give_way
from models.errors import RequestError
from training.formats import SENTIMENT_LABELS
from ui.background.callers import CallerGone
from ui.background.desk import ONE_AT_A_TIME
from ui.background.streaming import Picture
from ui.background.visitors import Visit
from ui.background.writing import Scene, continuing, write_pair
from ui.complaints import LIMIT, explain
from ui.engine import NO_SOLVER, PLAIN, UNSTRUCTURED, Engine, Settings, Twin
from ui.parts.sampling import NEW_TOKENS, REPETITION_PENALTY, sampling_of
from ui.tabs.answer import LONGEST, answer_sampling, asking, find_answer
from ui.tabs.classify import MOST_LABELS, Verdict, classify_pair, split_labels
from ui.tabs.conversation import Conversation, ask_turn
from ui.texts import Words
from ui.values import arguments

Json = dict[str, Any]


def add_endpoints(engine: Engine) -> None:
    """Registers the endpoints with the page that is being built."""

    def visit_of(model: str, key: str) -> Visit:
        if not model.strip() and key:  # the default model may be another one by now
            return Visit(engine.twin(key).model, key)
        name = model.strip() or engine.default_model
        if not key and (twin := engine.latest(name)) is not None:
            key = twin.key
        return Visit(name, key)

    def generate(
        prompt: str,
        max_new_tokens: int = NEW_TOKENS,
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int = 0,
        min_p: float = 0.0,
        repetition_penalty: float = REPETITION_PENALTY,
        seed: int = 0,
        model: str = "",
        key: str = "",
        chat: bool = False,
        system: str = "",
    ) -> Iterator[Json]:
        """Writes a prompt on with the dense model and its pruned copy; streams what both have so far.

        With `chat` the prompt is a message that both answer in the model's chat template, behind the system prompt
        `system` if that is not empty; without it the prompt is continued as plain text.
        Temperature 0 is greedy; top_p 1, top_k 0, min_p 0 and repetition_penalty 1 are off. Times are in seconds on
        each model's own clock. `finished` is null while a text is written, then end, length, context (full) or stopped;
        `notes` says in words what one must know. The last item has `over` true and `first_difference`, the number of
        the first token in which the two differ (from 1; null if they do not).
        """
        check_texts(prompt=prompt, **({"system": system} if system else {}))
        if system and not chat:
            raise RequestError("A system prompt belongs to a conversation: set chat, or omit system.")
        visit = visit_of(model, key)
        ask = ask_turn(Conversation(visit).asked(prompt), system, Words()) if chat else continuing(prompt)
        sampling = sampling_of(max_new_tokens, temperature, top_p, top_k, min_p, repetition_penalty, seed)
        for scene in write_pair(engine, visit, ask, sampling, CallerGone()):
            if scene is not None:
                yield sides_json(scene) | {
                    "over": scene.over,
                    "first_difference": scene.parting.at if scene.parting else None,
                }

    def classify(
        text: str,
        labels: str = ", ".join(SENTIMENT_LABELS),
        model: str = "",
        key: str = "",
        calibrated: bool = False,
    ) -> Json:
        """Scores comma-separated labels of a text under both models, by log-likelihood, in the model's own form.

        With `calibrated` a label's score is log p(label | text) - log p(label | a text without content), so that a word
        which the model says to anything gains nothing. For each model: `label`, the likeliest; `probabilities`, summing
        to 1; `log_likelihoods` in nats; `neutral_log_likelihoods`, those without content (empty unless calibrated);
        `form`, in which the model was asked (chat, instruction or plain); `dropped`, how many tokens of the text's
        beginning were left out because it is longer than what the model reads at once, and `notes`, which says so in
        words.
        """
        check_texts(text=text)
        names = split_labels(labels)
        if not 2 <= len(names) <= MOST_LABELS:
            raise RequestError(f"Give from two to {MOST_LABELS} different labels, separated by commas.")
        verdicts = last(classify_pair(engine, visit_of(model, key), text, names, CallerGone(), calibrated))
        sides = {verdict.side: verdict_json(verdict) for verdict in verdicts}
        return sides | {"agree": len({verdict.label for verdict in verdicts}) == 1 if len(verdicts) > 1 else None}

    def answer(context: str, question: str, max_new_tokens: int = LONGEST, model: str = "", key: str = "") -> Json:
        """Answers a question on a context with both models, greedily, in the model's own form.

        The answer ends with the assistant's turn or, where the model has no chat template, with the line.

        For each model: `text`, the answer; `span`, where it stands in the context ([start, end], null if it does not);
        `notes`, which says in words where an answer was cut.
        """
        check_texts(context=context, question=question)
        ask, sampling = asking(context, question), answer_sampling(max_new_tokens)
        scene = last(write_pair(engine, visit_of(model, key), ask, sampling, CallerGone()))
        sides = sides_json(scene)
        for side in sides.values():
            side["text"] = side["text"].strip()
            side["notes"] += [Words()("note_length")] if side["finished"] == "length" else []
            side["span"] = find_answer(side["text"], context)
        return sides

    def prune(
        method: str = "wanda",
        sparsity: float = 0.5,
        pattern: str = UNSTRUCTURED,
        model: str = "",
        solver: str = NO_SOLVER,
        layout: str = PLAIN,
    ) -> Json:
        """Makes a pruned copy of a model and says what changed, dense before pruned.

        `sparsity` is the fraction of zeros (for a method that removes whole blocks, the share of blocks); a pattern such
        as 2:4 fixes it. `solver` is what becomes of the weights that stay, `layout` how the copy lies in memory: plain,
        packed or packed int8. Use the returned `key` with the other endpoints. `change.warnings`, `change.note` and
        `change.slow_path` say what one must know to read the figures.
        """
        name = model.strip() or engine.default_model
        settings = Settings(method, sparsity, pattern, solver, layout)

        def work(publish: Callable[[Twin], None]) -> None:
            publish(engine.prune(name, settings, stop_here))

        return twin_json(last(engine.worker.follow(work, CallerGone())))

    def models() -> Json:
        """The models to choose from, the catalogue, the pruning methods, and the pruned copies that are in memory.

        `catalogue` says of each named model what it is and how large, and whether it is here.
        """
        return {
            "default": engine.default_model,
            "models": engine.choices(),
            "catalogue": [catalogued(entry) for entry in entries()],
            "methods": [asdict(method) for method in engine.methods()],
            "pruned": [twin_json(twin) for twin in engine.twins()],
        }

    for endpoint in (generate, classify, answer, prune):
        gr.api(explained(endpoint), api_name=endpoint.__name__, **ONE_AT_A_TIME)
    gr.api(explained(models), api_name="models", queue=False)


def stop_here(fraction: float, message: str) -> None:
    """A progress callback that shows nothing and ends the work once nobody waits for it."""
    give_way()


def sides_json(scene: Scene) -> Json:
    """A scene's sides as JSON types."""
    return {
        name: {
            "text": picture.text,
            "tokens": picture.tokens,
            "time_to_first_token": picture.first,
            "tokens_per_second": picture.rate,
            "finished": picture.finished,
            "error": picture.error or None,
            "notes": notes_of(picture),
        }
        for name, picture in zip(scene.names, scene.pictures, strict=False)
    }


def verdict_json(verdict: Verdict) -> Json:
    """A side's verdict as JSON types."""
    scores = verdict.scores
    return {
        "label": verdict.label,
        "probabilities": scores.probabilities,
        "log_likelihoods": scores.log_likelihoods,
        "neutral_log_likelihoods": scores.neutral,
        "form": verdict.form,
        "dropped": scores.dropped,
        "notes": verdict.notes(Words()),
    }


def notes_of(picture: Picture) -> list[str]:
    """What one must know to read a side's text and figures, in sentences."""
    words = Words()
    facts = {"note_context": picture.finished == "context", "rereads_help": picture.rereads}
    return [words(key) for key, true in facts.items() if true]


def twin_json(twin: Twin) -> Json:
    """A pruned copy as JSON types."""
    return {
        "key": twin.key,
        "model": twin.model,
        "settings": asdict(twin.settings) if twin.settings else None,
        "change": twin.change.as_dict(),
    }


def catalogued(entry: Entry) -> Json:
    """A named model as JSON types; which folder it lies in is of no concern to callers."""
    told = facts(entry)
    return told | {"here": told.pop("folder") is not None}


def check_texts(**fields: str) -> None:
    """RequestError for a field that is empty or too long."""
    for name, text in fields.items():
        if not text.strip():
            raise RequestError(f"The {name} is empty: write something.")
        if len(text) > LIMIT:
            raise RequestError(f"The {name} is {len(text)} characters long and {LIMIT} is the limit: shorten it.")


def last(items: Iterator[Any]) -> Any:
    """The last item that is not a heartbeat."""
    result = None
    for item in items:
        result = item if item is not None else result
    return result


def explained(endpoint: Callable) -> Callable:
    """The endpoint with its arguments checked, and every exception made one clear line for the caller.

    Its signature stays readable.
    """

    if inspect.isgeneratorfunction(endpoint):

        @functools.wraps(endpoint)
        def streamed(*values: Any, **named: Any) -> Iterator[Any]:
            try:
                yield from endpoint(**arguments(endpoint, values, named))
            except Exception as error:
                raise gr.Error(explain(error, Words()), print_exception=False) from error

        return streamed

    @functools.wraps(endpoint)
    def called(*values: Any, **named: Any) -> Any:
        try:
            return endpoint(**arguments(endpoint, values, named))
        except Exception as error:
            raise gr.Error(explain(error, Words()), print_exception=False) from error

    return called
