FROM --platform=$BUILDPLATFORM rust:1.90 AS build
ARG TARGETPLATFORM
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target <<EOF
set -e
case "$TARGETPLATFORM" in
  linux/amd64) target=x86_64-unknown-linux-musl ;;
  linux/arm64) target=aarch64-unknown-linux-musl ;;
  *) echo "no target for $TARGETPLATFORM" >&2; exit 1 ;;
esac
rustup target add "$target"
cargo build --release --target "$target"
cp "target/$target/release/app" /app
EOF

FROM scratch
COPY --from=build /app /app
USER 10001:10001
ENTRYPOINT ["/app"]
