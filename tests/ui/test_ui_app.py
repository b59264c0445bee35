"""`python app.py` as a command: help without the heavy libraries, one clear line for what is wrong."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from app import refuse_taken_port
from models.errors import RequestError
from ui.environment import address_of

ROOT = Path(__file__).parents[2]
HEAVY = "[name for name in ('torch', 'transformers', 'gradio') if name in sys.modules]"


@pytest.fixture
def free_port():
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_help_names_the_options_and_imports_nothing_heavy(run_cli):
    done = run_cli("app.py", "--help")
    assert done.returncode == 0
    for option in ("--model", "--pruned", "--host", "--port", "--device", "--dtype", "--share"):
        assert option in done.stdout
    code = f"import sys, app; app.build_parser(); print({HEAVY})"
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert listed.stdout.strip() == "[]", listed.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--model", "/no/such/folder"), "no folder /no/such/folder"),
        (("--port", "70000"), "no port 70000"),
        (("--host", "203.0.113.1"), "choose another"),
        (("--dtype", "int3"), "invalid choice"),
        (("--nonsense",), "unrecognized"),
        (("--port", "abc"), "invalid int value"),
        (("--pruned", " "), "Name a pruned model"),
    ],
)
def test_a_wrong_request_is_one_line_and_exit_code_2(run_cli, free_port, arguments, complaint):
    port = () if "--port" in arguments else ("--port", free_port)
    done = run_cli("app.py", *port, *arguments)
    assert done.returncode == 2
    assert complaint in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_a_taken_port_is_said_before_anything_is_loaded(run_cli):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run_cli("app.py", "--port", taken.getsockname()[1], "--model", "/no/such/folder")
    assert done.returncode == 2
    assert "--port" in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GRADIO_SERVER_PORT", "abc"),
        ("GRADIO_SERVER_PORT", "7860.5"),
        ("GRADIO_NUM_PORTS", "many"),
        ("GRADIO_NODE_NUM_PORTS", ""),
        ("GRADIO_ANALYTICS_MAX_EVENTS", "x"),
        ("GRADIO_DEFAULT_CONCURRENCY_LIMIT", "few"),
        ("GRADIO_HEARTBEAT_INTERVAL", "-1"),
    ],
)
def test_a_bad_variable_of_the_environment_is_named(name, value):
    with pytest.raises(RequestError, match=name):
        address_of({name: value})


def test_the_environment_names_the_address_and_options_go_before_it():
    assert address_of({}) == ("127.0.0.1", 7860)
    assert address_of({"GRADIO_SERVER_NAME": "", "GRADIO_DEFAULT_CONCURRENCY_LIMIT": "none"}).host == "127.0.0.1"
    assert address_of({"GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_SERVER_PORT": "80"}) == ("0.0.0.0", 80)


@pytest.mark.parametrize("arguments", [(), ("--port", "7861")], ids=["without", "with an option"])
def test_a_bad_variable_is_one_line_and_exit_code_2(run_cli, monkeypatch, arguments):
    monkeypatch.setenv("GRADIO_SERVER_PORT", "abc")
    done = run_cli("app.py", *arguments)
    assert done.returncode == 2
    assert "GRADIO_SERVER_PORT" in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("host", ["", " ", "a" * 100, "no such host"])
def test_a_host_that_cannot_be_is_refused(host):
    with pytest.raises(RequestError, match="--host"):
        refuse_taken_port(host, 7860)
