#!/usr/bin/env bash
# transformer-lens 4.3.0: to patch hook_resid_mid patches what the MLP reads; the residual stream
# goes past it unpatched.
#
# Guess: as in HookedTransformer up to 3, hook_resid_mid is the stream between attention and MLP: with
# the clean run's value there at all positions, the rest of the run is the clean one. Seen: in a
# TransformerBridge it is an alias of ln2.hook_in (generalized_components/block.py), of which only ln2
# and the MLP read the result. The logits are exactly those of patching hook_mlp_out, with or without
# enable_compatibility_mode(), and a heat map of this site shows the MLPs in place of the stream. What
# it caches is right; hook_resid_pre and hook_resid_post are the stream.
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
clean, corrupt = torch.tensor([[1, 2, 3, 4, 5]]), torch.tensor([[1, 7, 3, 4, 5]])
sites = "hook_resid_pre", "hook_resid_mid", "hook_mlp_out", "hook_resid_post"
with torch.no_grad():
    for compatible in False, True:
        bridge = TransformerBridge.boot_transformers("model", device="cpu")
        if compatible:
            bridge.enable_compatibility_mode()
        want, cache = bridge.run_with_cache(clean)
        put = lambda value, hook: cache[hook.name]
        run = lambda site: bridge.run_with_hooks(corrupt, fwd_hooks=[("blocks.1." + site, put)])
        patched = {site: run(site) for site in sites}
        off = {site: round((patched[site] - want).abs().max().item(), 4) for site in sites}
        print("compatibility", compatible, "clean value at every position, off the clean run by", off)
        middle = cache["blocks.1.hook_resid_pre"] + cache["blocks.1.hook_attn_out"]
        assert torch.allclose(cache["blocks.1.hook_resid_mid"], middle, atol=1e-5)
        assert off["hook_resid_pre"] < 1e-3 and off["hook_resid_post"] < 1e-3
        assert off["hook_resid_mid"] > 0.1
        assert torch.allclose(patched["hook_resid_mid"], patched["hook_mlp_out"], atol=1e-4)
PYTHON
