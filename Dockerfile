# The server alone: no torch, no training extra, no compiler, not root.
#   docker build -t offramp .
#   docker run -p 8000:8000 -v "$PWD/exported_models:/models:ro" offramp --default-model cifar10-ladder-int8
# For GPUs (docs/gpu.md), with CUDA's libraries as Python packages; the driver comes from the host:
#   docker build --build-arg GPU_PACKAGES="onnxruntime-gpu[cuda,cudnn]" -t offramp-gpu .
#   docker run --gpus all -p 8000:8000 -v "$PWD/exported_models:/models:ro" offramp-gpu \
#     --default-model cifar10-ladder --strict-providers
# As many processes serve as cores and networks call for (docs/scaling.md); one: -e OFFRAMP_PROCESSES=1.
# `make pin-image` adds the digest of what the name stands for today.
ARG BASE=python:3.11-slim
FROM ${BASE} AS build
WORKDIR /build
RUN python -m venv /opt/offramp
COPY requirements.lock ./
RUN /opt/offramp/bin/python -m pip install --no-cache-dir --require-hashes --requirement requirements.lock
# What the lock does not know comes beside it, and changes none of its versions. Without it the GPU's half of ONNX
# Runtime has nothing to run on, and takes 285 MB.
ARG GPU_PACKAGES=""
RUN if [ -n "$GPU_PACKAGES" ]; then \
      /opt/offramp/bin/python -m pip freeze > held.txt && \
      /opt/offramp/bin/python -m pip install --no-cache-dir --constraint held.txt $GPU_PACKAGES; \
    else \
      find /opt/offramp -name 'libonnxruntime_providers_cuda.so' -delete && \
      find /opt/offramp -name 'libonnxruntime_providers_tensorrt.so' -delete; \
    fi
COPY pyproject.toml README.md LICENSE ./
COPY offramp offramp
COPY serving serving
COPY training training
COPY exported_models/cifar10-ladder-int8 exported_models/cifar10-ladder-int8
RUN /opt/offramp/bin/python -m pip install --no-deps --no-build-isolation . && \
    /opt/offramp/bin/python -m pip uninstall --yes hatchling pathspec pluggy trove-classifiers

FROM ${BASE}
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin offramp
COPY --from=build /opt/offramp /opt/offramp
ENV PATH="/opt/offramp/bin:$PATH" PYTHONUNBUFFERED=1 ORT_DISABLE_TELEMETRY=1
ENV OFFRAMP_MODELS=/models OFFRAMP_HOST=0.0.0.0 OFFRAMP_PORT=8000 OFFRAMP_PROCESSES=auto
USER offramp
WORKDIR /
EXPOSE 8000
# Follows OFFRAMP_PORT; where the port is given as a flag instead, give the variable to the health check, too.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"OFFRAMP_PORT\"]}/v2/health/ready', timeout=2)"]
# The exec form makes the server process 1: a SIGTERM reaches it, and it answers what it had admitted.
ENTRYPOINT ["python", "-m", "serving"]
