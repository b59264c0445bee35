"""A model of --pruned comes to the open page by itself, and one that does not fit is a line on it."""

import pytest

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (requirements-dev.txt)").expect

WAIT = 300_000  # milliseconds; the machine may be busy


def test_a_pruned_model_comes_to_the_open_page(visit, serve_app, tiny_folder, shoot):
    folder, pruned = tiny_folder(), tiny_folder(num_hidden_layers=2)
    page = visit(serve_app("--model", folder, "--pruned", pruned, "--dtype", "float32")[0])
    strip = page.locator(".strip")
    expect(strip.locator("dl")).to_be_visible(timeout=WAIT)
    expect(strip).to_contain_text("pruned elsewhere")
    expect(page.locator("#notice")).to_be_hidden()
    page.locator("#generate-run").click()
    expect(page.locator("#generate-pruned footer b").first).not_to_be_empty(timeout=WAIT)


@pytest.mark.slow
def test_a_pruned_model_that_does_not_fit_is_said_on_the_page(visit, serve_app, tiny_folder, shoot):
    address, _ = serve_app("--model", tiny_folder(), "--pruned", "embedded", "--dtype", "float32")
    page = visit(address, width=390, height=844)
    expect(page.locator("#notice")).to_contain_text("embedded has another vocabulary", timeout=WAIT)
    expect(page.locator(".strip")).to_contain_text("Nothing has been pruned yet.")
    shoot(page, "beside-phone-failed")
