# metadip in a container:
#   docker build -t metadip .
#   docker run --rm -v "$PWD:/work" metadip infer task=denoise measurement=noisy.png out=restored
# For a GPU add --gpus all to `docker run`: the wheels of PyTorch for Linux bring CUDA with them. Another base is an argument:
#   docker build --build-arg BASE=IMAGE_WITH_PYTHON_AND_CUDA -t metadip .
ARG BASE=python:3.12-slim
FROM ${BASE}

COPY . /src
# learn2learn, for `metadip train`, builds with a compiler, by `make env`; here learner=functional trains without it.
RUN python -m pip install --no-cache-dir /src && rm -rf /src

WORKDIR /work
ENTRYPOINT ["metadip"]
CMD ["--help"]
