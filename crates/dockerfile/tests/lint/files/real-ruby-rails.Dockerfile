ARG RUBY=3.4
FROM docker.io/library/ruby:$RUBY-slim AS runtime
WORKDIR /shop
RUN apt-get update -qq \
 && apt-get install --no-install-recommends -y libvips postgresql-client \
 && rm -rf /var/lib/apt/lists /var/cache/apt/archives
ENV RAILS_ENV=production \
    BUNDLE_PATH=/usr/local/bundle

FROM runtime AS gems
RUN apt-get update -qq \
 && apt-get install --no-install-recommends -y build-essential git libpq-dev \
 && rm -rf /var/lib/apt/lists
COPY Gemfile Gemfile.lock ./
RUN bundle install && rm -rf "${BUNDLE_PATH}"/ruby/*/cache
COPY . .
RUN SECRET_KEY_BASE_DUMMY=1 bin/rails assets:precompile

FROM runtime
COPY --from=gems "${BUNDLE_PATH}" "${BUNDLE_PATH}"
COPY --from=gems /shop /shop
RUN useradd --uid 4000 --create-home shop && chown -R shop db log tmp
USER 4000:4000
ENTRYPOINT ["/shop/bin/entrypoint"]
EXPOSE 3000
CMD ["bin/rails", "server", "--binding", "0.0.0.0"]
