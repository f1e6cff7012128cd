FROM golang:1.22 AS compile
WORKDIR /ledger
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -ldflags="-s -w" -o /ledger/server
FROM alpine:3.20
RUN apk add --no-cache ca-certificates tzdata
COPY --from=compile /ledger/server /server
EXPOSE 8080
USER nobody
ENTRYPOINT ["/server"]
