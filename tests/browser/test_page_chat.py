"""A conversation with a chat model and its twin, as a person has it, in a real browser, on a tiny random model."""

import re

import pytest

from tests.browser.sliders import set_slider

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (requirements-dev.txt)").expect

WAIT = 180_000  # milliseconds; the machine may be busy
SIDES = ("dense", "pruned")
SAME_HEIGHT = "new Set([...document.querySelectorAll('.pane')].map(e => e.offsetHeight).filter(Boolean)).size == 1"


@pytest.fixture(scope="module")
def address(serve_app, tiny_folder):
    folder = tiny_folder("llama", chat=True, hidden_size=64, max_position_embeddings=512)
    return serve_app("--model", folder, "--dtype", "float32")[0]


def pane(page, side: str, tab: str = "generate"):
    return page.locator(f"#{tab}-{side} .pane")


def prune(page):
    page.locator("#prune").click()
    expect(page.locator(".strip dl")).to_be_visible(timeout=WAIT)


def send(page, text: str, turns: int):
    page.locator("#prompt textarea").fill(text)
    page.locator("#prompt textarea").press("Control+Enter")
    finished(page, turns)


def finished(page, turns: int):
    for side in SIDES:
        expect(pane(page, side).locator(".said")).to_have_count(turns, timeout=WAIT)
        expect(pane(page, side).locator(".badge")).to_have_text(re.compile("finished|reached"), timeout=WAIT)
    expect(page.locator("#generate-run")).to_be_enabled(timeout=WAIT)


def replies(page, side: str) -> list[str]:
    return pane(page, side).locator(".reply").all_inner_texts()


def test_two_turns_again_clear_and_plain(visit, address):
    page = visit(address)
    expect(page.locator("#generate-asked")).to_contain_text("Asked in its chat template.")
    expect(page.get_by_label("Message")).to_have_value("What is the capital of France?")
    page.locator("#generate-run").click()  # before the settings were ever unfolded
    expect(pane(page, "dense").locator(".badge")).to_have_text(re.compile("finished|reached"), timeout=WAIT)
    page.get_by_role("button", name="Clear").click()
    prune(page)
    set_slider(page, "max-new-tokens", "16")
    set_slider(page, "temperature", "1")
    send(page, "Hello there", 1)
    expect(page.locator("#prompt textarea")).to_have_value("")
    send(page, "And then?", 2)
    page.wait_for_function(SAME_HEIGHT)
    first = {side: replies(page, side) for side in SIDES}
    assert first["dense"][0] != first["pruned"][0], "each side keeps its own answers"
    for side in SIDES:
        assert pane(page, side).locator(".said").all_inner_texts() == ["Hello there", "And then?"]

    page.get_by_role("button", name="Regenerate").click()
    for side in SIDES:
        expect(pane(page, side).locator(".reply").last).not_to_have_text(first[side][-1], timeout=WAIT)
    finished(page, 2)
    assert replies(page, "dense")[0] == first["dense"][0]

    page.get_by_label("Continue a text").check()
    expect(page.locator("#generate-asked")).to_contain_text("Continued as plain text.")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(re.compile("The town lies"))
    expect(page.get_by_role("button", name="Regenerate")).to_be_hidden()
    page.locator("#generate-run").click()
    expect(pane(page, "dense").locator(".prompt")).to_contain_text("The town lies", timeout=WAIT)
    expect(page.locator("#generate-run")).to_be_enabled(timeout=WAIT)

    page.get_by_label("Chat", exact=True).check()
    expect(pane(page, "dense").locator(".said")).to_have_count(2)
    page.get_by_role("button", name="Clear").click()
    expect(pane(page, "dense")).to_contain_text("The conversation will appear here.")
    expect(pane(page, "dense").locator(".said")).to_have_count(0)


@pytest.mark.slow
def test_a_conversation_that_is_too_long_loses_nothing_and_another_twin_begins_anew(visit, address):
    page = visit(address)
    prune(page)
    set_slider(page, "max-new-tokens", "16")
    send(page, "Hello there", 1)
    said = replies(page, "dense")
    long = "word " * 600
    page.locator("#prompt textarea").fill(long)
    page.locator("#generate-run").click()
    expect(page.locator("#parting .failure")).to_contain_text(re.compile(r"has \d+ tokens .* 512.*Clear"), timeout=WAIT)
    expect(page.locator("#prompt textarea")).to_have_value(long)
    assert replies(page, "dense") == said
    set_slider(page, "sparsity", 75)
    page.locator("#prune").click()
    expect(pane(page, "dense")).to_contain_text("the conversation begins anew", timeout=WAIT)


@pytest.mark.slow
def test_a_stopped_answer_stays_in_the_conversation(visit, serve_app, tiny_folder):
    folder = tiny_folder("llama", chat=True, hidden_size=256, num_hidden_layers=8, max_position_embeddings=2048)
    page = visit(serve_app("--model", folder, "--dtype", "float32")[0])
    set_slider(page, "max-new-tokens", "512")
    page.locator("#prompt textarea").fill("Hello there")
    page.locator("#generate-run").click()
    dense = pane(page, "dense")
    expect(dense.locator("footer b").first).to_have_text(re.compile(r"[1-9]\d*"), timeout=WAIT)
    page.keyboard.press("Escape")
    expect(dense.locator(".badge")).to_have_text("stopped", timeout=WAIT)
    expect(page.locator("#generate-run")).to_be_enabled(timeout=WAIT)
    partial = replies(page, "dense")
    set_slider(page, "max-new-tokens", "8")
    page.locator("#prompt textarea").fill("Go on")
    page.locator("#generate-run").click()
    expect(dense.locator(".reply")).to_have_count(2, timeout=WAIT)
    assert replies(page, "dense")[0] == partial[0]


def test_classify_calibrated_and_answer(visit, address):
    page = visit(address)
    page.locator("button[role=tab][data-tab-id=classify]").click()
    expect(page.locator("#classify-asked")).to_contain_text("Asked in its chat template.")
    expect(page.get_by_label("Calibrated")).to_be_checked()
    for calibrated in (True, False):
        if not calibrated:
            before = pane(page, "dense", "classify").locator(".bar b").all_inner_texts()
            page.get_by_label("Calibrated").uncheck()
        page.locator("#classify-run").click()
        bar = pane(page, "dense", "classify").locator(".bar").first
        expect(bar).to_have_attribute("title", re.compile("without content" if calibrated else r"nats$"), timeout=WAIT)
        expect(page.locator("#classify-run")).to_be_enabled(timeout=WAIT)
    assert pane(page, "dense", "classify").locator(".bar b").all_inner_texts() != before
    page.locator("button[role=tab][data-tab-id=answer]").click()
    page.locator("#answer-run").click()
    expect(page.locator("#same-answer .verdict")).to_contain_text(re.compile("answers?"), timeout=WAIT)


def test_another_model_brings_its_own_form_and_examples(visit, address, tiny_folder):
    page = visit(address)
    model = page.get_by_label("Model, folder or Hub id")
    model.fill(str(tiny_folder("gpt2")))
    model.press("Enter")
    expect(page.locator("#generate-asked")).to_contain_text("Continued as plain text.", timeout=WAIT)
    expect(page.locator("#mode")).to_be_hidden()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(re.compile("The town lies"))
    expect(page.get_by_role("button", name="A storm at sea")).to_be_visible()
    expect(page.get_by_role("button", name="Regenerate")).to_be_hidden()
