FROM python:3.12-slim AS compile
WORKDIR /ledger
RUN apt-get update && \
    apt-get install -y --no-install-recommends \
    gcc \
    libpq-dev \
    && rm -rf /var/lib/apt/lists/*
COPY requirements.txt .
RUN pip install --no-cache-dir --prefix=/install -r requirements.txt
FROM python:3.12-slim
WORKDIR /ledger
COPY --from=compile /install /usr/local
COPY . .
RUN useradd --create-home ledger
USER ledger
CMD ["python", "server.py"]
