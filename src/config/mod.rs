//! File, environment and flags become one checked [`Config`].
//!
//! Every layer is turned into the same thing, a value with its place under a setting's name; the layers are
//! laid over each other, then every setting is checked, and all problems are reported together. The defaults
//! are the commented `defaults.toml` beside this file, so that text and program cannot drift.
//!
//! Must not know: what the settings do.

mod check;
mod cloudevents;
pub mod dialects;
mod environment;
mod error;
mod layers;
mod policies;
mod print;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::event::CanonicalUrl;

pub use cloudevents::CloudEventsTarget;
pub use error::{ConfigError, Place, Problem};
pub use layers::{File, Flag, Inputs};
pub use policies::{FilePolicy, policy_block};

/// The commented defaults, as compiled in.
pub const DEFAULTS: &str = include_str!("defaults.toml");

/// Everything that can be set, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[listen]`
    pub listen: Listen,
    /// `[store]`
    pub store: Store,
    /// `[queue]`
    pub queue: Queue,
    /// `[dispatch]`
    pub dispatch: Dispatch,
    /// `[retry]`
    pub retry: Retry,
    /// `[breaker]`
    pub breaker: Breaker,
    /// `[delivery]`
    pub delivery: Delivery,
    /// `[names]`
    pub names: Names,
    /// `[egress]`
    pub egress: Egress,
    /// `[labels]`: what an event without the label counts as; only labels that have a default are listed.
    pub labels: BTreeMap<String, String>,
    /// `[labels] strict`: with it, the only labels that events may carry and policies may name.
    pub known_labels: Option<BTreeSet<String>>,
    /// The sections of the dialects.
    pub dialects: dialects::Dialects,
    /// `[manage]`
    pub manage: Manage,
    /// `[metrics]`
    pub metrics: Metrics,
    /// `[traces]`: export by OTLP, with the feature `otel` only
    pub traces: Traces,
    /// `[log]`
    pub log: Log,
    /// `[[policy]]`: the limits that the file itself sets, in its order; their names are unique.
    pub policies: Vec<FilePolicy>,
    /// `[[cloudevents]]`: which calls are made for the CloudEvents of which sources; no two are for the same.
    pub cloudevents: Vec<CloudEventsTarget>,
}

/// Where the HTTP doors listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// A loopback address; port 0 takes any free one.
    pub address: SocketAddr,
    /// Further names that the Host header may carry, in lower case.
    pub hosts: Vec<String>,
    /// Most connections at once that serve every request.
    pub max_connections: usize,
    /// Most connections beyond those, for everything but events.
    pub reserved_connections: usize,
    /// Most connections of one address other than loopback.
    pub max_connections_per_peer: usize,
    /// Slowest pace of bodies and of clients that take an answer.
    pub min_bytes_per_second: NonZeroU64,
}

/// The embedded store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// The data directory.
    pub data_dir: PathBuf,
    /// Size at which a journal segment is closed.
    pub segment_bytes: NonZeroU64,
    /// Age at which a journal segment is closed.
    pub segment_age: Duration,
    /// How fast waiting events are read in search of damage; 0 for not at all.
    pub scrub_bytes_per_second: u64,
    /// Free space below which events are refused.
    pub min_free_bytes: u64,
    /// How long a request waits for the store.
    pub append_timeout: Duration,
    /// How long dead letters are kept.
    pub dead_letter_retention: Duration,
    /// Where the highest epoch of the data directory is kept as well.
    pub epoch_file: Option<PathBuf>,
}

/// The queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// The longest life of an event.
    pub ttl: Duration,
    /// How long an undeployed policy drains.
    pub drain: Duration,
    /// What becomes of an event without a policy.
    pub unmatched: Unmatched,
    /// What becomes of an event that would expire before its start.
    pub on_doomed: Doomed,
}

/// What becomes of an event that would expire before its start at the present limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doomed {
    /// Taken in.
    Accept,
    /// Refused with 429.
    Refuse,
}

/// What becomes of an event that no deployed policy matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmatched {
    /// Refused with 422.
    Refuse,
    /// Sent without limits.
    Pass,
}

/// The dispatcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispatch {
    /// Most calls in flight.
    pub max_inflight: NonZeroUsize,
    /// How long calls under way may go on when tidegate is asked to stop.
    pub shutdown_grace: Duration,
}

/// Retries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// The first step of the backoff.
    pub min_delay: Duration,
    /// Its cap; not below `min_delay`.
    pub max_delay: Duration,
    /// Attempts before an entry is dead.
    pub max_attempts: NonZeroU16,
}

/// Holding lanes whose endpoint fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    /// Failures in a row after which a lane is held; 0 means never.
    pub failures: u32,
    /// The first hold.
    pub min_hold: Duration,
    /// The longest hold; not below `min_hold`.
    pub max_hold: Duration,
}

/// Deadlines of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Until the connection stands.
    pub connect_timeout: Duration,
    /// Until the head of the answer is there.
    pub head_timeout: Duration,
    /// The whole call; not below the other two.
    pub total_timeout: Duration,
}

/// How names are resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The longest for one name.
    pub timeout: Duration,
    /// Names that are asked for at the same time.
    pub max_questions: NonZeroUsize,
    /// The longest that addresses are kept, whatever their TTL.
    pub max_ttl: Duration,
}

/// The egress guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Egress {
    /// Blocks that are allowed although they are private.
    pub allow: Vec<IpNet>,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metrics {
    /// Policies that have series of their own.
    pub max_policies: NonZeroUsize,
}

/// Whether and where spans of events are exported.
#[derive(Debug, Clone, PartialEq)]
pub struct Traces {
    /// Where they go; `None` without the feature `otel`.
    pub endpoint: Option<CanonicalUrl>,
    /// Headers of each export.
    pub headers_file: Option<PathBuf>,
    /// What they say whose they are; not empty.
    pub service_name: String,
    /// Which share of the events without a `traceparent` begins a trace, from 0 to 1.
    pub sample_ratio: f64,
}

/// The management dialects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manage {
    /// Whether the dialects' mandatory headers are mandatory.
    pub require_headers: bool,
    /// Whether configs with semantic faults are refused instead of stored.
    pub reject_invalid: bool,
    /// Whether the throttling dialect's `error` is an object instead of JSON text.
    pub error_as_object: bool,
    /// How calls over a dialect's limits are turned away.
    pub refusals: Refusals,
    /// Most policies.
    pub max_policies: NonZeroUsize,
    /// Most policies of one dialect, or of the configuration file.
    pub max_policies_per_dialect: NonZeroUsize,
    /// The sandboxes that exist; names and ids are unique.
    pub sandboxes: Vec<Sandbox>,
}

/// How calls over a dialect's limits are turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusals {
    /// As problem documents.
    Uniform,
    /// As the system that the limit comes from would.
    Dialect,
}

/// One sandbox.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    /// Its lower-case name.
    pub name: String,
    /// Its UUID.
    pub id: String,
    /// Whether throttling configs may live in it.
    pub production: bool,
}

/// Log lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Fields of the journal under systemd, human on a terminal, JSON otherwise.
    Auto,
    /// For eyes.
    Human,
    /// One JSON object per line.
    Json,
    /// Entries of the system's journal.
    Journald,
}

/// A checked configuration that remembers where its values come from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    layers: layers::Layers,
}

impl Config {
    /// Reads all layers and checks them.
    ///
    /// # Errors
    /// [`ConfigError`] lists every problem with its place.
    pub fn load(inputs: &Inputs) -> Result<Loaded, ConfigError> {
        Self::load_and_keep(true, inputs)
    }

    /// The same without how the policies are written, which takes more memory than the policies themselves:
    /// [`Loaded::to_toml`] does not show them.
    ///
    /// # Errors
    /// [`ConfigError`] lists every problem with its place.
    pub fn load_to_run(inputs: &Inputs) -> Result<Loaded, ConfigError> {
        Self::load_and_keep(false, inputs)
    }

    fn load_and_keep(keep_blocks: bool, inputs: &Inputs) -> Result<Loaded, ConfigError> {
        let mut problems = Vec::new();
        let mut layers = layers::Layers::read(inputs, &mut problems);
        let config = check::check(&mut layers, keep_blocks, &inputs.labels, &mut problems);
        match config {
            Some(config) if problems.is_empty() => Ok(Loaded { config, layers }),
            _ => {
                problems.sort_by(|a, b| a.place.cmp(&b.place));
                Err(ConfigError { problems })
            }
        }
    }
}

impl Loaded {
    /// The configuration in use as TOML, each value with its origin.
    #[must_use]
    pub fn to_toml(&self) -> String {
        print::to_toml(&self.layers)
    }

    /// Variables that were passed over and look as if they were meant for tidegate; none is an error.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        self.layers.warnings()
    }

    /// The settings that are given otherwise in `other`, as `section.key`. Policies are no settings.
    #[must_use]
    pub fn differing(&self, other: &Self) -> Vec<&str> {
        self.layers.differing(&other.layers)
    }
}

#[cfg(test)]
mod tests;
