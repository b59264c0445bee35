"""The page as it ships: `python app.py` with the embedded model, in a real browser, wide and narrow, light and dark."""

import re

import pytest

from tests.browser.sliders import set_slider

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (requirements-dev.txt)").expect

WAIT = 240_000  # milliseconds; the machine may be busy
LOOKS = [
    pytest.param(dict(width=1280), id="desktop-light"),
    pytest.param(dict(width=1280, dark=True), id="desktop-dark", marks=pytest.mark.slow),
    pytest.param(dict(width=390, height=844), id="phone-light", marks=pytest.mark.slow),
    pytest.param(dict(width=390, height=844, dark=True), id="phone-dark", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module")
def address(serve_app):
    return serve_app()[0]


def press(page, tab: str):
    page.locator(f"button[role=tab][data-tab-id={tab}]").click()
    page.locator(f"#{tab}-run").click()


def panes(page, tab: str):
    return [page.locator(f"#{tab}-{side} .pane") for side in ("dense", "pruned")]


@pytest.mark.parametrize("look", LOOKS)
def test_the_whole_idea_on_the_embedded_model(visit, address, shoot, look, request):
    name = f"embedded-{request.node.callspec.id}"
    page = visit(address, **look)
    expect(page.get_by_role("combobox").first).to_have_value(re.compile("^embedded"))
    page.locator("#prune").click()
    strip = page.locator(".strip")
    expect(strip.locator("dl")).to_be_visible(timeout=WAIT)
    expect(strip).to_contain_text(re.compile(r"embedded, wanda, 50 ?%, unstructured"))
    expect(strip).to_contain_text(re.compile(r"\d+\.\d+ times dense \(\d"))
    expect(strip).to_contain_text(re.compile(r"packed.*matrices take \d.* instead of"))

    press(page, "generate")
    for pane in panes(page, "generate"):
        expect(pane.locator(".badge")).to_have_text(re.compile("reached the length|finished"), timeout=WAIT)
        words = pane.locator(".text").inner_text().split()
        assert len(set(words)) > 20, "the model writes the same words over and over"
    expect(page.locator("#parting .verdict")).not_to_be_empty()
    shoot(page, f"{name}-1-generated")

    press(page, "classify")
    for pane in panes(page, "classify"):
        expect(pane.locator(".bar b").nth(1)).to_have_text(re.compile(r"\d+\.\d %"), timeout=WAIT)
    dense = panes(page, "classify")[0].locator(".bar b").nth(1).inner_text()
    assert float(dense.split()[0]) > 50, "the dense model finds a warm film negative"
    shoot(page, f"{name}-2-classified")

    press(page, "answer")
    for pane in panes(page, "answer"):
        expect(pane.locator(".badge")).to_have_text(re.compile("ended the answer|finished|reached"), timeout=WAIT)
    shoot(page, f"{name}-3-answered")

    page.locator("button[role=tab][data-tab-id=generate]").click()
    page.locator("#generate-fair-race").click()
    expect(page.locator(".race tbody tr")).to_have_count(4, timeout=WAIT)
    shoot(page, f"{name}-4-raced")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"


@pytest.mark.slow
def test_stop_on_the_embedded_model(visit, address):
    page = visit(address)
    set_slider(page, "max-new-tokens", 448)
    page.locator("#generate-run").click()
    dense = panes(page, "generate")[0]
    expect(dense.locator(".badge.live")).to_be_visible(timeout=WAIT)
    page.locator("#generate-stop").click()
    expect(dense.locator(".badge")).to_have_text("stopped", timeout=WAIT)
