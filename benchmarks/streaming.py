"""What the page's streaming costs: the same greedy tokens through the page and through `model.generate` alone.

    python benchmarks/streaming.py [--model embedded] [--new-tokens 256] [--repeats 9]

Three contenders in turns, each round all three: `generate` (transformers' own loop, no page), `loop` (our step-by-step
loop, no page) and `page` (a real `python app.py` in a process of its own, asked through its queue by a client that
keeps its connection, as a browser does, and takes every update; its time is the client's, from the request to the last
update). The texts must be equal. Each run comes right after one of the same contender that does not count: a process
that has idled while the others ran begins with cold caches, which would be charged to the page alone. Stores
benchmarks/results/streaming/results.json, the page's cost being the ratio of its time to the others'.
"""

import argparse
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from evals import statistics
from evals.environment import environment
from models import Loaded, load
from models.decoding import Generation, end_tokens
from models.forward.plain_generation import plain_settings
from models.sampling import Sampling
from models.storage.files import write_json
from models.text.prompts import prompt_ids
from ui.parts.examples import PROMPTS

(PROMPT,) = next(iter(PROMPTS.values()))


@contextmanager
def served(model: str) -> Iterator[str]:
    """The address of a page on `model`, in a process of its own."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "app.py", "--model", model, "--port", str(port)]
    page = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        if "http" not in page.stdout.readline():
            raise SystemExit("the page did not start")
        yield f"http://127.0.0.1:{port}"
    finally:
        page.terminate()
        page.wait()


def by_generate(loaded: Loaded, new_tokens: int) -> str:
    """The text by `model.generate`."""
    prompt = torch.tensor([prompt_ids(loaded.tokenizer, PROMPT)], device=loaded.model.device)
    asked = {"max_new_tokens": new_tokens, "eos_token_id": sorted(end_tokens(loaded.model, loaded.tokenizer))}
    with plain_settings(loaded.model, **asked) as settings:
        ids = loaded.model.generate(prompt, attention_mask=torch.ones_like(prompt), generation_config=settings)
    return loaded.tokenizer.decode(ids[0, prompt.shape[1] :], skip_special_tokens=True)


def by_loop(loaded: Loaded, new_tokens: int) -> str:
    """The text by our own loop, with nobody watching."""
    generation = Generation(loaded.model, loaded.tokenizer, PROMPT, Sampling(new_tokens)).run()
    generation.close()
    return generation.text


def by_page(client: httpx.Client, address: str, new_tokens: int) -> tuple[str, float, int]:
    """The text by the page, the seconds until its first update, and how many updates came."""
    began = time.perf_counter()
    asked = {"prompt": PROMPT, "max_new_tokens": new_tokens, "repetition_penalty": 1.0}
    call = f"{address}/gradio_api/call"
    event = client.post(f"{call}/v2/generate", json=asked).raise_for_status().json()["event_id"]
    updates, first = 0, 0.0
    with client.stream("GET", f"{call}/generate/{event}") as answer:
        for line in answer.iter_lines():
            if line.startswith(("data: {", "data: [")):
                updates += 1
                first = first or time.perf_counter() - began
                update = json.loads(line.removeprefix("data: "))
    return update[0]["dense"]["text"], first, updates


def timed(work: Callable):
    """What `work` returns, and its seconds, right after a run of it that does not count."""
    work()
    began = time.perf_counter()
    return work(), time.perf_counter() - began


def measure(model: str, new_tokens: int, repeats: int) -> dict:
    """Seconds of every run by contender, the first updates and the numbers of updates of the page's runs."""
    loaded = load(model)
    seconds: dict[str, list[float]] = {"generate": [], "loop": [], "page": []}
    firsts, updates = [], []
    with served(model) as address, httpx.Client(timeout=None) as client:
        for turn in range(-1, repeats):  # one round to warm up
            plain, plain_seconds = timed(lambda: by_generate(loaded, new_tokens))
            looped, looped_seconds = timed(lambda: by_loop(loaded, new_tokens))
            (shown, first, count), page_seconds = timed(lambda: by_page(client, address, new_tokens))
            if not plain == looped == shown:
                raise SystemExit(f"the texts differ:\n{plain!r}\n{looped!r}\n{shown!r}")
            if turn >= 0:
                for name, value in zip(seconds, (plain_seconds, looped_seconds, page_seconds), strict=False):
                    seconds[name].append(value)
                firsts.append(first)
                updates.append(count)
    return {"seconds": seconds, "first_update": firsts, "updates": updates, "text": plain}


def summary(values: list[float], unit: str) -> dict:
    """The median of some runs with its 95 % interval."""
    median = statistics.median(np.array(values))
    return {"median": median.value, "interval": median.interval, "runs": values, "unit": unit}


def main() -> None:
    """Measures, prints and stores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--new-tokens", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    runs = measure(options.model, options.new_tokens, options.repeats)
    results = {name: summary(values, "s") for name, values in runs["seconds"].items()}
    results["first_update"] = summary(runs["first_update"], "s")
    results["updates"] = summary(runs["updates"], "count")
    for baseline in ("generate", "loop"):
        ratio = statistics.ratio_of_medians(np.array(runs["seconds"]["page"]), np.array(runs["seconds"][baseline]))
        results[f"page_over_{baseline}"] = {"median": ratio.value, "interval": ratio.interval, "unit": "times"}
    for name in ("generate", "loop", "page"):
        print(f"{name:10} {results[name]['median']:6.3f} s for {options.new_tokens} tokens")
    for baseline in ("generate", "loop"):
        ratio = results[f"page_over_{baseline}"]
        low, high = (100 * (end - 1) for end in ratio["interval"] or (ratio["median"],) * 2)
        print(f"the page costs {100 * (ratio['median'] - 1):+.1f} % over {baseline} ({low:+.1f} to {high:+.1f} %)")
    document = {
        "schema_version": 1,
        "command": " ".join(sys.argv),
        "environment": environment(),
        "protocol": {
            "model": options.model,
            "prompt": PROMPT,
            "new_tokens": options.new_tokens,
            "repeats": options.repeats,
        },
        "results": results,
    }
    write_json(Path(__file__).parent / "results" / "streaming" / "results.json", document)


if __name__ == "__main__":
    main()
