# docker build --build-arg CUDA=12 -t alexkit .        # or CUDA=13
# docker run --gpus all --shm-size=2g -v /imagenet:/imagenet:ro -v "$PWD":/data alexkit alexprep shard /imagenet
FROM python:3.11-slim

# 12 or 13: the CUDA version that PyTorch and DALI are built for. Both bring their own libraries; the host brings the driver.
ARG CUDA=12
ARG TORCH_INDEX_12=https://download.pytorch.org/whl/cu126
ARG TORCH_INDEX_13=https://download.pytorch.org/whl/cu130

# Triton compiles the launchers of the training kernels when they are first used.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*

WORKDIR /alexkit
COPY . .
RUN case "$CUDA" in 12) index="$TORCH_INDEX_12" ;; 13) index="$TORCH_INDEX_13" ;; *) echo "CUDA must be 12 or 13"; exit 1 ;; esac \
    && torch="$(grep '^torch==' constraints.txt)" \
    && pip install --no-cache-dir --index-url "$index" "$torch" \
    && pip install --no-cache-dir --constraint constraints.txt ".[all,cu$CUDA]"

RUN useradd --create-home alexkit && mkdir /data && chown alexkit /data
USER alexkit
WORKDIR /data
CMD ["alexprep", "doctor"]
