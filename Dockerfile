# Everything that a node needs, so that a node which starts has nothing to install. For CPUs and NVIDIA GPUs alike:
# torch brings CUDA's libraries, the machine brings the driver.
#   docker build -t ghcr.io/YOU/mva_ray . && docker push ghcr.io/YOU/mva_ray
FROM rayproject/ray:2.60.0-py311

ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    HF_HUB_DISABLE_TELEMETRY=1 \
    RAY_USAGE_STATS_ENABLED=0 \
    TOKENIZERS_PARALLELISM=false

WORKDIR /home/ray/mva_ray
# torch first, on its own: it is most of the image, and changes least.
COPY --chown=ray:users constraints.txt ./
RUN pip install --no-cache-dir --constraint constraints.txt torch
COPY --chown=ray:users pyproject.toml README.md LICENSE ./
COPY --chown=ray:users mva_ray mva_ray
COPY --chown=ray:users tune_configs tune_configs
RUN pip install --no-cache-dir --constraint constraints.txt '.[cluster]'
