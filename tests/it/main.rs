//! The whole binary over real sockets, files and kills.

#![expect(clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod basics;
mod crash;
mod order;
mod power;
mod recovery;
mod world;
