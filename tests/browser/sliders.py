"""A slider set by its number, as a person does it."""

from contextlib import suppress

import pytest

ATTEMPTS = 30


def set_slider(page, name: str, value: int | str) -> None:
    """Types the value until the page has it: one that is still being built forgets what is typed.

    The slider's other half follows the page's own state. The sampling settings are opened if the slider is among them.
    """
    from playwright.sync_api import expect

    number, follower = (page.locator(f"#{name} input[type={kind}]") for kind in ("number", "range"))
    if not number.is_visible():
        page.locator("#sampling button").first.click()
    for _ in range(ATTEMPTS):
        number.fill(str(value))
        number.press("Tab")
        with suppress(AssertionError):
            expect(follower).to_have_value(str(value), timeout=1000)
            return
    pytest.fail(f"the page does not take {value} for {name}")
