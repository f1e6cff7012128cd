# syntax=docker/dockerfile:1
FROM python:3.12-slim AS compile
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --upgrade pip
WORKDIR /ledger
COPY requirements.txt .
RUN --mount=type=bind,source=requirements.txt,target=requirements.txt \
    --mount=type=cache,target=/root/.cache/pip \
    pip install -r requirements.txt
COPY . .
RUN --mount=type=secret,id=github_token \
    GITHUB_TOKEN=$(cat /run/secrets/github_token) && \
    pip install git+https://${GITHUB_TOKEN}@github.com/example/ledger.git
