//! The policies of the configuration file come into force: at the start, and whenever the file is read again.
//!
//! Must not know: how the file is read, when that is asked for.

use std::time::Duration;

use tracing::{error, info, warn};

use crate::app::{AppError, AppErrorKind, Running};
use crate::clock::{Clock, Timestamp};
use crate::config::{ConfigError, FilePolicy, Loaded};
use crate::event::PolicyId;
use crate::policy::{BookError, ChangeError, Origin, Policies, SyncError, SyncReport};
use crate::telemetry::ConfigReloaded;

impl Running {
    /// Puts the policies of a configuration that was `read` again in force, all of them or nothing, and says in the
    /// log what is different. `start` is the configuration that this process was built from: its other settings stay
    /// in force until a restart. A configuration with problems changes nothing.
    pub async fn reload(&self, start: &Loaded, read: Result<Loaded, ConfigError>) {
        let is_applied = match read {
            Ok(loaded) => self.apply(start, &loaded).await,
            Err(ConfigError { problems }) => {
                for problem in &problems {
                    error!(%problem, "the configuration is not taken");
                }
                false
            }
        };
        ConfigReloaded { is_applied, at: self.clock.wall() }.emit();
    }

    async fn apply(&self, start: &Loaded, loaded: &Loaded) -> bool {
        let drain = start.config.queue.drain;
        match sync(&self.policies, &loaded.config.policies, self.clock.now(), drain).await {
            Ok(report) => tell("the configuration was read again", &report),
            Err(AppError { detail, .. }) => {
                error!(problem = detail, "the configuration is not taken");
                return false;
            }
        }
        let differing = start.differing(loaded);
        if !differing.is_empty() {
            warn!(settings = differing.join(", "), "settings that differ come into force with a restart");
        }
        true
    }
}

/// Puts the policies of the configuration file in force at the start.
///
/// # Errors
/// [`AppErrorKind::Config`] names the policy that cannot be had; other kinds when the store refuses.
pub(super) async fn start(
    policies: &Policies,
    listed: &[FilePolicy],
    clock: &Clock,
    drain: Duration,
) -> Result<(), AppError> {
    let report = sync(policies, listed, clock.now(), drain).await?;
    if !report.is_empty() {
        tell("the limits of the configuration file have changed", &report);
    }
    ConfigReloaded { is_applied: true, at: clock.wall() }.emit();
    Ok(())
}

async fn sync(
    policies: &Policies,
    listed: &[FilePolicy],
    now: Timestamp,
    drain: Duration,
) -> Result<SyncReport, AppError> {
    let list: Vec<_> = listed.iter().map(|policy| (policy.name.clone(), policy.spec.clone())).collect();
    policies.change(|book| book.sync(&Origin::file(), &list, now, drain)).await.map_err(refused)
}

fn refused(error: ChangeError<SyncError>) -> AppError {
    match error {
        ChangeError::Refused(error) => {
            let way_out = match error.error {
                BookError::Exists => ", made elsewhere; give the one in the configuration file another name",
                BookError::NotFound | BookError::State(_) => "",
            };
            AppError { kind: AppErrorKind::Config, detail: format!("{error}{way_out}") }
        }
        ChangeError::Failed(error) => error.into(),
    }
}

fn tell(what: &str, report: &SyncReport) {
    let names = |ids: &[PolicyId]| ids.iter().map(PolicyId::as_str).collect::<Vec<_>>().join(", ");
    let SyncReport { added, changed, removed } = report;
    let (added, changed, removed) = (names(added), names(changed), names(removed));
    info!(added, changed, removed, "{what}");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::Value;

    use super::*;
    use crate::policy::testing::{Fault, TestDocuments, id, spec};

    const START: Timestamp = Timestamp::from_millis(1_000);
    const DRAIN: Duration = Duration::from_secs(60);

    fn listed(names: &[&str]) -> Vec<FilePolicy> {
        names.iter().map(|name| FilePolicy { name: id(name), spec: spec("https://h.org/*", 1.0) }).collect()
    }

    async fn opened(documents: &Arc<TestDocuments>, clock: &Clock) -> Policies {
        Policies::open(documents.clone(), clock.clone()).await.expect("opens")
    }

    fn in_force(policies: &Policies) -> Vec<PolicyId> {
        policies.runtime().policies().map(|policy| policy.id.clone()).collect()
    }

    #[tokio::test]
    async fn the_file_is_in_force_at_the_start_and_the_store_may_refuse_it() {
        let (documents, clock) = (Arc::new(TestDocuments::default()), Clock::manual(START));
        let policies = opened(&documents, &clock).await;
        documents.fail([Fault::Refuse]);
        let error = start(&policies, &listed(&["a"]), &clock, DRAIN).await.expect_err("refused");
        assert_ne!(error.kind, AppErrorKind::Config);
        start(&policies, &listed(&["a", "b"]), &clock, DRAIN).await.expect("in force");
        assert_eq!(in_force(&opened(&documents, &clock).await), [id("a"), id("b")], "after a restart too");
    }

    #[tokio::test]
    async fn a_name_of_another_origin_stops_the_start_and_is_named() {
        let (documents, clock) = (Arc::new(TestDocuments::default()), Clock::manual(START));
        let policies = opened(&documents, &clock).await;
        let taken = |book: &mut crate::policy::Book| book.create(id("taken"), Origin::new("x"), Value::Null);
        policies.change(taken).await.expect("free");
        let error = start(&policies, &listed(&["a", "taken"]), &clock, DRAIN).await.expect_err("taken");
        assert_eq!(error.kind, AppErrorKind::Config);
        assert!(error.detail.starts_with("policy \"taken\": "), "{error}");
        assert_eq!(in_force(&policies), [], "all or nothing");
    }
}
