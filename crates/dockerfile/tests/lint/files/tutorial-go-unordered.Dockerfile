FROM golang:1.19-alpine AS compile
WORKDIR /build
COPY . .
RUN go build -o ledger main.go

FROM alpine:3.17
WORKDIR /ledger
COPY --from=compile /build/ledger .

CMD ["./ledger"]
