# STAGE 1: Build the binary
FROM golang:1.19-alpine AS builder
WORKDIR /build
COPY . .
RUN go build -o myapp main.go

# STAGE 2: Create the final small image
FROM alpine:3.17
WORKDIR /app
# Copy ONLY the compiled binary from the 'builder' stage
COPY --from=builder /build/myapp .

CMD ["./myapp"]
