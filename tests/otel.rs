//! What the program does of traces when it is built with the feature `otel`: a test program of its own, so that the others need
//! not be built with that feature as well.

#![cfg(feature = "otel")]
#![expect(clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

#[path = "it/traces.rs"]
mod traces;
#[path = "it/world/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the other tests use more of it")]
mod world;
