FROM python:3.13-slim AS venv
COPY --from=ghcr.io/astral-sh/uv:0.8.4 /uv /usr/local/bin/
WORKDIR /forecast
COPY pyproject.toml uv.lock ./
RUN --mount=type=cache,target=/root/.cache/uv uv sync --locked --no-dev --no-install-project
COPY src src
RUN --mount=type=cache,target=/root/.cache/uv uv sync --locked --no-dev

FROM python:3.13-slim
COPY --from=venv --chown=1000:1000 /forecast /forecast
ENV PATH="/forecast/.venv/bin:$PATH"
USER 1000
CMD ["python", "-m", "forecast"]
