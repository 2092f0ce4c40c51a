//! How many files and sockets the process may have open, and how they are shared out: the limit is raised as far as it
//! goes, and what connections, calls and names may take of it never touches what the store needs.
//!
//! | share | of the limit |
//! |---|---|
//! | the process itself and the store | 32 that stay open, one for each segment kept open for reading (a 16th of the limit, 4 to 64), spare ones (a 32nd, 8 to 16) |
//! | names | an 8th of the rest, 6 for each name that is asked for at a time |
//! | connections of the doors | three 8ths of the rest |
//! | calls | what is left: three quarters for calls in flight, one for idle connections of eight hosts; a connection is idle for a few seconds only |
//!
//! A share that is larger than what is configured leaves the difference to the calls.
//!
//! Must not know: what the parts do with their shares.

use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

use crate::app::AppError;
use crate::config::Config;
use crate::delivery::DeliveryOptions;
use crate::telemetry::{DescriptorShortage, DescriptorsAllotted, defect};

/// What is open at all times: standard streams, event loop, locks, index, journals, listening socket.
const OWN: u64 = 32;
/// Sockets that one name may take.
const PER_NAME: u64 = 6;
/// Hosts that have idle connections at the same time.
const IDLE_HOSTS: u64 = 8;
/// The least that connections, calls and names can do with.
const LEAST_REST: u64 = 16;
/// The lowest limit under which everything works: [`OWN`], the least of the store, [`LEAST_REST`].
const LEAST_LIMIT: u64 = OWN + 4 + 8 + LEAST_REST;

/// The soft limit on open descriptors, at the start and now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DescriptorLimit {
    /// The soft limit with which the process was started.
    found: u64,
    /// The one that it has now; the same where it could not be raised.
    pub(super) now: u64,
}

/// Raises the soft limit to the hard one, the first time that it is called, and returns what came of it.
pub(super) fn raise() -> DescriptorLimit {
    // Once only: a second call would find the raised limit and report it as the one of the start.
    static RAISED: OnceLock<DescriptorLimit> = OnceLock::new();
    *RAISED.get_or_init(|| {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        // `None` is no limit at all.
        let (found, most) = (current.unwrap_or(u64::MAX), maximum.unwrap_or(u64::MAX));
        if found >= most {
            return DescriptorLimit { found, now: found };
        }
        match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
            Ok(()) => DescriptorLimit { found, now: most },
            Err(error) => {
                warn!(%error, found, most, "the limit on open files could not be raised");
                DescriptorLimit { found, now: found }
            }
        }
    })
}

/// What each part of the process may take of the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DescriptorShares {
    /// Segments that the store keeps open for reading.
    pub(super) open_segments: usize,
    /// Descriptors that the store keeps spare.
    pub(super) spare: usize,
    /// Names asked for at a time.
    pub(super) questions: NonZeroUsize,
    /// Connections of the doors for every request.
    pub(super) connections: usize,
    /// Connections beyond those, for every request but those for events.
    pub(super) reserved: usize,
    /// Calls that may be in flight at once.
    pub(super) inflight: NonZeroUsize,
    /// Idle connections kept for each host; none under a very small limit.
    pub(super) idle_per_host: usize,
}

impl DescriptorShares {
    /// The shares of a process that runs this configuration, under its present limit.
    pub(super) fn of(config: &Config) -> Self {
        Self::under(raise().now, config)
    }

    fn under(limit: u64, config: &Config) -> Self {
        let (open_segments, spare) = ((limit / 16).clamp(4, 64), (limit / 32).clamp(8, 16));
        // A limit that is too low for this is refused by `check`; the shares stay above zero even so.
        let rest = limit.saturating_sub(OWN + open_segments + spare).max(LEAST_REST);
        let wanted = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let questions = wanted(config.names.max_questions.get()).min((rest / 8 / PER_NAME).max(1));
        let (ordinary, reserved) = (config.listen.max_connections, config.listen.reserved_connections);
        let connections = wanted(ordinary).saturating_add(wanted(reserved)).min(rest / 8 * 3);
        // At least one of each; the reserve is a quarter at most.
        let reserved = wanted(reserved).min((connections / 4).max(1));
        // A quarter of at least four.
        let calls = rest.saturating_sub(questions * PER_NAME + connections).max(4);
        let inflight = wanted(config.dispatch.max_inflight.get()).min(calls - calls / 4);
        defect!(unless reserved <= connections && inflight <= calls, "a share that is larger than its whole");
        let size = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        // The client keeps no more than these for a host: further ones would be set aside for nothing.
        let most_idle = DeliveryOptions::default().pool_max_idle_per_host;
        Self {
            open_segments: size(open_segments),
            spare: size(spare),
            questions: at_least_one(size(questions)),
            connections: size(connections.saturating_sub(reserved).max(1)),
            reserved: size(reserved),
            inflight: at_least_one(size(inflight)),
            idle_per_host: size((calls - inflight) / IDLE_HOSTS).min(most_idle),
        }
    }

    /// Settings whose values do not fit, with the value configured and the one that is used.
    fn lowered(&self, config: &Config) -> Vec<(&'static str, usize, usize)> {
        let settings = [
            ("listen.max_connections", config.listen.max_connections, self.connections),
            ("listen.reserved_connections", config.listen.reserved_connections, self.reserved),
            ("dispatch.max_inflight", config.dispatch.max_inflight.get(), self.inflight.get()),
            ("names.max_questions", config.names.max_questions.get(), self.questions.get()),
        ];
        settings.into_iter().filter(|(_, configured, used)| used < configured).collect()
    }
}

fn at_least_one(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN)
}

/// Refuses a limit under which nothing works.
///
/// # Errors
/// [`AppError`] that names the limit and what to set.
pub(super) fn check() -> Result<(), AppError> {
    let DescriptorLimit { now, .. } = raise();
    if now >= LEAST_LIMIT {
        return Ok(());
    }
    Err(AppError::other(format!(
        "the limit on open files is {now}; at least {LEAST_LIMIT} are needed, and 16384 or more for many connections and \
         calls: raise it (ulimit -n, LimitNOFILE= of the unit)"
    )))
}

/// Logs and counts how the limit is shared out, and returns it as a sentence for the readiness probe.
pub(super) fn report(shares: &DescriptorShares, config: &Config) -> Arc<str> {
    let DescriptorLimit { found, now } = raise();
    let lowered = shares.lowered(config);
    info!(limit = now, found, is_raised = now > found, ?shares, "descriptors");
    let lowered: Vec<String> = lowered
        .iter()
        .map(|(name, configured, used)| format!("{name} {used} instead of {configured}"))
        .collect();
    let lowered = lowered.join(", ");
    if !lowered.is_empty() {
        warn!(
            limit = now,
            lowered,
            "settings are lowered to what the limit on open files allows; raise it with LimitNOFILE= of the unit"
        );
    }
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    for (used_for, count) in [
        ("store", OWN + count(shares.open_segments) + count(shares.spare)),
        ("names", count(shares.questions.get()) * PER_NAME),
        ("connections", count(shares.connections) + count(shares.reserved)),
        ("calls", count(shares.inflight.get()) + count(shares.idle_per_host) * IDLE_HOSTS),
    ] {
        DescriptorsAllotted { used_for, count }.emit();
    }
    for at in ["accept", "store"] {
        // At zero from the start on, so that the first shortage is seen as an increase.
        DescriptorShortage { at }.show();
    }
    let sentence = if lowered.is_empty() {
        format!("the limit on open files is {now}, all settings fit")
    } else {
        format!("the limit on open files is {now}: {lowered}; raise it with LimitNOFILE= of the unit")
    };
    sentence.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{File, Inputs};

    fn config() -> Config {
        let inputs = Inputs { file: File::Absent, ..Inputs::default() };
        Config::load(&inputs).expect("valid").config
    }

    /// What the shares add up to.
    fn sum(shares: &DescriptorShares) -> u64 {
        let parts = [
            shares.open_segments,
            shares.spare,
            shares.questions.get() * 6,
            shares.connections,
            shares.reserved,
            shares.inflight.get(),
            shares.idle_per_host * 8,
        ];
        OWN + parts.iter().sum::<usize>() as u64
    }

    #[test]
    fn the_shares_never_exceed_the_limit_and_nothing_goes_without() {
        let config = config();
        for limit in (LEAST_LIMIT..70_000).chain([524_288, 1 << 30, u64::MAX]) {
            let shares = DescriptorShares::under(limit, &config);
            assert!(sum(&shares) <= limit, "{limit}: {shares:?}");
            let each = [shares.connections, shares.reserved, shares.inflight.get()];
            assert!(each.iter().all(|count| *count > 0), "{limit}: {shares:?}");
        }
        let below = DescriptorShares::under(LEAST_LIMIT - 4, &config);
        assert!(sum(&below) > LEAST_LIMIT - 4, "the control: there the least does not fit");
    }

    #[test]
    fn what_does_not_fit_is_lowered_and_named_and_what_fits_is_not() {
        let config = config();
        let small = DescriptorShares::under(1_024, &config);
        let names: Vec<_> = small.lowered(&config).into_iter().map(|(name, ..)| name).collect();
        assert_eq!(names, ["listen.max_connections", "dispatch.max_inflight", "names.max_questions"]);
        let large = DescriptorShares::under(16_384, &config);
        assert_eq!(large.lowered(&config), []);
        assert_eq!(large.connections, config.listen.max_connections);
        assert_eq!(large.inflight, config.dispatch.max_inflight);
    }

    #[test]
    fn what_the_doors_do_not_want_is_left_to_the_calls() {
        let mut config = config();
        let before = DescriptorShares::under(1_024, &config);
        (config.listen.max_connections, config.listen.reserved_connections) = (10, 2);
        let after = DescriptorShares::under(1_024, &config);
        assert_eq!((after.connections, after.reserved), (10, 2));
        assert!(after.inflight > before.inflight, "{after:?}");
    }
}
