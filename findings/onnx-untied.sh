#!/usr/bin/env bash
# torch 2.15.0 × transformers 5.24.0: a GPT-2 exported to ONNX holds its tied matrix twice.
#
# Guess: wte and lm_head are one tensor in PyTorch and one initializer in the file. Seen: the exporter
# keeps lm_head.weight [vocab, width], which the embedding gathers from, and folds the transpose before
# the last product into a constant of its own, [width, vocab]. The logits are right; the file of GPT-2
# small would be 154 MB larger than its weights, and an edit of the embedding no longer edits the
# unembedding.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q torch==2.15.0 transformers==5.24.0 numpy==2.4.6 onnx==1.23.2 \
	onnxscript==0.7.2
"$dir/venv/bin/python" - "$dir/gpt2.onnx" <<'PYTHON'
import sys
import numpy, onnx, torch
from onnx import numpy_helper
from transformers import GPT2Config, GPT2LMHeadModel

torch.manual_seed(0)
model = GPT2LMHeadModel(GPT2Config(n_layer=3, n_head=2, n_embd=32, vocab_size=100)).eval()
assert model.lm_head.weight is model.transformer.wte.weight

class Logits(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.model = model

    def forward(self, ids):
        return self.model(ids, use_cache=False).logits

ids = torch.tensor([[1, 2, 3, 4, 5]])
torch.onnx.export(Logits(), (ids,), sys.argv[1], dynamo=True, external_data=False, verbose=False)
wte = model.lm_head.weight.detach().numpy()
copies = []
for tensor in onnx.load(sys.argv[1]).graph.initializer:
    x = numpy_helper.to_array(tensor)
    if x.shape in (wte.shape, wte.T.shape) and (numpy.array_equal(x, wte) or numpy.array_equal(x, wte.T)):
        copies.append(list(x.shape))
print("copies of the tied matrix:", copies)
assert sorted(copies) == [[32, 100], [100, 32]]
PYTHON
