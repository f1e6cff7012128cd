# syntax=docker/dockerfile:1
FROM debian:12-slim AS base
RUN <<EOF
set -eu
apt-get update
apt-get install -y --no-install-recommends ca-certificates
rm -rf /var/lib/apt/lists/*
EOF
COPY --chmod=0755 <<'EOF' /usr/local/bin/entry
#!/bin/sh
exec "$@"
EOF
RUN <<EOF
#!/usr/bin/env python3
print("a; b | c")
EOF
USER 65532
ENTRYPOINT ["/usr/local/bin/entry"]
