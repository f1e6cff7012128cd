FROM postgres:17-bookworm

ARG EXTENSION=0.8.0

RUN set -eux; \
    kept="$(apt-mark showmanual)"; \
    apt-get update; \
    apt-get install -y --no-install-recommends \
        build-essential \
        git \
        # headers of the server
        postgresql-server-dev-17 \
    ; \
    git clone --branch "v${EXTENSION}" --depth 1 https://github.com/example/geo.git /tmp/geo; \
    cd /tmp/geo; \
    make; \
    make install; \
    apt-mark auto '.*' >/dev/null; \
    [ -z "$kept" ] || apt-mark manual $kept; \
    apt-get purge -y --auto-remove; \
    rm -rf /tmp/geo /var/lib/apt/lists/*
