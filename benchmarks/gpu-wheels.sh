#!/usr/bin/env bash
# Download what a GPU machine without network access needs to run benchmarks/gpu.py, for Python 3.12 on Linux x86-64:
#     bash benchmarks/gpu-wheels.sh FOLDER
# and on that machine:
#     python3.12 -m venv gpu && gpu/bin/pip install --no-index --find-links FOLDER 'alexkit[cu13,train,report]' \
#         pytest webdataset hypothesis
# The machine also needs a C compiler and Python's header files: Triton compiles the launchers of its kernels with them.
set -euo pipefail
folder=${1:?name a folder for the wheels}
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$folder"
python -m pip wheel --no-deps --wheel-dir "$folder" "$root"
wheel=$(ls -t "$folder"/alexkit-*.whl | head -n 1)
# Every tag is named, since pip takes a platform literally: NCCL's wheels are for manylinux_2_18, CUPTI's for 2_25.
platforms=(--platform manylinux2014_x86_64)
for minor in $(seq 17 28); do
    platforms+=(--platform "manylinux_2_${minor}_x86_64")
done
python -m pip download --dest "$folder" --only-binary :all: --python-version 3.12 --implementation cp \
    "${platforms[@]}" --constraint "$root/constraints.txt" \
    --extra-index-url "${TORCH_INDEX:-https://download.pytorch.org/whl/cu130}" \
    --extra-index-url https://pypi.nvidia.com "${wheel}[cu13,train,report]" pytest webdataset hypothesis
ls "$folder" | wc -l
