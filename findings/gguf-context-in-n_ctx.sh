#!/usr/bin/env bash
# transformers 5.24.0 opens a GPT-2 from GGUF only if it has 1024 positions and an MLP of 4 widths.
#
# Guess: what gguf's writer and its table of names make of any GPT-2 comes back with the same logits.
# Seen: integrations/ggml.py puts the file's context_length into n_ctx, which the model does not read,
# and its feed_forward_length under a name of its own, so n_positions stays 1024 and n_inner stays
# unset. With 64 positions wpe is a size mismatch, with n_inner 48 the MLPs are: both are refused, and
# advised to set ignore_mismatched_sizes, which would leave random weights there. With 1024 positions
# and the usual MLP the logits agree.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q torch==2.15.0 transformers==5.24.0 numpy==2.4.6 gguf==0.19.0 \
	accelerate==1.15.0
"$dir/venv/bin/python" - "$dir" <<'PYTHON'
import sys
import gguf, numpy, torch
from transformers import GPT2Config, GPT2LMHeadModel

folder, ids = sys.argv[1], torch.tensor([[1, 2, 3, 4, 5]])

def through_gguf(**facts):
    """The largest difference of the logits before and after, or how loading fails."""
    torch.manual_seed(0)
    c = GPT2Config(n_layer=3, n_head=2, n_embd=32, vocab_size=100, **facts)
    model = GPT2LMHeadModel(c).eval()
    w = gguf.GGUFWriter(folder + "/m.gguf", "gpt2")
    w.add_block_count(3)
    w.add_context_length(c.n_positions)
    w.add_embedding_length(32)
    w.add_feed_forward_length(c.n_inner or 128)
    w.add_head_count(2)
    w.add_layer_norm_eps(c.layer_norm_epsilon)
    w.add_vocab_size(100)
    w.add_tokenizer_model("gpt2")
    w.add_token_list([f"t{i}" for i in range(100)])
    w.add_token_types([1] * 100)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GPT2, 3)
    for name, x in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        if name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
            x = x.t()  # GGUF keeps linear weights [out, in]
        new = names.get_name(name, try_suffixes=(".weight", ".bias"))
        w.add_tensor(new, numpy.ascontiguousarray(x.numpy()))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    try:
        back = GPT2LMHeadModel.from_pretrained(folder, gguf_file="m.gguf")
    except RuntimeError as e:
        return str(e)
    with torch.no_grad():
        return (back(ids).logits - model(ids).logits).abs().max().item()

usual, short, narrow = through_gguf(), through_gguf(n_positions=64), through_gguf(n_inner=48)
print("1024 positions:", usual, "\n64 positions:", short, "\nn_inner 48:", narrow)
assert usual < 1e-4
assert "ignore_mismatched_sizes" in short and "ignore_mismatched_sizes" in narrow
PYTHON
