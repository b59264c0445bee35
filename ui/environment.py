"""The variables that Gradio reads from the environment, checked before it does: some of them at its import."""

from collections.abc import Mapping
from typing import NamedTuple

from models.errors import RequestError

PORT = 7860
HOST = "127.0.0.1"
WHOLE = (
    "GRADIO_SERVER_PORT", "GRADIO_NUM_PORTS", "GRADIO_NODE_SERVER_PORT", "GRADIO_NODE_NUM_PORTS", "GRADIO_NUM_WORKERS",
    "GRADIO_DEBUG", "GRADIO_ANALYTICS_MAX_EVENTS", "GRADIO_ANALYTICS_CACHE_FREQUENCY",
)  # fmt: skip


class Address(NamedTuple):
    """Where the page is served: a name or address of this machine, and a port."""

    host: str
    port: int


def address_of(environment: Mapping[str, str]) -> Address:
    """The address that the environment names, where it names one.

    RequestError, with the name of the variable, for a value that Gradio could not read.
    """
    for name in WHOLE:
        if (value := environment.get(name)) is not None and not value.strip().isdecimal():
            raise RequestError(f"{name} is {value!r}, where a whole number is needed: mend or unset it.")
    limit = environment.get("GRADIO_DEFAULT_CONCURRENCY_LIMIT")
    if limit is not None and limit.lower() != "none" and not limit.strip().isdecimal():
        raise RequestError(f"GRADIO_DEFAULT_CONCURRENCY_LIMIT is {limit!r}: give a whole number or none, or unset it.")
    _check_heartbeat(environment.get("GRADIO_HEARTBEAT_INTERVAL"))
    host = environment.get("GRADIO_SERVER_NAME", "").strip() or HOST
    return Address(host, int(environment.get("GRADIO_SERVER_PORT", PORT)))


def _check_heartbeat(value: str | None) -> None:
    try:
        positive = not value or float(value) > 0
    except ValueError:
        positive = False
    if not positive:
        raise RequestError(f"GRADIO_HEARTBEAT_INTERVAL is {value!r}: give seconds above 0, or unset it.")
