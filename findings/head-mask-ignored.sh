#!/usr/bin/env bash
# transformers 5.24.0: GPT-2's head_mask is gone, and passing it is no error: it changes nothing.
#
# Guess: a TypeError for an unknown argument. Seen: GPT2LMHeadModel.forward takes **kwargs, hands them
# down to the attention functions, and nobody reads a head_mask (models/gpt2/modeling_gpt2.py). With a
# mask of zeros for every head of every layer the logits are the same to the bit, without a word. Code
# of transformers 4 that ablates heads in this way still runs, and finds that no head matters.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q torch==2.15.0 transformers==5.24.0 numpy==2.4.6
"$dir/venv/bin/python" - <<'PYTHON'
import torch
from transformers import GPT2Config, GPT2LMHeadModel

torch.manual_seed(0)
model = GPT2LMHeadModel(GPT2Config(n_layer=3, n_head=2, n_embd=32, vocab_size=100)).eval()
ids = torch.tensor([[1, 2, 3, 4, 5]])
with torch.no_grad():
    whole = model(ids).logits
    without_heads = model(ids, head_mask=torch.zeros(3, 2)).logits
print("largest change by masking all heads:", (whole - without_heads).abs().max().item())
assert torch.equal(whole, without_heads)
PYTHON
