FROM golang:1.22-alpine AS builder
WORKDIR /app
# Install build dependencies
RUN apk add --no-cache git
# Copy source and build
COPY . .
RUN CGO_ENABLED=0 GOOS=linux go build -a -installsuffix cgo -o myapp .
# Runtime stage
FROM alpine:3.19
WORKDIR /app
# Install runtime dependencies only
RUN apk add --no-cache ca-certificates && \
    addgroup -S appgroup && \
    adduser -S appuser -u 1001 -G appgroup
# Copy binary from builder stage
COPY --from=builder /app/myapp .
# Switch to non-root user
USER appuser
ENTRYPOINT ["./myapp"]
