FROM rust:1.77 AS compile
WORKDIR /ledger
COPY Cargo.toml Cargo.lock ./
RUN mkdir src && echo "fn main() {}" > src/main.rs
RUN cargo build --release
COPY src/ src/
RUN touch src/main.rs && cargo build --release
FROM gcr.io/distroless/cc-debian12 AS runtime
COPY --from=compile /ledger/target/release/tally /tally
EXPOSE 8080
ENTRYPOINT ["/tally"]
