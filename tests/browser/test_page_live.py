"""The slider that prunes live: `python app.py` with the embedded model, in a real browser."""

import re

import pytest

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (requirements-dev.txt)").expect

WAIT = 240_000  # milliseconds; the machine may be busy


@pytest.fixture(scope="module")
def address(serve_app, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return serve_app("--model", "embedded", ESPALIER_CACHE=str(cache), ESPALIER_NO_FETCH="1")[0]


def move(page, *keys: str) -> None:
    for key in keys:
        page.locator("#sparsity input[type=range]").press(key)


def perplexity(page) -> float:
    fact = page.locator(".strip dl > div", has_text="Perplexity")
    expect(fact).to_contain_text(re.compile(r"times dense"), timeout=WAIT)
    return float(fact.locator("b.after").inner_text().replace(",", ""))


def test_moving_the_slider_prunes_and_the_strip_and_the_panes_follow(visit, address, shoot):
    page = visit(address, width=1280)
    strip = page.locator(".strip")
    move(page, "ArrowRight")
    expect(strip).to_contain_text(re.compile(r"55 ?%, unstructured, live preview"), timeout=WAIT)
    expect(strip).to_contain_text("masks from the dense model's statistics, no error propagation")
    mild = perplexity(page)
    shoot(page, "live-1-mild")

    move(page, *["ArrowRight"] * 5)  # faster than any preview is measured: the newest position wins
    expect(strip).to_contain_text(re.compile(r"80 ?%, unstructured, live preview"), timeout=WAIT)
    hard = perplexity(page)
    assert hard > 1.2 * mild
    expect(strip).to_contain_text(re.compile(r"80 ?%"))
    page.locator("#generate-run").click()
    pruned = page.locator("#generate-pruned .pane")
    expect(pruned.locator(".badge")).to_have_text(re.compile("reached the length|finished"), timeout=WAIT)
    expect(pruned).to_contain_text("live preview")
    shoot(page, "live-2-hard")

    move(page, *["ArrowLeft"] * 5)
    expect(strip).to_contain_text(re.compile(r"55 ?%, unstructured, live preview"), timeout=WAIT)
    assert perplexity(page) == mild

    page.locator("#prune").click()
    expect(strip).to_contain_text(re.compile("matrices take|neither memory nor time"), timeout=WAIT)
    expect(strip).not_to_contain_text("live preview")


@pytest.mark.slow
def test_with_the_switch_off_the_slider_waits_for_prune(visit, address):
    page = visit(address, width=1280)
    page.locator("#live input").uncheck()
    before = page.locator(".strip").inner_text()
    move(page, "ArrowRight")
    expect(page.locator("#sparsity input[type=number]")).to_have_value("55")
    assert page.locator(".strip").inner_text() == before
    page.locator("#live input").check()  # which shows what the slider says by now
    expect(page.locator(".strip")).to_contain_text(re.compile(r"55 ?%, unstructured, live preview"), timeout=WAIT)
