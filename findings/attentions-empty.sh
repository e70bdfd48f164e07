#!/usr/bin/env bash
# transformers 5.24.0: output_attentions=True gives an empty tuple from a GPT-2 as it is loaded.
#
# Guess: as in transformers 4, the model falls back to eager attention with a warning, and the patterns
# come. Seen: attention runs by sdpa, which has no patterns to give; outputs.attentions is (), neither
# an error nor a warning is raised, and a loop over it does nothing. With attn_implementation="eager"
# the patterns of all layers are there (models/gpt2/modeling_gpt2.py, utils/output_capturing.py).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q torch==2.15.0 transformers==5.24.0 numpy==2.4.6
"$dir/venv/bin/python" - <<'PYTHON'
import warnings
import torch
from transformers import GPT2Config, GPT2LMHeadModel

torch.manual_seed(0)
model = GPT2LMHeadModel(GPT2Config(n_layer=3, n_head=2, n_embd=32, vocab_size=100)).eval()
ids = torch.tensor([[1, 2, 3, 4, 5]])
with torch.no_grad(), warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    usual = model(ids, output_attentions=True).attentions
    print("as loaded:", usual, "warnings:", len(told))
    model.set_attn_implementation("eager")
    eager = model(ids, output_attentions=True).attentions
    print("eager:", [tuple(a.shape) for a in eager])
assert usual == () and not told
assert [tuple(a.shape) for a in eager] == [(1, 2, 5, 5)] * 3
PYTHON
