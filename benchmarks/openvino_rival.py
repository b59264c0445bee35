"""A model in OpenVINO's int8, for `packed_decode.py --openvino PYTHON`: a process of its own that takes turns.

    PYTHON benchmarks/openvino_rival.py FOLDER --prompt 16 --tokens 24 --threads 2

PYTHON belongs to an environment with `optimum-intel`, `openvino` and `nncf`. Exports the folder's model with weights of
8 bits, as `load_in_8bit` does, tells their bytes in a line of JSON, and then writes for each line that it reads, and answers with
the rate. Nothing of Espalier is imported: that environment has versions of its own.
"""

import argparse
import json
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path


class Clock:
    """A streamer that takes down when each token came; the first call is for the prompt."""

    def __init__(self):
        self.times = []

    def put(self, _) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        pass


def main() -> None:
    """Loads, then serves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--prompt", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    import torch
    from optimum.intel import OVModelForCausalLM

    torch.set_num_threads(options.threads)
    settings = {"INFERENCE_NUM_THREADS": str(options.threads), "PERFORMANCE_HINT": "LATENCY"}
    model = OVModelForCausalLM.from_pretrained(options.folder, export=True, load_in_8bit=True, ov_config=settings)
    ids = torch.randint(0, 1000, (1, options.prompt))
    with tempfile.TemporaryDirectory() as room:
        model.save_pretrained(room)
        size = sum(file.stat().st_size for file in Path(room).rglob("*.bin"))
    versions = {name: version(name) for name in ("openvino", "optimum-intel", "nncf")}
    print(json.dumps({"bytes": size, "versions": versions}), flush=True)
    for _ in sys.stdin:
        clock = Clock()
        length = {"min_new_tokens": options.tokens, "max_new_tokens": options.tokens}
        model.generate(ids, do_sample=False, streamer=clock, pad_token_id=0, **length)
        begun, first, *_, last = clock.times
        print(json.dumps([(options.tokens - 1) / (last - first), first - begun]), flush=True)


if __name__ == "__main__":
    main()
