#!/usr/bin/env bash
# transformers 4.57.6: a GPT-2's scale_attn_weights and scale_attn_by_inverse_layer_idx are not heeded
# by the attention that it is loaded with.
#
# Guess: both change the logits, whichever implementation of attention runs; where one cannot do what
# the config asks for, it falls back to eager attention with a warning. Seen: with sdpa, the default,
# the logits are those of a config with neither, bit for bit, and nothing is said; with eager they
# differ. So a model with scaling by layer that was trained with eager attention, or by transformers
# before 4.44, is another one when it is loaded, and one that was trained under sdpa was trained
# without (models/gpt2/modeling_gpt2.py: sdpa gets no scale). transformers 5.24.0 hands the scale on.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat >"$dir/scaling.py" <<'PYTHON'
import sys
import warnings
import torch
import transformers
from transformers import GPT2Config, GPT2LMHeadModel

heeded = sys.argv[1] == "heeded"
print("transformers", transformers.__version__)


def logits(attention, **scaling):
    torch.manual_seed(0)
    config = GPT2Config(n_layer=3, n_head=2, n_embd=32, vocab_size=100, **scaling)
    config._attn_implementation = attention
    model = GPT2LMHeadModel(config).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    with torch.no_grad():
        return model(torch.tensor([[1, 2, 3, 4, 5]])).logits


assert GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=32)).config._attn_implementation == "sdpa"
for scaling in {"scale_attn_weights": False}, {"scale_attn_by_inverse_layer_idx": True}:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        change = {a: (logits(a, **scaling) - logits(a)).abs().max().item() for a in ("sdpa", "eager")}
    print(scaling, change, "warnings:", len(told))
    assert change["eager"] > 0.01 and (change["sdpa"] > 0.01) == heeded and not told
PYTHON
for version in 4.57.6 5.24.0; do
	python3 -m venv "$dir/$version"
	"$dir/$version/bin/pip" install -q torch==2.15.0 transformers==$version numpy==2.4.6
done
"$dir/4.57.6/bin/python" "$dir/scaling.py" ignored
"$dir/5.24.0/bin/python" "$dir/scaling.py" heeded
