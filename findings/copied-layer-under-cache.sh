#!/usr/bin/env bash
# transformers 5.24.0: a GPT-2 in which a layer stands twice computes one thing as it is, and another
# with use_cache=False or after it was saved and loaded.
#
# Guess: layers can be copied, repeated and moved in model.transformer.h as in any list of modules,
# and a forward pass runs them in that order. Seen: each attention keeps the number that it was made
# with (layer_idx), and the key-value cache, on by default even for a single pass over a text, files
# its keys and values under that number: a copy finds those of its original there, and attends to
# both. Here the logits are off by a tenth of their size; no error, no warning. The same weights,
# saved and loaded, are numbered anew and right (models/gpt2/modeling_gpt2.py, cache_utils.py).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q torch==2.15.0 transformers==5.24.0 numpy==2.4.6
cd "$dir"
"$dir/venv/bin/python" - <<'PYTHON'
import copy
import warnings
import torch
from transformers import GPT2Config, GPT2LMHeadModel

torch.manual_seed(0)
model = GPT2LMHeadModel(GPT2Config(n_layer=3, n_head=2, n_embd=32, vocab_size=100)).eval()
for p in model.parameters():
    torch.nn.init.normal_(p, std=0.3)
ids = torch.tensor([[1, 2, 3, 4, 5]])
with torch.no_grad(), warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    model.transformer.h[2] = copy.deepcopy(model.transformer.h[1])
    usual = model(ids).logits
    uncached = model(ids, use_cache=False).logits
    model.save_pretrained("twice")
    loaded = GPT2LMHeadModel.from_pretrained("twice").eval()(ids).logits
off, size = (usual - uncached).abs().max().item(), uncached.abs().max().item()
print(f"as it is against use_cache=False: {off:.2f} of {size:.2f}")
print(f"loaded against use_cache=False: {(loaded - uncached).abs().max().item():.1e}")
assert off > 0.05 * size and not told and torch.allclose(loaded, uncached, atol=1e-4)
PYTHON
