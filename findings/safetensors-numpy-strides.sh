#!/usr/bin/env bash
# safetensors 0.8.0: save_file of numpy arrays writes a transposed weight as it lies in memory, under
# its new shape: the file is valid, its numbers stand in the wrong places.
#
# Guess: the values come back, as with 0.7.0, or a view is refused, as by safetensors.torch. Seen:
# safetensors/numpy.py hands on the address of the array's first number and its size, and never looks
# at the strides. GPT-2's Conv1D weights, turned by .T for a library with [out, in], come back
# scrambled; so does a head cut out of c_attn by its columns. Nothing is said, and the shapes fit.
# numpy.ascontiguousarray before saving helps.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >views.py <<'PYTHON'
import numpy
import safetensors
from safetensors.numpy import load_file, save_file

width = 4
c_attn = numpy.arange(width * 3 * width, dtype=numpy.float32).reshape(width, 3 * width)
views = {
    "whole": c_attn,
    "transposed": c_attn.T,
    "queries": c_attn[:, :width],
    "copied": numpy.ascontiguousarray(c_attn.T),
}
save_file(views, "views.safetensors")
back = load_file("views.safetensors")
same = {name: bool((back[name] == view).all()) for name, view in views.items()}
print(safetensors.__version__, same, "transposed[0]:", views["transposed"][0], "->", back["transposed"][0])
assert {back[name].shape == view.shape for name, view in views.items()} == {True}
right = safetensors.__version__ == "0.7.0"
assert same == {"whole": True, "transposed": right, "queries": right, "copied": True}
PYTHON
python3 -m venv venv
for version in 0.7.0 0.8.0; do
	venv/bin/pip install -q numpy==2.4.6 safetensors==$version
	venv/bin/python views.py
done
