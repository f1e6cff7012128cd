//! The whole command, end to end: real builds in stores of their own, whole outputs and exit codes.
//!
//! Knows nothing of how anything works. Tests that run steps need root or user namespaces and Debian's
//! busybox-static; they say so when they skip.

#![expect(clippy::print_stderr, reason = "skipped tests say why")]

#[path = "e2e/base.rs"]
mod base;
#[path = "e2e/basics.rs"]
mod basics;
#[path = "e2e/bucket.rs"]
mod bucket;
#[path = "e2e/cache_mounts.rs"]
mod cache_mounts;
#[path = "e2e/caching.rs"]
mod caching;
#[path = "e2e/check.rs"]
mod check;
#[path = "e2e/containers.rs"]
mod containers;
#[path = "e2e/copying.rs"]
mod copying;
#[path = "e2e/errors.rs"]
mod errors;
#[path = "e2e/harness.rs"]
mod harness;
#[path = "e2e/object_caches.rs"]
mod object_caches;
#[path = "e2e/outputs.rs"]
mod outputs;
#[path = "e2e/parallel.rs"]
mod parallel;
#[path = "e2e/places.rs"]
mod places;
#[path = "e2e/platforms.rs"]
mod platforms;
#[path = "e2e/programs.rs"]
mod programs;
#[path = "e2e/registries.rs"]
mod registries;
#[path = "e2e/repositories.rs"]
mod repositories;
#[path = "e2e/run_options.rs"]
mod run_options;
#[path = "e2e/runner.rs"]
mod runner;
#[path = "e2e/serve.rs"]
mod serve;
#[path = "e2e/serve_guard.rs"]
mod serve_guard;
#[path = "e2e/serve_page.rs"]
mod serve_page;
#[path = "e2e/serve_proxy.rs"]
mod serve_proxy;
#[path = "e2e/service.rs"]
mod service;
#[path = "e2e/serving.rs"]
mod serving;
#[path = "e2e/shared_caches.rs"]
mod shared_caches;
#[path = "e2e/sources.rs"]
mod sources;
#[path = "e2e/verbs.rs"]
mod verbs;
#[path = "e2e/web.rs"]
mod web;
