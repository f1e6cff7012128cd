FROM golang:1.22 AS compile
WORKDIR /ledger
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -ldflags="-s -w -extldflags=-static" .
FROM scratch
COPY --from=compile /ledger/server /server
EXPOSE 8080
ENTRYPOINT ["/server"]
