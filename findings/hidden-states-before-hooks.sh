#!/usr/bin/env bash
# transformers 5.24.0: what a hook on a GPT-2 block writes into the residual stream is in hidden_states
# or not, depending on which calls came before.
#
# Guess: outputs.hidden_states are those that the next block reads, as in transformers 4. Seen: they
# are collected by hooks, which the first call with output_hidden_states=True leaves on the blocks for
# good (utils/output_capturing.py), and hooks run in the order in which they were set. A hook that
# was set before that call is heeded; one that is set after it, as by everyone who runs the clean text
# first, changes the logits, but the hidden state at its own layer stays that without it.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q torch==2.15.0 transformers==5.24.0 numpy==2.4.6
"$dir/venv/bin/python" - <<'PYTHON'
import torch
from transformers import GPT2Config, GPT2LMHeadModel

torch.manual_seed(0)
config = GPT2Config(n_layer=3, n_head=2, n_embd=32, vocab_size=100, bos_token_id=0, eos_token_id=0)
fresh = GPT2LMHeadModel(config).eval()
used = GPT2LMHeadModel(config).eval()
used.load_state_dict(fresh.state_dict())
ids = torch.tensor([[1, 2, 3, 4, 5]])
vector = torch.randn(32)


def run(model, steered):
    hook = lambda module, args, output: output + vector if steered else output
    handle = model.transformer.h[1].register_forward_hook(hook)
    with torch.no_grad():
        outputs = model(ids, output_hidden_states=True)
    handle.remove()
    return outputs


clean = run(used, False)
first, later = run(fresh, True), run(used, True)
change = {
    name: [round((a - b).abs().max().item(), 2) for a, b in zip(steered.hidden_states, clean.hidden_states)]
    for name, steered in (("hook first", first), ("clean run first", later))
}
print("largest change of each hidden state by steering after block 1:", change)
assert torch.equal(first.logits, later.logits) and not torch.equal(first.logits, clean.logits)
assert change["hook first"][2] > 1 and change["clean run first"][2] == 0
PYTHON
