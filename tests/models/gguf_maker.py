"""A tiny Llama as a GGUF file, written by the gguf package, and a package index on loopback that gives it in a wheel."""

import contextlib
import functools
import hashlib
import http.server
import json
import threading
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
WIDTH, HEADS, LAYERS, INNER = 64, 4, 2, 96


def write_gguf(path: Path, quantised: bool = True, architecture: str = "llama", seed: int = 0, end: int = 0) -> Path:
    """A Llama of two blocks with random weights and the embedded model's tokenizer; matrices in Q4_1 or F32.

    `end` is the token that ends a text, and fills up.
    """
    from gguf import GGMLQuantizationType, GGUFWriter
    from gguf.quants import quantize

    told = json.loads((ROOT / "models" / "embedded" / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = sorted(told["model"]["vocab"], key=told["model"]["vocab"].get)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in told["model"]["merges"]]
    writer = GGUFWriter(str(path), architecture)
    writer.add_name("tiny")
    writer.add_context_length(256)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(vocabulary))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(vocabulary)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(end)
    writer.add_pad_token_id(end)
    random = np.random.default_rng(seed)

    def matrix(name: str, rows: int, columns: int) -> None:
        values = (0.05 * random.standard_normal((rows, columns))).astype(np.float32)
        if quantised:
            kind = GGMLQuantizationType.Q4_1
            writer.add_tensor(name, quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, values)

    def ones(name: str) -> None:
        writer.add_tensor(name, np.ones(WIDTH, np.float32))

    matrix("token_embd.weight", len(vocabulary), WIDTH)
    ones("output_norm.weight")
    for block in range(LAYERS):
        ones(f"blk.{block}.attn_norm.weight")
        ones(f"blk.{block}.ffn_norm.weight")
        for name, rows, columns in (
            ("attn_q", WIDTH, WIDTH), ("attn_k", WIDTH // 2, WIDTH), ("attn_v", WIDTH // 2, WIDTH),
            ("attn_output", WIDTH, WIDTH), ("ffn_gate", INNER, WIDTH), ("ffn_up", INNER, WIDTH),
            ("ffn_down", WIDTH, INNER),
        ):  # fmt: skip
            matrix(f"blk.{block}.{name}.weight", rows, columns)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_wheel(folder: Path, gguf: Path, package: str = "tiny-llm", version: str = "0.1") -> Path:
    """A wheel that holds the file, and nothing that could run."""
    stem = f"{package.replace('-', '_')}-{version}"
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(gguf, f"tiny_llm/{gguf.name}")
        archive.writestr(f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        archive.writestr(
            f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{stem}.dist-info/RECORD", "")
    return wheel


@contextmanager
def package_index(wheel: Path, gate: threading.Event | None = None):
    """The address of a simple index on loopback that has this wheel alone; with it the list of paths asked for.

    Half of the wheel comes at once, the rest when `gate` is set.
    """
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            if self.path.endswith(".whl"):
                body, kind = wheel.read_bytes(), "application/octet-stream"
            elif self.path.rstrip("/").endswith("tiny-llm"):
                digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
                body = (
                    f'<html><body><a href="/files/{wheel.name}#sha256={digest}">{wheel.name}</a></body></html>'.encode()
                )
                kind = "text/html"
            else:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            half = len(body) // 2
            self.wfile.write(body[:half])
            self.wfile.flush()
            if gate is not None and self.path.endswith(".whl"):
                gate.wait()
            with contextlib.suppress(OSError):  # who asked may have given up
                self.wfile.write(body[half:])

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=functools.partial(server.serve_forever, poll_interval=0.05), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/simple", asked
    finally:
        if gate is not None:
            gate.set()
        server.shutdown()
        thread.join()
        server.server_close()
