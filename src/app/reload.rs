//! The policies of the configuration file become active: at the start, and whenever the file is read again.
//!
//! Must not know: how the file is read, when that is asked for.

use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};

use crate::app::live::Live;
use crate::app::{AppError, AppErrorKind, Running};
use crate::clock::{Clock, Timestamp};
use crate::config::{Config, ConfigError, FilePolicy, LoadedConfig};
use crate::event::PolicyId;
use crate::manage;
use crate::policy::{Book, BookError, ChangeError, Origin, Policies, SyncError, SyncReport, Wanted};
use crate::telemetry::ConfigReloaded;

impl Running {
    /// Applies the policies, the level of the log and the egress guard of a configuration that was `read` again, all of
    /// them or nothing, and says in the log what is different. `start` is the configuration that this process was built
    /// from: its other settings change with a restart only. A configuration with problems changes nothing; returns
    /// whether this one was applied.
    pub async fn reload(&self, start: &LoadedConfig, read: Result<LoadedConfig, ConfigError>) -> bool {
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
        is_applied
    }

    async fn apply(&self, start: &LoadedConfig, loaded: &LoadedConfig) -> bool {
        let drain = start.config.queue.drain;
        let applied = async {
            let listed = FileListing::of(&loaded.config)?;
            // Before the book is written: everything that may fail has succeeded by then, so that it is all or nothing.
            let prepared = self.live.prepare(&loaded.config).await?;
            let policies = self.policies.patient().bounded(start.config.manage.bounds);
            Ok::<_, AppError>((sync(&policies, &listed, self.clock.now(), drain).await?, prepared))
        };
        match applied.await {
            Ok((report, prepared)) => {
                let settings = self.live.put(prepared).join(", ");
                report.tell(&settings, "the configuration was read again");
            }
            Err(AppError { detail, .. }) => {
                error!(problem = detail, "the configuration is not taken");
                return false;
            }
        }
        let mut differing = start.differing(loaded);
        let is_listed = |setting: &str| listed_settings().any(|listed| listed == setting);
        // What has just become active needs no restart.
        differing.retain(|setting| !is_listed(setting) && !Live::SETTINGS.contains(setting));
        if !differing.is_empty() {
            warn!(settings = differing.join(", "), "settings that differ become active with a restart");
        }
        true
    }
}

/// The settings that list objects of dialects: they become active with the policies.
fn listed_settings() -> impl Iterator<Item = &'static str> {
    manage::all().iter().filter_map(|dialect| dialect.listed_in())
}

/// What the configuration file lists that can become active at any time.
pub(super) struct FileListing<'c> {
    policies: &'c [FilePolicy],
    objects: Vec<manage::Listed>,
}

/// What a configuration has changed in the policies and the objects of dialects.
struct Reports {
    policies: SyncReport,
    objects: Vec<SyncReport>,
}

impl<'c> FileListing<'c> {
    /// # Errors
    /// [`AppErrorKind::Config`] with all that is wrong with the objects of dialects.
    pub(super) fn of(config: &'c Config) -> Result<Self, AppError> {
        let listed = manage::all().iter().filter_map(|dialect| dialect.listed(&config.dialects).transpose());
        let objects = listed.collect::<Result<_, String>>();
        let objects = objects.map_err(|detail| AppError { kind: AppErrorKind::Config, detail })?;
        Ok(Self { policies: &config.policies, objects })
    }
}

/// Applies what the configuration file lists at the start.
///
/// # Errors
/// [`AppErrorKind::Config`] names the policy or object that cannot be applied; other kinds when the store refuses.
pub(super) async fn start(
    policies: &Policies,
    listed: &FileListing<'_>,
    clock: &Clock,
    drain: Duration,
) -> Result<(), AppError> {
    let reports = sync(policies, listed, clock.now(), drain).await?;
    if !reports.policies.is_empty() || reports.objects.iter().any(|report| !report.is_empty()) {
        reports.tell("", "the limits of the configuration file have changed");
    }
    ConfigReloaded { is_applied: true, at: clock.wall() }.emit();
    Ok(())
}

/// Applies the whole list in one change of the book, or nothing of it.
async fn sync(
    policies: &Policies,
    listed: &FileListing<'_>,
    now: Timestamp,
    drain: Duration,
) -> Result<Reports, AppError> {
    let wanted = |policy: &FilePolicy| (policy.name.clone(), Wanted::Active(Arc::clone(&policy.spec)));
    let list: Vec<_> = listed.policies.iter().map(wanted).collect();
    let edit = |book: &mut Book| {
        let synced = book.sync(&Origin::file(), &list, now, drain);
        let policies = synced.map_err(|error| {
            let owner = book.known(&error.policy).map(|policy| policy.origin().clone());
            Unlistable::Policy { error, owner }
        })?;
        let put = |of: &manage::Listed| {
            let refused = |reason| Unlistable::Object { setting: of.setting, reason };
            (of.put)(book, now, drain).map_err(refused)
        };
        let objects = listed.objects.iter().map(put).collect::<Result<_, _>>()?;
        Ok::<_, Unlistable>(Reports { policies, objects })
    };
    policies.change(edit).await.map_err(refused)
}

/// Why the list cannot be applied.
#[derive(Debug, thiserror::Error)]
enum Unlistable {
    #[error("{error}")]
    Policy {
        error: SyncError,
        /// Who has the policy that is in the way.
        owner: Option<Origin>,
    },
    #[error("{setting}: {reason}")]
    Object {
        /// The setting that lists it.
        setting: &'static str,
        /// Which one it is, and why.
        reason: String,
    },
}

fn refused(error: ChangeError<Unlistable>) -> AppError {
    match error {
        ChangeError::Refused(error) => {
            let way_out = match &error {
                Unlistable::Policy { error: SyncError { policy, error: BookError::Exists }, owner } => {
                    let by_api = owner.as_ref() == Some(&Origin::api());
                    let made = if by_api {
                        format!(
                            "by PUT /v1/policies/{policy}; so that the file takes the name over, start the daemon without \
                             this [[policy]] block if it does not run, send it DELETE /v1/policies/{policy}, put the block \
                             back and send SIGHUP; or"
                        )
                    } else {
                        "elsewhere;".to_owned()
                    };
                    format!(", made {made} give the one in the configuration file another name")
                }
                Unlistable::Policy { .. } | Unlistable::Object { .. } => String::new(),
            };
            AppError { kind: AppErrorKind::Config, detail: format!("{error}{way_out}") }
        }
        ChangeError::Failed(error) => error.into(),
    }
}

impl Reports {
    fn tell(&self, settings: &str, what: &str) {
        let names = |ids: &[PolicyId]| ids.iter().map(PolicyId::as_str).collect::<Vec<_>>().join(", ");
        let SyncReport { added, changed, removed } = &self.policies;
        let (added, changed, removed) = (names(added), names(changed), names(removed));
        // One object may be in the limits of many: how many limits differ is all there is to say.
        let differing = |of: &SyncReport| of.added.len() + of.changed.len() + of.removed.len();
        let limits_of_accounts: usize = self.objects.iter().map(differing).sum();
        info!(added, changed, removed, limits_of_accounts, settings, "{what}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manage::responsys::{Account, RawAccount, listed_accounts};
    use crate::policy::DRAIN_WINDOW;
    use crate::policy::testing::{Fault, TestDocuments, id, spec};

    const START: Timestamp = Timestamp::from_millis(1_000);
    const DRAIN: Duration = Duration::from_secs(60);

    fn listed(names: &[&str]) -> Vec<FilePolicy> {
        let policy = |name: &&str| FilePolicy { name: id(name), spec: spec("https://h.org/*", 1.0).into() };
        names.iter().map(policy).collect()
    }

    async fn start_with(policies: &Policies, names: &[&str], clock: &Clock) -> Result<(), AppError> {
        let listed = listed(names);
        start(policies, &FileListing { policies: &listed, objects: Vec::new() }, clock, DRAIN).await
    }

    async fn opened(documents: &Arc<TestDocuments>, clock: &Clock) -> Policies {
        Policies::open(documents.clone(), clock.clone()).await.expect("opens")
    }

    fn active(policies: &Policies) -> Vec<PolicyId> {
        policies.runtime().policies().map(|policy| policy.id.clone()).collect()
    }

    #[tokio::test]
    async fn the_file_is_active_at_the_start_and_the_store_may_refuse_it() {
        let (documents, clock) = (Arc::new(TestDocuments::default()), Clock::manual(START));
        let policies = opened(&documents, &clock).await;
        documents.fail([Fault::Refuse]);
        let error = start_with(&policies, &["a"], &clock).await.expect_err("refused");
        assert_ne!(error.kind, AppErrorKind::Config);
        start_with(&policies, &["a", "b"], &clock).await.expect("active");
        assert_eq!(active(&opened(&documents, &clock).await), [id("a"), id("b")], "after a restart too");
    }

    #[tokio::test]
    async fn accounts_become_active_with_the_policies_or_not_at_all() {
        let (documents, clock) = (Arc::new(TestDocuments::default()), Clock::manual(START));
        let policies = opened(&documents, &clock).await;
        let account = |name: &str| {
            let list = [(name.to_owned(), RawAccount::default())];
            vec![listed_accounts(Account::check_all(list).expect("valid"))]
        };
        let names = listed(&["a"]);
        let both = FileListing { policies: &names, objects: account("acme") };
        start(&policies, &both, &clock, DRAIN).await.expect("active");
        assert_eq!(active(&policies).len(), 1 + 90, "one for every function");
        let gone = FileListing { policies: &names, objects: vec![listed_accounts(Vec::new())] };
        let reports = sync(&policies, &gone, clock.now(), DRAIN).await.expect("active");
        assert!(reports.policies.is_empty());
        assert_eq!(reports.objects[0].removed.len(), 90);

        let taken =
            |book: &mut Book| book.rest(&Origin::new("x"), &id("responsys.login"), START, DRAIN_WINDOW);
        let policies = opened(&Arc::new(TestDocuments::default()), &clock).await;
        policies.change(taken).await.expect("free");
        let error = start(&policies, &both, &clock, DRAIN).await.expect_err("taken");
        assert_eq!(error.kind, AppErrorKind::Config);
        assert!(error.detail.starts_with("responsys.accounts: policy \"responsys.login\": "), "{error}");
        assert_eq!(active(&policies), [], "all or nothing");
    }

    #[tokio::test]
    async fn a_name_of_another_origin_stops_the_start_and_is_named() {
        let (documents, clock) = (Arc::new(TestDocuments::default()), Clock::manual(START));
        let policies = opened(&documents, &clock).await;
        let taken = |book: &mut Book| book.rest(&Origin::new("x"), &id("taken"), START, DRAIN_WINDOW);
        policies.change(taken).await.expect("free");
        let error = start_with(&policies, &["a", "taken"], &clock).await.expect_err("taken");
        assert_eq!(error.kind, AppErrorKind::Config);
        assert!(error.detail.starts_with("policy \"taken\": "), "{error}");
        assert_eq!(active(&policies), [], "all or nothing");
    }
}
