#!/usr/bin/env bash
# What only a GPU can show: tests/gpu/accept.sh OUT [PART ...] (qlora lora options export faults plan).
# Runs with the PyTorch that is there; other packages of requirements.txt that are missing are
# taken from WHEELS, a folder, without a network. SMALL=1 tries everything at small dimensions.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:?give a folder for the figures}
shift
if [ -n "${WHEELS:-}" ]; then
    site=$(mktemp -d)
    python3 -m pip install -q --no-index --no-deps --no-compile --target "$site" "$WHEELS"/*.whl
    export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
fi
export PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1
exec "${PYTHON:-python3}" tests/gpu/accept.py "$out" "$@" ${SMALL:+--small}
