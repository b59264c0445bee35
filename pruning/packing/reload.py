"""Loads a packed folder as any user would, and prints its logits after the tokens on stdin. Run in a process of its own."""

import json
import sys


def main() -> None:
    """`python -m pruning.packing.reload DIR`, with a JSON list of token ids on stdin."""
    from models import load
    from pruning.saved.saving import last_logits

    ids = json.loads(sys.stdin.read())
    print(json.dumps(last_logits(load(sys.argv[1], device="cpu").model, ids).tolist()))


if __name__ == "__main__":
    main()
