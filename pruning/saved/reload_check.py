"""Loads the model of the working folder as any user of transformers would, and prints what it is.

Run in a process of its own by `pruning.saved.saving`, as source text, so that nothing of Espalier is on its path. Reads
{"ids", "names"} from stdin; the last line on stdout is {"logits": of the last token, "zeros": per named weight}.
"""

import json
import sys

import torch
from transformers import AutoModelForCausalLM

request = json.load(sys.stdin)
model = AutoModelForCausalLM.from_pretrained(".", dtype="auto", local_files_only=True).eval()
with torch.no_grad():
    logits = model(input_ids=torch.tensor([request["ids"]]), use_cache=False).logits[0, -1].float()
weights = dict(model.named_parameters())
zeros = {name: int((weights[name] == 0).sum()) for name in request["names"] if name in weights}
print(json.dumps({"logits": logits.tolist(), "zeros": zeros}))
