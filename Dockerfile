# otic in a container: see docs/docker.md. Build it in the clone: docker build -t otic .
ARG PYTHON=3.12

FROM python:${PYTHON}-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /opt/otic
# Libraries first: they change less often than otic, and Docker keeps the layer.
COPY constraints/ constraints/
# With what MQTT, metrics, the page and messages need (extras mqtt, metrics, web, notify).
RUN /opt/otic/bin/pip install --require-hashes -r constraints/sensor.txt
COPY pyproject.toml README.md LICENSE ./
COPY realtime/ realtime/
COPY training/ training/
COPY models/ models/
# sensor.txt has hatchling, which builds it; nothing is fetched that has no hash.
RUN /opt/otic/bin/pip install --no-deps --no-build-isolation .

FROM python:${PYTHON}-slim-bookworm
# PortAudio, and ALSA's way to a PulseAudio or PipeWire server.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libportaudio2 libasound2-plugins \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/otic /opt/otic
# systemd's variables, which otic also reads: where events wait, where compiled kernels are kept.
ENV PATH=/opt/otic/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    STATE_DIRECTORY=/var/lib/otic \
    NUMBA_CACHE_DIR=/var/cache/otic
RUN useradd --system --uid 10001 --user-group --groups audio --home-dir /var/lib/otic otic \
    && install -d -o otic -g otic /var/lib/otic /var/cache/otic
USER otic
# For the processor that this is built on; on another kind the first start compiles anew.
RUN otic warmup
VOLUME ["/var/lib/otic"]
# No HEALTHCHECK: 'otic doctor' looks at the machine and not at the process that runs, and costs
# seconds of processor time. docs/docker.md has one that asks the process for its metrics.
STOPSIGNAL SIGTERM
ENTRYPOINT ["otic"]
CMD ["run", "--config", "/etc/otic.toml"]
