#!/usr/bin/env bash
# mlx-lm 0.32.2 opens OpenAI's GPT-2 from the hub, but none that transformers 5.24.0 has saved.
#
# Guess: any GPT-2 folder opens. Seen, in two steps. First, models/gpt2.py asks for n_ctx, a key of
# OpenAI's config.json which save_pretrained does not write: a TypeError. Second, with n_ctx added by
# hand, sanitize() knows the names h.0.attn…, but not transformer.h.0.attn…, which save_pretrained
# writes for a GPT2LMHeadModel: all 40 tensors are "not in model". Without both, the logits agree.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q torch==2.15.0 transformers==5.24.0 numpy==2.4.6 'mlx[cpu]==0.32.4' \
	mlx-lm==0.32.2
"$dir/venv/bin/python" - "$dir" <<'PYTHON'
import json, sys
from pathlib import Path
import mlx.core as mx, numpy, torch
from mlx_lm.utils import load_model
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

torch.manual_seed(0)
model = GPT2LMHeadModel(GPT2Config(n_layer=3, n_head=2, n_embd=32, vocab_size=100)).eval()
folder = Path(sys.argv[1]) / "model"
model.save_pretrained(folder)
config = json.loads((folder / "config.json").read_text())

def refusal():
    try:
        load_model(folder)
    except Exception as e:
        return f"{type(e).__name__}: {str(e).splitlines()[0]}"

first = refusal()
(folder / "config.json").write_text(json.dumps(config | {"n_ctx": 1024}))
second = refusal()
print(first, second, sep="\n")
assert "n_ctx" not in config and "n_ctx" in first and first.startswith("TypeError")
assert second == "ValueError: Received 40 parameters not in model: "

file = str(folder / "model.safetensors")
save_file({k.removeprefix("transformer."): v for k, v in load_file(file).items()}, file)
opened, _ = load_model(folder)
ids = [[1, 2, 3, 4, 5]]
with torch.no_grad():
    want = model(torch.tensor(ids)).logits.numpy()
error = numpy.abs(numpy.array(opened(mx.array(ids))) - want).max()
print("with both mended, the largest difference of the logits:", error)
assert error < 1e-4
PYTHON
