//! tidegate: a single-binary event-queue dispatcher with a persistent delay queue. This is the map of its code.
//!
#![doc = include_str!("architecture.md")]
//!
#![doc = include_str!("glossary.md")]

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod dispatch;
pub mod event;
pub mod ingest;
pub mod limit;
pub mod manage;
pub mod manual;
pub mod names;
pub mod ops;
pub mod policy;
pub mod problem;
pub mod queue;
pub mod store;
pub mod telemetry;
pub mod traces;
