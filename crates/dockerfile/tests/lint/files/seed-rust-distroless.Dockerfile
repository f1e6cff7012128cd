# Rust application with distroless image
FROM rust:1.77 AS builder
WORKDIR /app
COPY Cargo.toml Cargo.lock ./
RUN mkdir src && echo "fn main() {}" > src/main.rs
RUN cargo build --release
COPY src/ src/
RUN touch src/main.rs && cargo build --release
# Use distroless CC image for glibc-based binaries
FROM gcr.io/distroless/cc-debian12 AS runtime
COPY --from=builder /app/target/release/myservice /myservice
EXPOSE 8080
ENTRYPOINT ["/myservice"]
