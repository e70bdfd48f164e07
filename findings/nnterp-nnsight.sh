#!/usr/bin/env bash
# nnterp 1.3.0, as pip installs it today, cannot be imported: nnsight 0.8.1 has moved what it needs.
#
# Guess: the newest nnterp works with the newest nnsight, which it asks for without an upper bound.
# Seen: nnterp/nnsight_utils.py imports nnsight.intervention.tracing.globals, which nnsight 0.8.1 no
# longer has: a ModuleNotFoundError. Who reproduces a study with it pins nnsight below 0.8 as well.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q nnterp==1.3.0 nnsight==0.8.1 torch==2.15.0 transformers==5.24.0
"$dir/venv/bin/pip" check
"$dir/venv/bin/python" - <<'PYTHON'
try:
    import nnterp
except ModuleNotFoundError as e:
    print(e)
    assert str(e) == "No module named 'nnsight.intervention.tracing'"
else:
    raise SystemExit("it can be imported now")
PYTHON
