FROM golang:1.22-alpine AS compile
WORKDIR /ledger
RUN apk add --no-cache git
COPY . .
RUN CGO_ENABLED=0 GOOS=linux go build -a -installsuffix cgo -o ledger .
FROM alpine:3.19
WORKDIR /ledger
RUN apk add --no-cache ca-certificates && \
    addgroup -S ledger && \
    adduser -S ledger -u 1001 -G ledger
COPY --from=compile /ledger/ledger .
USER ledger
ENTRYPOINT ["./ledger"]
