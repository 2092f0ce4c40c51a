//! File, environment and flags become one checked [`Config`].
//!
//! Every layer is turned into the same thing, a value with its place under a setting's name; the layers are
//! laid over each other, then every setting is checked, and all problems are reported together. The defaults
//! are the commented `defaults.toml` beside this file, so that text and program cannot drift.
//!
//! A setting of one room is parsed into that room's own type; the types here are for settings that several rooms use.
//!
//! Must not know: what the settings do.

mod blocks;
mod check;
mod cloudevents;
mod dialects;
mod endpoints;
mod environment;
mod error;
mod layers;
mod policies;
mod print;
mod secrets;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::delivery::Deadlines;
use crate::dispatch::{BreakerPolicy, DueShare, Endpoints, RetryPolicy};
use crate::event::{CanonicalUrl, Labels};
use crate::ingest::{Doomed, Target, Unmatched};
use crate::names::NameOptions;
use crate::policy::Bounds;
use crate::store::embedded::EmbeddedOptions;
use crate::telemetry::defect;
use crate::telemetry::logging::Format;
use crate::{manage, traces};

pub(crate) use error::{ConfigError, ConfigPlace, ConfigProblem};
pub use layers::{File, Flag, Inputs};
pub(crate) use policies::{FilePolicy, policy_block};

/// The commented defaults, as compiled in.
pub const DEFAULTS: &str = include_str!("defaults.toml");

/// Everything that can be set, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The section `[listen]`: address and bounds of the doors.
    pub listen: Listen,
    /// The section `[store]`: where it is and how it is run.
    pub store: Store,
    /// The section `[queue]`: lives and what is taken in.
    pub queue: Queue,
    /// The section `[dispatch]`: calls in flight and how they end.
    pub dispatch: Dispatch,
    /// `[retry]`; `cap` is not below `base`.
    pub retry: RetryPolicy,
    /// `[retry] max_share`: how far due events go ahead of those that were never tried.
    pub due_share: DueShare,
    /// `dispatch.adaptive_rate`: whether lanes whose endpoint answers 429 or 503 are slowed down.
    pub adaptive_rate: bool,
    /// `[breaker]`; `max_hold` is not below `min_hold`.
    pub breaker: BreakerPolicy,
    /// `[delivery]`; `total` is not below the other two.
    pub delivery: Deadlines,
    /// The section `[names]`: how names are resolved.
    pub names: NameOptions,
    /// The section `[egress]`: which private addresses may be called.
    pub egress: Egress,
    /// `[labels]`: what an event without the label counts as; only labels that have a default are listed.
    pub labels: Labels,
    /// `[labels] strict`: with it, the only labels that events may carry and policies may name.
    pub known_labels: Option<BTreeSet<String>>,
    /// The sections of the dialects, and what `[manage]` and others say to all of them.
    pub dialects: manage::Options,
    /// `[manage]`, without what is said to the dialects.
    pub manage: Manage,
    /// The section `[metrics]`: how many policies have series.
    pub metrics: Metrics,
    /// `[outcomes]`: where the ends of events are posted.
    pub outcomes: OutcomePosts,
    /// `[traces]`: export by OTLP, with the feature `otel` only. The service's name is not empty.
    pub traces: traces::TraceOptions,
    /// The section `[log]`: level and form of log lines.
    pub log: Log,
    /// `[[policy]]`: the limits that the file itself sets, in its order; their names are unique.
    pub policies: Vec<FilePolicy>,
    /// `[[cloudevents]]`: which calls are made for the CloudEvents of which sources; no two are for the same.
    pub cloudevents: Vec<Target>,
    /// `[[endpoint]]`: what holds for the calls to which urls.
    pub endpoints: Endpoints,
}

/// Where the HTTP doors listen, and their bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// A loopback address; port 0 takes any free one.
    pub address: SocketAddr,
    /// Further names that the Host header may carry, in lower case.
    pub hosts: Vec<String>,
    /// Most connections at once that serve every request.
    pub max_connections: usize,
    /// Most connections beyond those, for everything but events and their ends.
    pub reserved_connections: usize,
    /// Most connections of one address other than loopback.
    pub max_connections_per_peer: usize,
    /// Slowest pace of bodies and of clients that take an answer.
    pub min_bytes_per_second: NonZeroU64,
}

/// Where the ends of events are posted, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutcomePosts {
    /// Where they are posted; `None` for nowhere.
    pub url: Option<CanonicalUrl>,
    /// Posts per second at most.
    pub pace: u32,
    /// Ends of one post at most.
    pub batch: usize,
}

impl OutcomePosts {
    /// The least time between two posts.
    #[must_use]
    pub fn every(&self) -> Duration {
        Duration::from_secs(1) / self.pace.max(1)
    }
}

/// Where the store is, and how it is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// The data directory; it is made where it is missing.
    pub data_dir: PathBuf,
    /// How long a request waits for the store.
    pub append_timeout: Duration,
    /// Where the keys are by which records are encrypted, if they are. It is read by whoever opens the store.
    pub key_file: Option<KeyFile>,
    /// The rest; what no setting says has its default.
    pub embedded: EmbeddedOptions,
}

/// A file of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    /// As it was written, for people.
    pub place: String,
    /// Its path; `None` for a credential where systemd has handed over none.
    pub path: Option<PathBuf>,
    /// systemd hands it over, and guards it in its own way.
    pub is_credential: bool,
}

/// What the queue takes in, and how long it keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// The longest life of an event.
    pub ttl: Duration,
    /// How long an undeployed policy drains.
    pub drain: Duration,
    /// What becomes of an event that no deployed policy matches.
    pub unmatched: Unmatched,
    /// What becomes of an event that would expire before its start at the present limits.
    pub on_doomed: Doomed,
}

/// How many calls there may be, and how they end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispatch {
    /// Most calls in flight over all lanes.
    pub max_inflight: NonZeroUsize,
    /// How long calls under way may go on when tidegate is asked to stop.
    pub shutdown_grace: Duration,
}

/// What the egress guard lets through beside public addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Egress {
    /// Blocks that are allowed although they are private.
    pub allow: Vec<IpNet>,
}

/// What is measured, and how finely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metrics {
    /// Policies that have series of their own.
    pub max_policies: NonZeroUsize,
}

/// What the management of policies has to keep to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manage {
    /// Whether calls over a dialect's limit are turned away as the system that the limit comes from would, instead of
    /// by problem documents.
    pub refuse_as_told: bool,
    /// How much the dialects and the configuration file may add to the policy book.
    pub bounds: Bounds,
}

/// Which log lines are written, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// In which form lines are written.
    pub format: Format,
}

/// A checked configuration that remembers where its values come from.
#[derive(Debug, Clone)]
pub struct LoadedConfig {
    /// The checked values of all settings.
    pub config: Config,
    layers: layers::Layers,
}

impl Config {
    /// Reads all layers and checks them.
    ///
    /// # Errors
    /// [`ConfigError`] lists every problem with its place.
    pub fn load(inputs: &Inputs) -> Result<LoadedConfig, ConfigError> {
        Self::load_and_keep(true, inputs)
    }

    /// The same without how the policies are written, which takes more memory than the policies themselves:
    /// [`LoadedConfig::to_toml`] does not show them. Only here the files of secrets are read, which those who ask a
    /// running daemon need not be allowed to.
    ///
    /// # Errors
    /// [`ConfigError`] lists every problem with its place.
    pub fn load_to_run(inputs: &Inputs) -> Result<LoadedConfig, ConfigError> {
        Self::load_and_keep(false, inputs)
    }

    fn load_and_keep(keep_blocks: bool, inputs: &Inputs) -> Result<LoadedConfig, ConfigError> {
        let mut problems = Vec::new();
        let mut layers = layers::Layers::read(inputs, &mut problems);
        // Also after problems of reading: those of single values are then reported together with them.
        let config = check::check(&mut layers, keep_blocks, &mut problems);
        match config {
            // A value may have been made although another one is wrong: all have to be right.
            Some(config) if problems.is_empty() => Ok(LoadedConfig { config, layers }),
            _ => {
                defect!(unless !problems.is_empty(), "a configuration that is refused without a reason");
                // A stable order: problems at one place stay in the order of the checks.
                problems.sort_by(|a, b| a.place.cmp(&b.place));
                Err(ConfigError { problems })
            }
        }
    }
}

impl LoadedConfig {
    /// The configuration in use as TOML, each value with its origin.
    #[must_use]
    pub fn to_toml(&self) -> String {
        print::to_toml(&self.layers)
    }

    /// Variables that were passed over and look as if they were meant for tidegate; none is an error.
    #[must_use]
    pub fn warnings(&self) -> &[ConfigProblem] {
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
