#!/usr/bin/env bash
# ctranslate2 4.8.5 converts a GPT-2 whose config.json asks for another attention scale or another
# epsilon, and computes without them.
#
# Guess: layer_norm_epsilon is taken over, and scale_attn_by_inverse_layer_idx and scale_attn_weights,
# which the converter need not know, are refused. Seen: GPT2Loader in converters/transformers.py reads
# none of the three; the converted model has the logits of a GPT-2 of the usual kind with the same
# weights. Nothing is said. n_inner, the activation and an untied head are taken over.
# scale_attn_by_inverse_layer_idx is on in the GPT-2s of Stanford's CRFM (mistral).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q torch==2.15.0 transformers==5.24.0 numpy==2.4.6 ctranslate2==4.8.5
cd "$dir"
"$dir/venv/bin/python" - <<'PYTHON'
import shutil
import ctranslate2, numpy, torch
from ctranslate2.converters import TransformersConverter
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer

size = dict(n_layer=3, n_head=2, n_embd=32, vocab_size=20, bos_token_id=0, eos_token_id=0)
vocabulary = {"<|endoftext|>": 0} | {chr(96 + i): i for i in range(1, 20)}
ids = [1, 2, 3, 4, 5]


def logits_of(**asked):
    """What transformers and ctranslate2 compute from one saved model."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(**size, **asked)).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.5)
    shutil.rmtree("converted", ignore_errors=True)
    model.save_pretrained("saved")
    GPT2Tokenizer(vocabulary, []).save_pretrained("saved")
    TransformersConverter("saved").convert("converted")
    with torch.no_grad():
        want = model(torch.tensor([ids])).logits[0].numpy()
    got = ctranslate2.Generator("converted").forward_batch([ids])
    return want, numpy.array(got)[0]


usual = logits_of()[1]
taken = [{}, {"n_inner": 48}, {"activation_function": "relu"}, {"tie_word_embeddings": False}]
dropped = [{"layer_norm_epsilon": 0.1}, {"scale_attn_weights": False}]
dropped.append({"scale_attn_by_inverse_layer_idx": True})
for asked in taken + dropped:
    want, got = logits_of(**asked)
    off = numpy.abs(got - want).max()
    print(f"{asked}: off by {off:.1e} of {numpy.abs(want).max():.1f}")
    assert off < 1e-4 if asked in taken else off > 0.01 and numpy.allclose(got, usual, atol=1e-5)
PYTHON
