//! tidegate: a single-binary event-queue dispatcher with a persistent delay queue. This is the map of its code.
//!
#![doc = include_str!("architecture.md")]
//!
#![doc = include_str!("glossary.md")]
#![cfg_attr(
    not(feature = "testkit"),
    expect(
        unreachable_pub,
        reason = "what the testkit exports is `pub`, and without it nobody is there to reach it"
    )
)]

mod app;
pub mod cli;
mod clock;
mod config;
mod delivery;
mod dispatch;
mod event;
mod ingest;
mod limit;
mod manage;
mod manual;
mod names;
mod ops;
mod policy;
mod problem;
mod queue;
mod store;
mod telemetry;
#[cfg(feature = "testkit")]
pub mod testkit;
mod traces;
