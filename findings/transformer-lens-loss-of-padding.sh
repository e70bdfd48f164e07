#!/usr/bin/env bash
# transformer-lens 4.3.0: the loss of several texts at once counts their padding, unless it is asked
# to pad on the left.
#
# Guess: return_type="loss" is the mean over the tokens of the texts, on whichever side they are
# padded. Seen: model_bridge/transformer_bridge.py makes an attention mask only for padding on the
# left; on the right, the default, GPT-2's logits are right without one, but the loss then
# counts every <|endoftext|> that was added. With padding_side="left" it is the mean over the
# tokens. So by how much an ablation hurts, as a mean loss over texts, depends on their lengths.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q torch==2.15.0 transformers==5.24.0 numpy==2.4.6 transformer-lens==4.3.0
cd "$dir"
"$dir/venv/bin/python" - <<'PYTHON'
import torch
from transformer_lens.model_bridge import TransformerBridge
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer

torch.manual_seed(0)
size = dict(n_layer=3, n_head=2, n_embd=32, vocab_size=20, bos_token_id=0, eos_token_id=0)
model = GPT2LMHeadModel(GPT2Config(**size)).eval()
for p in model.parameters():
    torch.nn.init.normal_(p, std=0.5)
model.save_pretrained("model")
letters = {"<|endoftext|>": 0} | {chr(96 + i): i for i in range(1, 20)}
GPT2Tokenizer(letters, []).save_pretrained("model")
bridge = TransformerBridge.boot_transformers("model", device="cpu")
texts = ["ab", "abcdefgh"]
with torch.no_grad():
    alone = [bridge(t, return_type="loss").item() for t in texts]
    mean = sum(loss * len(t) for loss, t in zip(alone, texts)) / sum(map(len, texts))
    usual = bridge(texts, return_type="loss").item()
    left, right = (bridge(texts, return_type="loss", padding_side=s).item() for s in ("left", "right"))
print(f"mean over the tokens {mean:.4f}, left {left:.4f}, right {right:.4f}, unasked {usual:.4f}")
assert abs(left - mean) < 1e-4 and usual == right and abs(usual - mean) > 0.01
PYTHON
