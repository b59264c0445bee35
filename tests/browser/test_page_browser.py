"""The page as a person uses it, in a real browser, on a tiny random model."""

import re

import pytest

from tests.browser.sliders import set_slider

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (requirements-dev.txt)").expect

LOOKS = [
    pytest.param(dict(width=1280), id="desktop-light"),
    pytest.param(dict(width=1280, dark=True), id="desktop-dark", marks=pytest.mark.slow),
    pytest.param(dict(width=390, height=844), id="phone-light", marks=pytest.mark.slow),
    pytest.param(dict(width=390, height=844, dark=True, language="zh-CN"), id="phone-dark-chinese"),
]
WAIT = 180_000  # milliseconds; the machine may be busy


def prune(page, percent: str = "50"):
    set_slider(page, "sparsity", percent)
    page.locator("#prune").click()
    expect(page.locator(".strip dl")).to_be_visible(timeout=WAIT)


def pane(page, tab: str, side: str):
    return page.locator(f"#{tab}-{side} .pane")


def open_tab(page, name: str):
    page.locator(f"button[role=tab][data-tab-id={name}]").click()


def tokens(page, side: str) -> int:
    return int(pane(page, "generate", side).locator("footer b").first.inner_text())


def assert_no_overflow(page):
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"


@pytest.mark.parametrize("look", LOOKS)
def test_prune_generate_classify_answer(visit, tiny_address, shoot, look, request):
    name = request.node.callspec.id
    page = visit(tiny_address, **look)
    expect(page.locator(".strip")).to_be_visible()
    assert_no_overflow(page)
    shoot(page, f"{name}-1-arrived")

    prune(page)
    strip = page.locator(".strip")
    expect(strip).to_contain_text(re.compile(r"wanda, 50 ?%"))
    for figure in ("−", "→", "MiB"):
        expect(strip).to_contain_text(figure)
    shoot(page, f"{name}-2-pruned")

    page.locator("#generate-run").click()
    for side in ("dense", "pruned"):
        shown = pane(page, "generate", side)
        expect(shown.locator("footer b").first).to_have_text("96", timeout=WAIT)
        expect(shown.locator(".text")).to_contain_text("The town lies")
        assert len(shown.locator(".text").inner_text()) > len(shown.locator(".prompt").inner_text())
    expect(page.locator("#parting .verdict")).not_to_be_empty(timeout=WAIT)
    expect(page.get_by_role("status").first).not_to_be_empty()
    assert_no_overflow(page)
    shoot(page, f"{name}-3-generated")

    open_tab(page, "classify")
    page.locator("#classify-run").click()
    for side in ("dense", "pruned"):
        expect(pane(page, "classify", side).locator(".bar")).to_have_count(2, timeout=WAIT)
    expect(page.locator("#agreement .verdict")).not_to_be_empty()
    assert_no_overflow(page)
    shoot(page, f"{name}-4-classified")

    open_tab(page, "answer")
    page.locator("#answer-run").click()
    expect(page.locator("#same-answer .verdict")).not_to_be_empty(timeout=WAIT)
    for side in ("dense", "pruned"):
        expect(pane(page, "answer", side).locator("footer")).to_contain_text(re.compile(r"\d"))
    assert_no_overflow(page)
    shoot(page, f"{name}-5-answered")


def test_on_a_phone_the_dense_pane_comes_first(visit, tiny_address):
    page = visit(tiny_address, width=390, height=844)
    dense, pruned = (pane(page, "generate", side).bounding_box() for side in ("dense", "pruned"))
    assert dense["y"] + dense["height"] <= pruned["y"] and dense["x"] == pruned["x"]


def test_the_two_columns_mirror_each_other(visit, tiny_address):
    page = visit(tiny_address)
    dense, pruned = (pane(page, "generate", side).bounding_box() for side in ("dense", "pruned"))
    assert dense["y"] == pruned["y"] and dense["height"] == pruned["height"]
    assert dense["width"] == pytest.approx(pruned["width"], abs=1) and dense["x"] < pruned["x"]


def test_stop_ends_both_sides(visit, tiny_address):
    page = visit(tiny_address)
    prune(page)
    set_slider(page, "max-new-tokens", 512)
    page.locator("#prompt textarea").focus()
    page.keyboard.press("Control+Enter")
    for side in ("dense", "pruned"):
        expect(pane(page, "generate", side).locator(".badge.live")).to_be_visible(timeout=WAIT)
        expect(pane(page, "generate", side).locator("footer b").first).to_have_text(
            re.compile(r"[1-9]\d*"), timeout=WAIT
        )
    page.keyboard.press("Escape")
    for side in ("dense", "pruned"):
        expect(pane(page, "generate", side).locator(".badge")).to_have_text("stopped", timeout=WAIT)
    counted = [tokens(page, side) for side in ("dense", "pruned")]
    assert all(0 < count < 512 for count in counted)
    expect(page.locator("#generate-run")).to_be_enabled()
    expect(page.locator("#generate-stop")).to_be_disabled()
    assert [tokens(page, side) for side in ("dense", "pruned")] == counted
    expect(page.get_by_role("status").first).to_contain_text("Stopped")


def test_closing_the_tab_frees_the_machine(visit, tiny_address):
    leaver = visit(tiny_address)
    set_slider(leaver, "max-new-tokens", 512)
    leaver.locator("#generate-run").click()
    expect(pane(leaver, "generate", "dense").locator(".badge.live")).to_be_visible(timeout=WAIT)
    leaver.close()
    page = visit(tiny_address)
    set_slider(page, "max-new-tokens", 8)
    page.locator("#generate-run").click()
    expect(pane(page, "generate", "dense").locator("footer b").first).to_have_text("8", timeout=WAIT)


def test_fair_race_gives_medians_and_a_ratio(visit, tiny_address, shoot):
    page = visit(tiny_address)
    prune(page)
    set_slider(page, "max-new-tokens", 16)
    page.locator("#generate-fair-race").click()
    expect(page.locator(".race table")).to_be_visible(timeout=WAIT)
    rows = page.locator(".race tbody tr")
    expect(rows.locator("th")).to_have_text(
        [re.compile(name) for name in ("Dense, as", "Dense, in the packed", "Pruned, packed$", "int8")]
    )
    expect(page.locator(".race .verdict").first).to_contain_text(re.compile(r"\d+\.\d+ times"))
    expect(page.locator(".race .verdict").nth(1)).to_contain_text(re.compile(r"kernels give \d+\.\d+ times"))
    expect(page.locator(".race h3")).to_contain_text("alone")
    shoot(page, "desktop-light-6-raced")


def test_wrong_input_is_one_line_and_loses_nothing(visit, tiny_address):
    page = visit(tiny_address)
    prune(page)
    page.locator("#prompt textarea").fill("")
    page.locator("#generate-run").click()
    toast = page.get_by_test_id("toast-body")
    expect(toast.first).to_contain_text("Write the beginning of a text first.")
    expect(page.locator("#generate-run")).to_be_enabled()
    page.locator("#prompt textarea").fill("word " * 2000)
    page.locator("#generate-run").click()
    expect(pane(page, "generate", "dense").locator(".failure")).to_contain_text("shorten it", timeout=WAIT)
    expect(page.locator("#prompt textarea")).to_have_value("word " * 2000)
    open_tab(page, "classify")
    page.locator("#labels textarea, #labels input").first.fill("only")
    page.locator("#classify-run").click()
    expect(toast.filter(has_text="at least two different labels")).to_be_visible()


def test_model_text_is_never_markup(visit, tiny_address):
    page = visit(tiny_address)
    page.locator("#prompt textarea").fill('<img src=x onerror="document.title=1"><b>bold</b>')
    page.locator("#generate-run").click()
    shown = pane(page, "generate", "dense")
    expect(shown.locator("footer b").first).to_have_text("96", timeout=WAIT)
    expect(shown.locator(".text .prompt")).to_have_text('<img src=x onerror="document.title=1"><b>bold</b>')
    assert shown.locator(".text img, .text b").count() == 0
    assert page.title() == "Espalier"


def test_choices_show_only_what_makes_sense(visit, tiny_address):
    page = visit(tiny_address)
    sparsity, pattern = page.locator("#sparsity"), page.locator("#pattern")
    page.get_by_label("Pattern").click()
    page.get_by_role("option", name="2:4", exact=True).click()
    expect(sparsity).to_be_hidden()
    expect(page.locator("#method-hint")).to_contain_text("keeps 2 of every 4")
    page.get_by_label("Solver").click()
    page.get_by_role("option", name="refit").click()
    expect(page.locator("#method-hint")).to_contain_text("refit: Least squares")
    page.get_by_label("Method").click()
    page.get_by_role("option", name="block-influence").click()
    expect(pattern).to_be_hidden()
    expect(sparsity).to_contain_text("Blocks removed")
    page.locator("#prune").click()
    expect(page.locator(".strip")).to_contain_text("of the blocks", timeout=WAIT)
    expect(page.locator(".strip")).to_contain_text("blocks are gone")


def test_an_example_fills_the_fields(visit, tiny_address):
    page = visit(tiny_address)
    open_tab(page, "answer")
    page.get_by_role("button", name="The river").click()
    expect(page.locator("#question textarea")).to_have_value(re.compile("Alder"))
    expect(page.locator("#context textarea")).to_have_value(re.compile("310 kilometres"))


def test_another_model_drops_the_twin_and_a_missing_one_changes_nothing(visit, tiny_address, tiny_folder):
    page = visit(tiny_address)
    prune(page)
    model = page.get_by_label("Model, folder or Hub id")
    before = model.input_value()
    model.fill("/no/such/folder")
    model.press("Enter")
    expect(page.get_by_test_id("toast-body").first).to_contain_text("There is no folder /no/such/folder", timeout=WAIT)
    expect(model).to_have_value(before)
    expect(page.locator(".strip dl")).to_be_visible()
    other = str(tiny_folder("gpt2"))
    model.fill(other)
    model.press("Enter")
    expect(page.locator(".strip")).to_contain_text("Nothing has been pruned yet.", timeout=WAIT)
    page.locator("#generate-run").click()
    expect(pane(page, "generate", "dense").locator("h3")).to_contain_text(other.split("/")[-2], timeout=WAIT)
    expect(pane(page, "generate", "pruned")).to_contain_text("No pruned model yet")


def test_the_page_reads_well_to_assistive_technology(visit, tiny_address):
    page = visit(tiny_address)
    tree = page.locator("main").aria_snapshot()
    for part in (
        'heading "Espalier" [level=1]',
        'region "What pruning changed"',
        'article "Dense"',
        'article "Pruned"',
        "- status",
    ):
        assert part in tree, part
    for name in ("Prompt", "Method", "Pattern"):
        expect(page.get_by_label(name).first).to_be_visible()
    assert page.locator(".pane [aria-live]").count() == 0
