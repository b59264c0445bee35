"""Hub ids, against a fake Hub on loopback that speaks the few requests the real client makes."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LOAD = """
import sys
from models import load
from models.errors import EspalierError
for model in sys.argv[1:]:
    try:
        print(load(model, "cpu").description.revision)
    except EspalierError as error:
        print(type(error).__name__, error)
"""


class FakeHub(BaseHTTPRequestHandler):
    """`team/good` is a model; `team/gated` asks for a log-in; `team/pickle` has no safetensors; nothing else exists."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.server.requests.append(f"{self.command} {self.path}")
        path = self.path.split("?")[0]
        if "team/gated" in path:
            return self.reply(403, b"{}", {"X-Error-Code": "GatedRepo"})
        if path.startswith("/api/models/team/pickle"):
            return self.reply(200, self.listing({"config.json": 10, "pytorch_model.bin": 10}))
        if "team/good" not in path:
            return self.reply(401, b"{}", {"X-Error-Code": "RepoNotFound"})
        files = {file.name: file.stat().st_size for file in self.server.folder.iterdir()}
        revision = path.split("/revision/")[1] if "/revision/" in path else "main"
        if revision not in ("main", COMMIT):
            return self.reply(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        if path.startswith("/api/models/team/good/tree"):
            entries = [{"type": "file", "path": n, "size": s, "oid": n} for n, s in files.items()]
            return self.reply(200, json.dumps(entries).encode())
        if path.startswith("/api/models/team/good"):
            return self.reply(200, self.listing(files))
        file = self.server.folder / path.rsplit("/", 1)[1]
        return self.reply(200, file.read_bytes(), {"ETag": f'"{file.name}"', "X-Repo-Commit": COMMIT})

    def listing(self, files):
        siblings = [{"rfilename": name, "size": size} for name, size in files.items()]
        return json.dumps({"id": "x", "sha": COMMIT, "siblings": siblings}).encode()

    def reply(self, status, body, headers=()):
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **dict(headers),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def hub(tiny_folder):
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    server.folder, server.requests = tiny_folder(), []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def load_in_new_process(endpoint, cache, *models):
    """One line for each model: the revision that was loaded, or the error."""
    environment = os.environ | {
        "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0", "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1",
        "OMP_NUM_THREADS": "1", "PYTHONPATH": ".",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *models], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.strip().splitlines()
    assert len(lines) == len(models)
    return lines


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("hub-cache")


def test_a_model_is_fetched_once_and_then_works_without_a_network(hub, cache):
    endpoint = f"http://127.0.0.1:{hub.server_port}"
    assert load_in_new_process(endpoint, cache, "team/good", f"team/good@{COMMIT}") == [COMMIT, COMMIT]
    gets = [request for request in hub.requests if request.startswith("GET") and "model.safetensors" in request]
    assert len(gets) == 1
    without_copy, with_copy = load_in_new_process("http://127.0.0.1:9", cache, "team/other", "team/good")
    assert without_copy.startswith("EspalierError Could not fetch team/other and no complete copy is cached")
    assert with_copy == COMMIT


def test_what_the_hub_refuses_is_explained_in_one_line(hub, tmp_path):
    refusals = {
        "team/gated": "RequestError team/gated is gated: accept its terms",
        "team/pickle": "RequestError team/pickle holds its weights only as pickle",
        "team/absent": "RequestError There is no folder team/absent here and no such model on the Hub",
        "team/good@v9": "RequestError team/good has no revision v9",
    }
    said = load_in_new_process(f"http://127.0.0.1:{hub.server_port}", tmp_path, *refusals)
    for line, words in zip(said, refusals.values(), strict=True):
        assert line.startswith(words)


FETCH = """
import sys
from models.catalogue.entry import Hub
from models.catalogue.repository import fetch_repository
from models.errors import EspalierError
for repo in sys.argv[1:]:
    seen = []
    try:
        folder = fetch_repository("named", Hub(repo, "main", 100_000), lambda fraction, message: seen.append(message))
        print((folder / "model.safetensors").is_file(), folder.name, seen[0])
    except EspalierError as error:
        print(type(error).__name__, error)
"""


def test_a_named_model_comes_from_the_hub_by_a_process_of_its_own(hub, tmp_path):
    environment = os.environ | {
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path),
        "HF_HUB_DISABLE_XET": "1", "PYTHONPATH": ".",
    }  # fmt: skip
    command = [sys.executable, "-c", FETCH, "team/good", "team/pickle", "team/absent"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    good, pickle, absent = done.stdout.splitlines()
    assert good == f"True {COMMIT} Asking the Hub for team/good"
    assert pickle.startswith("EspalierError named holds its weights only as pickle files")
    assert absent == "EspalierError The Hub does not answer"
