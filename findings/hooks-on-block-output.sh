#!/usr/bin/env bash
# transformers 5.24.0: a hook on a GPT-2 block that was written for transformers 4 patches or steers
# something else, and says nothing.
#
# Guess: a block still gives a tuple with the hidden states first, as in 4.57.6. Seen: it gives the
# bare tensor [batch, position, width] (models/gpt2/modeling_gpt2.py), so output[0], which was the
# hidden states, is now those of the first text. output[0][:, 1] = clean[:, 1], which patched
# position 1, now patches neuron 1 at all positions, and output[0][:] += vector, which steered
# the whole batch, steers its first text. Both fit in shape; the logits change, but not as meant.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat >"$dir/hooks.py" <<'PYTHON'
import torch
import transformers
from transformers import GPT2Config, GPT2LMHeadModel

torch.manual_seed(0)
config = GPT2Config(n_layer=3, n_head=2, n_embd=32, vocab_size=100, bos_token_id=0, eos_token_id=0)
model = GPT2LMHeadModel(config).eval()
clean, corrupt = torch.tensor([[1, 2, 3, 4, 5]]), torch.tensor([[1, 7, 3, 4, 5]])
kept = []

def block_after(ids, hook=None):
    """What block 2 reads when the hook sits on block 1."""
    block, read = model.transformer.h, []
    handles = [block[2].register_forward_pre_hook(lambda m, args: read.append(args[0].clone()))]
    if hook:
        handles.append(block[1].register_forward_hook(hook))
    with torch.no_grad():
        model(ids)
    for handle in handles:
        handle.remove()
    return read[0]

def patch(module, args, output):
    output[0][:, 1] = kept[0][:, 1]

def steer(module, args, output):
    output[0][:] += 1

block_after(clean, lambda module, args, output: kept.append(output[0].clone()))
unlike = block_after(corrupt, patch) != block_after(corrupt)
positions = unlike[0].any(1).nonzero().flatten().tolist()
neurons = unlike[0].any(0).sum().item()
both = torch.cat([clean, corrupt])
steered = (block_after(both, steer) != block_after(both)).any(2).any(1).tolist()
print(transformers.__version__, "patched positions", positions, "neurons", neurons, "steered", steered)
if transformers.__version__ == "4.57.6":
    assert positions == [1] and neurons == 32 and steered == [True, True]
else:
    assert positions == [1, 2, 3, 4] and neurons == 1 and steered == [True, False]
PYTHON
python3 -m venv "$dir/venv"
for version in 4.57.6 5.24.0; do
	"$dir/venv/bin/pip" install -q torch==2.15.0 transformers==$version numpy==2.4.6
	"$dir/venv/bin/python" "$dir/hooks.py"
done
