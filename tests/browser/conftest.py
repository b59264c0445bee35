"""Fixtures of the browser tests: the real `python app.py` in a process of its own, and a real Chromium."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[2]
SHOTS = Path(__file__).parent / "screenshots"
PATIENCE = 60_000  # milliseconds that an expectation waits for at least: the machine may be busy
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def chromium():
    """A running Chromium of the system."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (requirements-dev.txt)")
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium here: install it with `apt-get install chromium`")
    sync_api.expect.set_options(timeout=PATIENCE)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def serve_app():
    """Starts `python app.py ...` on a free port; returns (address, seconds from process start to HTTP 200)."""
    running = []

    def start(*arguments, program=("app.py",), **environment) -> tuple[str, float]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, *map(str, program), "--port", str(port), *map(str, arguments)],
            cwd=ROOT, env=os.environ | {"HF_HUB_OFFLINE": "1"} | environment, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        running.append(process)
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, f"app.py said {line!r} and {process.stdout.read()!r}"
        return found[0], time.monotonic() - began

    yield start
    for process in running:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="session")
def tiny_address(serve_app, tiny_folder):
    """The page on a random model that is small, but slow enough to be stopped in the middle of a text."""
    folder = tiny_folder("llama", hidden_size=256, num_hidden_layers=8, max_position_embeddings=1024)
    return serve_app("--model", folder, "--dtype", "float32")[0]


@pytest.fixture
def visit(chromium):
    """Opens the page: `visit(address, width=390, dark=True, language="zh-CN")`.

    After the test no request must have left this machine, and the console must hold no error.
    """
    contexts, strays, errors = [], [], []

    def note_request(request):
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname not in ("127.0.0.1", "localhost"):
            strays.append(request.url)

    def open_page(address: str, width: int = 1280, height: int = 900, dark: bool = False, language: str = "en-US"):
        context = chromium.new_context(viewport={"width": width, "height": height}, locale=language)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("request", note_request)
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{address}?__theme={'dark' if dark else 'light'}")
        page.get_by_role("article").first.wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert strays == [], "requests left this machine"
    assert errors == [], "the browser's console has errors"


@pytest.fixture
def shoot():
    """Keeps a screenshot of the whole page: `shoot(page, "desktop-light-generate")`."""

    def take(page, name: str) -> None:
        SHOTS.mkdir(exist_ok=True)
        page.screenshot(path=SHOTS / f"{name}.png", full_page=True)

    return take
