"""The page's entry: `python app.py` loads the model and serves the page. On a Space this is the app_file."""

import os
import signal
import socket
import sys

from models.console.command import Parser, add_debug, finish
from models.errors import EspalierError, RequestError, first_line
from ui.environment import HOST, PORT, address_of

SWITCH = 5e-5  # seconds; at Python's own 5 ms every update of the page held up the model that writes
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def build_parser() -> Parser:
    """The options; importing and reading them loads neither torch nor gradio."""
    parser = Parser(
        prog="app.py", description="Opens a page where a dense language model and its pruned twin stand side by side."
    )
    parser.add_argument(
        "--model",
        help="a name of `python -m models list`, a Hub id owner/name[@revision], a folder, or a .gguf file (default: "
        "smollm2, and embedded until that has been fetched in the background)",
    )
    parser.add_argument("--pruned", metavar="MODEL", help="a pruned model of --model to set beside it")
    parser.add_argument("--no-fetch", action="store_true", help="fetch no model (ESPALIER_NO_FETCH=1 does the same)")
    parser.add_argument("--host", help=f"address to serve on (default: GRADIO_SERVER_NAME, or {HOST})")
    parser.add_argument("--port", type=int, help=f"default: GRADIO_SERVER_PORT, or {PORT}")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16", "float16"), default="auto")
    parser.add_argument("--share", action="store_true", help="also open a public link through Gradio's servers")
    add_debug(parser)
    return parser


def serve(options) -> None:
    """Loads, builds and serves until interrupted."""
    usual = address_of(os.environ)
    host = usual.host if options.host is None else options.host
    port = usual.port if options.port is None else options.port
    refuse_taken_port(host, port)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if options.no_fetch:
        os.environ["ESPALIER_NO_FETCH"] = "1"
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what is being fetched is ended, too
    # After the environment is set, which gradio and huggingface_hub read when they are imported.
    from ui.page import build_page, look
    from ui.starting import start_engine

    # Any folder or Hub id may be named by the person at this machine, but not by the visitors of a public page.
    private = host in LOOPBACK and not options.share and "SPACE_ID" not in os.environ
    engine = start_engine(options, private, told=lambda line: print(line, flush=True))
    page = build_page(engine)
    # A forward pass lets go of the interpreter at every operator; a server's thread may then keep it for this long.
    sys.setswitchinterval(SWITCH)
    try:
        page.launch(
            server_name=host, server_port=port, share=options.share,
            prevent_thread_lock=True, quiet=True, show_error=True, max_file_size="1mb", ssr_mode=False, **look(),
        )  # fmt: skip
    except OSError as error:
        raise EspalierError(f"Could not serve on {host}:{port} ({error}): try another --port.") from error
    print(f"Espalier is at {page.share_url or page.local_url} (Ctrl+C ends it)", flush=True)
    try:
        engine.begin()
        page.server.thread.join()
    except KeyboardInterrupt:
        print("Closed.")
    finally:
        engine.close()
        page.close(verbose=False)


def refuse_taken_port(host: str, port: int) -> None:
    """RequestError if the port cannot be had: better before a model is loaded than after."""
    if not 0 < port < 65536:
        raise RequestError(f"There is no port {port}: choose one from 1024 to 65535.")
    if not host.strip():
        raise RequestError("The host is empty: omit --host, or give an address of this machine.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, UnicodeError) as error:  # a name that no machine can have is a UnicodeError
            reason = getattr(error, "strerror", None) or first_line(error)
            raise RequestError(
                f"Cannot serve on {host}:{port} ({reason}): choose another with --port or --host."
            ) from None


def main() -> int:
    """The command; returns its exit code."""
    options = build_parser().parse_args()
    return finish(lambda: serve(options), options.debug)


if __name__ == "__main__":
    sys.exit(main())
