"""Conversations with the pair: each side goes on from its own answers, and nothing of one is lost."""

import threading

import pytest

from models.decoding import Generation
from models.errors import RequestError
from models.sampling import Sampling
from ui.background.streaming import Picture
from ui.background.visitors import Visit
from ui.engine import Settings
from ui.tabs.conversation import Conversation, Turn, converse
from ui.tabs.speaking import chat_contents, same_again
from ui.texts import Words

WORDS = Words()


def picture(text, finished="end", error=""):
    return Picture(text, 3, 0.1, 9.0, finished, error)


def answered(*turns):
    return Conversation(Visit("m", "t"), tuple(Turn(said, {"dense": a, "pruned": b}) for said, a, b in turns))


@pytest.fixture
def pair(fake_engine):
    engine = fake_engine(chat=True)
    twin = engine.worker.run(lambda: engine.prune("tiny", Settings("magnitude", 0.9), lambda *now: None))
    return engine, Conversation(Visit("tiny", twin.key))


def said(engine, talk, system="", stop=None, tokens=12, **sampling):
    stop = stop or threading.Event()
    news = [item for item in converse(engine, talk, system, Sampling(tokens, **sampling), stop, WORDS) if item]
    assert news[-1][1].over
    return news[-1][0]


def test_each_side_goes_on_from_its_own_answers(pair):
    engine, talk = pair
    talk = said(engine, talk.asked("Hello"))
    first = talk.turns[0].answers
    assert first["dense"].text != first["pruned"].text
    talk = said(engine, talk.asked("And then?"), system="Be brief.")
    for side, loaded in (("dense", engine.loaded), ("pruned", engine.twins()[0].loaded)):
        messages = [
            {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": first[side].text}, {"role": "user", "content": "And then?"},
        ]  # fmt: skip
        text = loaded.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        ids = loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
        alone = Generation(loaded.model, loaded.tokenizer, ids, Sampling(12)).run()
        assert talk.turns[1].answers[side].text == alone.text


def test_an_answer_again_takes_the_place_of_the_last_one_and_draws_other_luck(pair):
    engine, talk = pair
    talk = said(engine, said(engine, talk.asked("Hello")).asked("Why?"), temperature=1.5, seed=7)
    again = said(engine, talk.again(), temperature=1.5, seed=7)
    assert [turn.said for turn in again.turns] == ["Hello", "Why?"] and again.turns[0] == talk.turns[0]
    assert again.turns[1].answers["dense"].text != talk.turns[1].answers["dense"].text
    assert said(engine, talk.again(), temperature=1.5, seed=7).turns[1].answers["dense"].text == (
        again.turns[1].answers["dense"].text
    )
    greedy = said(engine, talk.again())
    assert same_again(said(engine, greedy.again()).turns[-1], greedy.turns[-1].answers)


def test_a_stopped_answer_stays_as_a_turn(pair):
    engine, talk = pair
    stop = threading.Event()
    news = converse(engine, talk.asked("Hello"), "", Sampling(60, ignore_end=True), stop, WORDS)
    for item in news:
        if item and item[0].turns[0].answers["dense"].tokens >= 1:
            stop.set()
            break
    partial = [item for item in news if item][-1][0]
    answer = partial.turns[0].answers["dense"]
    assert answer.finished == "stopped" and 0 < answer.tokens < 60
    assert partial.asked("Go on").messages("dense")[1] == {"role": "assistant", "content": answer.text}


def test_sides_that_failed_or_wrote_nothing_do_not_remember_the_turn():
    talk = answered(
        ("one", picture("yes"), picture("", "stopped")), ("two", picture("", "end"), picture("half", error="memory")),
    ).asked("three")  # fmt: skip
    assert [m["content"] for m in talk.messages("dense")] == ["one", "yes", "two", "", "three"]
    assert [m["content"] for m in talk.messages("pruned")] == ["three"]


def test_a_conversation_that_is_too_long_is_told_and_nothing_is_lost(pair):
    engine, talk = pair
    talk = said(engine, talk.asked("Hello"))
    before = talk.turns
    ids = engine.loaded.tokenizer.apply_chat_template(
        talk.asked("word " * 60).messages("dense"), add_generation_prompt=True, tokenize=True, return_dict=False
    )
    with pytest.raises(RequestError, match=f"has {len(ids)} tokens and the model reads at most 128.*Clear"):
        said(engine, talk.asked("word " * 60))
    assert talk.turns == before


def test_other_models_begin_anew():
    talk = answered(("one", picture("yes"), picture("no")))
    assert talk.of(Visit("m", "t")) is talk
    assert talk.of(Visit("m", "other")) == Conversation(Visit("m", "other"))


def test_the_panes_show_every_turn_and_the_figures_of_the_last():
    talk = answered(
        ("one", picture("yes"), picture("no")), ("two", picture("maybe"), picture("", error="out of memory"))
    )
    shown = chat_contents(talk, {"dense": "m"}, WORDS)
    assert shown["dense"].count('class="said"') == shown["pruned"].count('class="said"') == 2
    assert "yes" in shown["dense"] and "yes" not in shown["pruned"] and "out of memory" in shown["pruned"]
    assert "tok/s" in shown["dense"] and shown["dense"].count("<footer>") == 1
    assert WORDS("waiting") in chat_contents(talk.asked("three"), {}, WORDS)["dense"]
    assert set(chat_contents(Conversation(Visit("m")).asked("one"), {}, WORDS)) == {"dense"}
