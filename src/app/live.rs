//! What becomes active without a restart, beside the policies: the level of the log, the egress guard, the targets of
//! CloudEvents, what is set for endpoints and the keys of the store.
//!
//! Must not know: who asks for it, how the configuration is read.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tracing::warn;

use crate::app::AppError;
use crate::app::keys;
use crate::clock::{Clock, Timestamp};
use crate::config::{Config, KeyFile};
use crate::delivery::{Credentials, Deliver, EgressGuard, Turnover};
use crate::dispatch::{Endpoints, EndpointsInForce};
use crate::ingest::{EgressCheck, EndpointOf, Targets};
use crate::ops::DeliveryState;
use crate::store::embedded::{KeyRing, Keys};
use crate::telemetry::logging;

/// The setting of the log's level.
const LEVEL: &str = "log.level";
/// The setting of the egress guard.
const EGRESS: &str = "egress.allow";
/// The blocks of the configuration file, which are no settings.
const TARGETS: &str = "[[cloudevents]]";
const ENDPOINTS: &str = "[[endpoint]]";
/// The section, for all calls to which no block says otherwise.
const RETRY: &str = "[retry]";
/// What stands in a file whose place is a setting that needs a restart.
const KEYS: &str = "the keys of store.key_file";

/// What applies at present. Clones share it.
#[derive(Clone)]
pub(super) struct Live {
    deliver: Arc<dyn Deliver>,
    egress: Arc<ArcSwap<EgressGuard>>,
    targets: Arc<ArcSwap<Targets>>,
    endpoints: EndpointsInForce,
    /// The file that was set at the start: another one needs a restart.
    key_file: Option<KeyFile>,
    keys: Keys,
}

/// What is about to become active; from here on nothing of it can fail.
pub(super) struct Prepared {
    level: String,
    egress: Option<(EgressGuard, Turnover)>,
    targets: Targets,
    endpoints: Endpoints,
    keys: KeyRing,
}

impl Live {
    /// Names of the settings that apply without a restart.
    pub(super) const SETTINGS: [&str; 5] =
        [EGRESS, LEVEL, "retry.min_delay_ms", "retry.max_delay_ms", "retry.max_attempts"];

    /// `deliver` goes by the guard of `config`.
    pub(super) fn new(config: &Config, deliver: Arc<dyn Deliver>) -> Self {
        let guard = EgressGuard::new(&config.egress.allow);
        let targets = Arc::new(ArcSwap::from_pointee(targets(config)));
        let endpoints = Arc::new(ArcSwap::from_pointee(config.endpoints.clone()));
        let (key_file, keys) = (config.store.key_file.clone(), config.store.embedded.keys.clone());
        Self { deliver, egress: Arc::new(ArcSwap::from_pointee(guard)), targets, endpoints, key_file, keys }
    }

    /// What is called for the CloudEvents of which sources.
    pub(super) fn targets(&self) -> Arc<ArcSwap<Targets>> {
        Arc::clone(&self.targets)
    }

    /// What is set for endpoints.
    pub(super) fn endpoints(&self) -> EndpointsInForce {
        Arc::clone(&self.endpoints)
    }

    /// Names what is set for the endpoint of a url when it is asked.
    pub(super) fn endpoint_of(&self) -> EndpointOf {
        let endpoints = self.endpoints();
        Arc::new(move |url| endpoints.load().find(url).map(|endpoint| endpoint.name.to_string()))
    }

    /// Warns of proxies that find the addresses of endpoints themselves, where one is set when it is asked.
    pub(super) fn proxy_state(&self) -> DeliveryState {
        let endpoints = self.endpoints();
        Arc::new(move || {
            let endpoints = endpoints.load();
            let trusting = endpoints.list().iter().filter_map(|endpoint| {
                let proxy = endpoint.calls.proxy.as_ref().filter(|proxy| proxy.resolves)?;
                Some(format!("{} through {}", endpoint.name, proxy.address()))
            });
            let trusting: Vec<String> = trusting.collect();
            let warning =
                "warning: the guard does not judge the addresses of calls through proxies that resolve names";
            (!trusting.is_empty()).then(|| format!("{warning}: {}", trusting.join(", ")))
        })
    }

    /// Tells of endpoints whose calls wait for a token, or whose token is not renewed; `None` where none needs one.
    pub(super) fn token_state(&self, clock: &Clock) -> DeliveryState {
        let (endpoints, clock) = (self.endpoints(), clock.clone());
        Arc::new(move || {
            let endpoints = endpoints.load();
            if !endpoints.have_credentials() {
                return None;
            }
            let now = clock.now();
            let problems: Vec<String> =
                credentials(&endpoints).filter_map(|credentials| credentials.problem(now)).collect();
            Some(match problems.is_empty() {
                true => "no endpoint lacks a token".to_owned(),
                false => format!("warning: {}", problems.join("; ")),
            })
        })
    }

    /// How many endpoints get no token at `now`, so that their calls wait.
    pub(super) fn without_token(&self, now: Timestamp) -> u32 {
        let waiting =
            credentials(&self.endpoints.load()).filter(|credentials| credentials.is_missing(now)).count();
        u32::try_from(waiting).unwrap_or(u32::MAX)
    }

    /// Has connections given up that have reached the age that is set for their endpoint.
    pub(super) async fn renew_connections(&self) {
        let endpoints = self.endpoints.load_full();
        let ages = endpoints.list().iter().filter_map(|endpoint| endpoint.calls.connection_max_age);
        let ages: BTreeSet<Duration> = ages.collect();
        if ages.is_empty() {
            return;
        }
        // It may read certificates, which may be on a slow disk.
        let deliver = Arc::clone(&self.deliver);
        match tokio::task::spawn_blocking(move || deliver.renew(&ages)).await {
            Ok(Ok(Some(turnover))) => turnover(),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => warn!(%error, "connections are kept beyond their age"),
            Err(error) => warn!(%error, "connections are kept beyond their age"),
        }
    }

    /// Judges literal addresses by the guard that is active when it is asked.
    pub(super) fn egress_check(&self) -> EgressCheck {
        let guard = Arc::clone(&self.egress);
        Arc::new(move |url| guard.load().check_literal(url).map_err(|blocked| blocked.to_string()))
    }

    /// # Errors
    /// [`AppError`] when calls cannot be made under the new guard; nothing has changed then.
    pub(super) async fn prepare(&self, config: &Config) -> Result<Prepared, AppError> {
        let guard = EgressGuard::new(&config.egress.allow);
        // Where the guard is the same the client stays, with its open connections.
        let egress = if **self.egress.load() == guard { None } else { Some(self.turnover(guard).await?) };
        let (level, endpoints) = (config.log.level.clone(), config.endpoints.clone());
        let keys = self.read_keys().await?;
        Ok(Prepared { level, egress, targets: targets(config), endpoints, keys })
    }

    /// The file may be on a slow disk.
    async fn read_keys(&self) -> Result<KeyRing, AppError> {
        let file = self.key_file.clone();
        let read = tokio::task::spawn_blocking(move || keys::read(file.as_ref())).await;
        read.map_err(|_| AppError::other("the thread that reads the keys ended"))?
    }

    /// Reads certificates, which may be on a slow disk.
    async fn turnover(&self, guard: EgressGuard) -> Result<(EgressGuard, Turnover), AppError> {
        let (deliver, under) = (Arc::clone(&self.deliver), guard.clone());
        let prepared = tokio::task::spawn_blocking(move || deliver.under(under)).await;
        let ended = |_| AppError::other("the thread that prepares the client ended".to_owned());
        Ok((guard, prepared.map_err(ended)??))
    }

    /// Returns the settings that have changed.
    pub(super) fn put(&self, prepared: Prepared) -> Vec<&'static str> {
        let mut changed = Vec::new();
        if let Some((guard, turnover)) = prepared.egress {
            // The client first: it has the last word, and must not go on calling for a moment what the new guard
            // denies.
            turnover();
            self.egress.store(Arc::new(guard));
            changed.push(EGRESS);
        }
        if **self.targets.load() != prepared.targets {
            self.targets.store(Arc::new(prepared.targets));
            changed.push(TARGETS);
        }
        let before = self.endpoints.load_full();
        if *before != prepared.endpoints {
            // A token that was had by other secrets is not used any more.
            prepared.endpoints.go_on_from(&before);
            let is_retry_other = before.retry_for_all() != prepared.endpoints.retry_for_all();
            changed.extend((before.list() != prepared.endpoints.list()).then_some(ENDPOINTS));
            changed.extend(is_retry_other.then_some(RETRY));
            self.endpoints.store(Arc::new(prepared.endpoints));
        }
        if *self.keys.ring() != prepared.keys {
            self.keys.replace(prepared.keys);
            changed.push(KEYS);
        }
        match logging::set_level(&prepared.level) {
            Ok(true) => changed.push(LEVEL),
            Ok(false) => {}
            // The configuration knows only levels that exist.
            Err(error) => warn!(%error, "the level of the log stays as it is"),
        }
        changed
    }
}

fn credentials(endpoints: &Endpoints) -> impl Iterator<Item = &Arc<Credentials>> {
    endpoints.list().iter().filter_map(|endpoint| endpoint.calls.credentials.as_ref())
}

fn targets(config: &Config) -> Targets {
    Targets::new(config.cloudevents.iter().cloned())
}
