#!/usr/bin/env bash
# captum 0.9.0 on transformers 5.24.0: LLMAttribution's usual attributions of a GPT-2 are wrong for a
# target of more than one token.
#
# Guess: seq_attr of a feature ablation is how far the target's log-probability falls when a token of
# the prompt is replaced by the baseline, with and without use_cached_outputs. Seen: with it, as
# is the default, captum/attr/_core/llm_attr.py hands the cache back together with the whole text so
# far, and trusts prepare_inputs_for_generation to cut off what is in the cache; that of
# transformers 5 does not. From the second token of the target on, the model reads the prompt twice, at
# positions that go on from the first time. use_cached_outputs=False is right.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q torch==2.15.0 transformers==5.24.0 numpy==2.4.6 captum==0.9.0
"$dir/venv/bin/python" - <<'PYTHON'
import torch
from captum.attr import FeatureAblation, LLMAttribution, TextTokenInput
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer

torch.manual_seed(0)
config = GPT2Config(n_layer=3, n_head=2, n_embd=32, vocab_size=20, bos_token_id=0, eos_token_id=0)
model = GPT2LMHeadModel(config).eval()
for p in model.parameters():
    torch.nn.init.normal_(p, std=0.5)
words = GPT2Tokenizer({"<|endoftext|>": 0} | {chr(96 + i): i for i in range(1, 20)}, [])
prompt, target = [1, 2, 3, 4], [5, 6]


def log_probability(prompt):
    with torch.no_grad():
        logs = model(torch.tensor([prompt + target])).logits[0].log_softmax(-1)
    return sum(logs[len(prompt) - 1 + i, token] for i, token in enumerate(target))


without = [log_probability(prompt[:i] + [0] + prompt[i + 1 :]) for i in range(len(prompt))]
want = log_probability(prompt) - torch.stack(without)
read = []
model.transformer.wte.register_forward_pre_hook(lambda module, args: read.append(args[0].shape[1]))


def attributions(**asked):
    text = TextTokenInput(words.decode(prompt), words)
    attribution = LLMAttribution(FeatureAblation(model), words)
    return attribution.attribute(text, target=words.decode(target), **asked).seq_attr


usual, tokens_read, uncached = attributions(), read[:2], attributions(use_cached_outputs=False)
print("by hand:", want, "usual:", usual, "use_cached_outputs=False:", uncached, sep="\n")
print("tokens that the usual one reads for each of the target's:", tokens_read)
assert torch.allclose(uncached, want, atol=1e-4) and (usual - want).abs().max() > 0.01
assert tokens_read == [4, 5]
PYTHON
