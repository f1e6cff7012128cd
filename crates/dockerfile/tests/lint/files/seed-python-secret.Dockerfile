# syntax=docker/dockerfile:1
FROM python:3.12-slim AS builder
# Cache mount for pip packages
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --upgrade pip
WORKDIR /app
COPY requirements.txt .
# Bind mount for credentials (not copied into image)
RUN --mount=type=bind,source=requirements.txt,target=requirements.txt \
    --mount=type=cache,target=/root/.cache/pip \
    pip install -r requirements.txt
COPY . .
# Use Docker secrets for private packages
RUN --mount=type=secret,id=github_token \
    GITHUB_TOKEN=$(cat /run/secrets/github_token) && \
    pip install git+https://${GITHUB_TOKEN}@github.com/org/private-package.git
