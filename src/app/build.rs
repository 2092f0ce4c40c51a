//! From the checked configuration to everything built and bound, nothing running.
//!
//! Must not know: what the rooms do with their options.

mod doors;
mod options;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::app::descriptors::{self, DescriptorShares};
use crate::app::keys;
use crate::app::letter_census::LetterCensus;
use crate::app::live::Live;
use crate::app::measured::Measured;
use crate::app::memory;
use crate::app::posting::{Posting, PostingParts};
use crate::app::spent::SpentLimits;
use crate::app::{App, AppError, AppErrorKind, dialects, reload, traces};
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::delivery::{Deliver, HttpDeliverer};
use crate::dispatch::{DispatcherParts, Service};
use crate::limit::{Consumed, Gate, HistoryGap, Outlooks, Rules};
use crate::manage;
use crate::ops::{Pulse, StopRecord};
use crate::policy::{Policies, Runtime};
use crate::queue::{Parked, Queue};
use crate::store::embedded::EmbeddedStore;
use crate::store::{DocumentStore, Doubts, EntryStore, Usage, UsageFound, UsageStore};
use crate::telemetry::{
    self, AnswerAmended, AnswerTimeIgnored, AttemptsNoted, CallAmbiguous, ClockAnomaly, Defect,
    EntryCompleted, EventEnded, EventsChanged, EventsRecovered, LettersRemoved, LifeSettled, OutcomesPosted,
    PolicyInfo, RateHalved, TokenAsked, TraceSpans,
};

use doors::Behind;
pub(super) use options::embedded_options;

/// What the rest is built over; tests put their own in.
pub struct Seams {
    /// Time: ages, due times and the wall clock.
    pub clock: Clock,
    /// Events at rest: accepted and not ended.
    pub store: Arc<dyn EntryStore>,
    /// Small documents such as the policy book.
    pub documents: Arc<dyn DocumentStore>,
    /// The record of what the limits have consumed.
    pub usages: Arc<dyn UsageStore>,
    /// Makes the calls of events over the network.
    pub deliver: Arc<dyn Deliver>,
}

impl App {
    /// Opens the store, applies the policies of the configuration file and binds the doors.
    ///
    /// # Errors
    /// [`AppError`] when one of them cannot be opened.
    pub async fn build(config: &Config) -> Result<Self, AppError> {
        // Before anything is opened: too low a limit would show as a failure of some part later on.
        descriptors::check()?;
        let clock = Clock::system();
        keys::use_keys(config)?;
        let store = open_store(config, &clock).await?;
        let deliver = HttpDeliverer::new(options::delivery_options(config), clock.clone())?;
        let documents = Arc::new(store.documents());
        let usages = Arc::new(store.usages());
        let seams = Seams { clock, store: Arc::new(store), documents, usages, deliver: Arc::new(deliver) };
        Self::over(config, seams).await
    }

    /// The same over other seams.
    ///
    /// # Errors
    /// [`AppError`] when the store cannot be read, a policy of the configuration file cannot be applied or the doors
    /// cannot be bound.
    pub async fn over(config: &Config, seams: Seams) -> Result<Self, AppError> {
        let Seams { clock, store, documents, usages, deliver } = seams;
        let metrics = telemetry::install()?;
        // Around the store and not in it: every store is measured in the same way, also one that a test puts in.
        let store: Arc<dyn EntryStore> = Arc::new(Measured::new(store, clock.clone()));
        show_series(config, &clock);
        let shares = DescriptorShares::of(config);
        let descriptors = descriptors::report(&shares, config);
        let mut dice = fastrand::Rng::new();
        let (tracer, exporter) = traces::open(config, &clock, dice.fork())?;
        let OpenedBook { policies, before, is_held } =
            open_book(config, Arc::clone(&documents), &*store, &clock).await?;
        let (queue, signals) =
            Queue::open_within(store.clone(), clock.clone(), config.store.append_timeout).await?;
        // Before anything of the store is shown or handed out.
        let stops = StopRecord::open(Arc::clone(&documents), clock.clone(), &queue.doubts()).await;
        let parked = Parked::open(&queue, Arc::clone(&documents), clock.clone()).await?;
        EventsRecovered { count: queue.ledger().accepted }.emit();
        // What the file has changed since the last process counts as an edit.
        let (gate, spent) = if is_held {
            // Nothing starts while the store is held: the record of what was consumed is left as it is.
            (Gate::new(), SpentLimits::unopened(queue.doubts()))
        } else {
            open_gate(&*usages, &before, queue.doubts(), &clock).await?
        };
        let live = Live::new(config, Arc::clone(&deliver));
        let posting = open_posting(config, &queue, documents, &deliver, &live).await?;
        let (service, dispatch) = Service::new(DispatcherParts {
            queue: queue.clone(),
            signals,
            policies: policies.follow(),
            deliver: Arc::clone(&deliver),
            endpoints: live.endpoints(),
            clock: clock.clone(),
            options: options::dispatch_options(config, &shares, is_held),
            gate,
            usages: usages.clone(),
            stops: stops.stops(),
            tracer: tracer.clone(),
            dice: dice.fork(),
        });
        let (closing, outlooks) =
            (CancellationToken::new(), Arc::new(ArcSwap::from_pointee(Outlooks::default())));
        let pulse = Pulse::new(clock.now());
        let letters = LetterCensus::new(parked.clone(), queue.clone(), clock.clone());
        let behind = Behind {
            config,
            clock: &clock,
            queue: &queue,
            parked: &parked,
            policies: &policies,
            dispatch: &dispatch,
            outlooks: &outlooks,
            stops: &stops,
            closing: &closing,
        };
        let router = behind.router(&live);
        let intake = behind.intake(&router, live.targets(), tracer);
        let probes = behind.probes(&deliver, &live, &metrics, descriptors, &pulse);
        let doors = behind.doors(&intake, router, probes, &shares, &mut dice)?;
        Ok(Self {
            doors,
            service,
            dispatch,
            queue,
            policies,
            store,
            usages,
            deliver,
            spent,
            intake,
            live,
            outlooks,
            metrics,
            pulse,
            letters,
            clock,
            exporter,
            posting,
            closing,
        })
    }
}

/// What posts the ends of events, where they are posted.
async fn open_posting(
    config: &Config,
    queue: &Queue,
    documents: Arc<dyn DocumentStore>,
    deliver: &Arc<dyn Deliver>,
    live: &Live,
) -> Result<Option<Posting>, AppError> {
    let parts = PostingParts {
        ends: queue.ends(),
        documents,
        deliver: Arc::clone(deliver),
        endpoints: live.endpoints(),
        options: config.outcomes.clone(),
    };
    Ok(Posting::open(parts).await?)
}

/// Series that say something before anything happens.
fn show_series(config: &Config, clock: &Clock) {
    telemetry::max_policies(config.metrics.max_policies);
    Defect::show();
    TraceSpans::show();
    CallAmbiguous::show();
    AnswerAmended::show();
    AnswerTimeIgnored::show();
    AttemptsNoted::show();
    RateHalved::show();
    TokenAsked::show();
    EntryCompleted::show_lifetimes();
    EventEnded::show();
    LettersRemoved::show();
    EventsChanged::show();
    OutcomesPosted::show();
    dialects::show_words();
    telemetry::count_panics();
    LifeSettled { ttl: config.queue.ttl }.emit();
    ClockAnomaly { kind: "start", count: u64::from(!clock.is_trusted()) }.emit();
}

/// Gives policies their series, and these the names that people know.
fn show_policies(runtime: &Runtime) {
    telemetry::set_policies(runtime.by_age().map(|policy| policy.id.as_str()));
    telemetry::name_policies(runtime.policies().map(|policy| PolicyInfo {
        policy: policy.id.as_str(),
        name: policy.spec.title.as_deref().unwrap_or_default(),
        system: policy.origin.as_str(),
    }));
}

/// The policy book at the start, before and after the file was applied.
struct OpenedBook {
    /// As they are now, the file's among them.
    policies: Policies,
    /// As an earlier process left them.
    before: Arc<Runtime>,
    /// The store is held as a whole: the file was not applied.
    is_held: bool,
}

/// The policy book, with what the configuration file lists, unless the store is held.
async fn open_book(
    config: &Config,
    documents: Arc<dyn DocumentStore>,
    store: &dyn EntryStore,
    clock: &Clock,
) -> Result<OpenedBook, AppError> {
    let file = config.policies.iter().map(|policy| (&policy.name, &policy.spec));
    let policies = Policies::open_sharing(documents, clock.clone(), file).await?;
    policies.announce_to(show_policies);
    let before = policies.runtime();
    let listed = reload::FileListing::of(config)?;
    let held = store.doubts().store_held();
    match &held {
        // A book written now would take the place of the one that is in doubt.
        Some(reason) => error!(%reason, "the store is held: nothing is taken, sent, changed or deleted"),
        None => {
            // Another version may have derived other policies from the same objects.
            manage::derive_anew(&policies, clock.now(), config.queue.drain).await;
            let bounded = policies.bounded(config.manage.bounds);
            reload::start(&bounded, &listed, clock, config.queue.drain).await?;
        }
    }
    // Nobody waits for the start; who asks for a change later is answered in time.
    let policies = policies.within(config.store.append_timeout);
    Ok(OpenedBook { policies, before, is_held: held.is_some() })
}

/// The limits, with what earlier processes consumed.
async fn open_gate(
    usages: &dyn UsageStore,
    ruled_before: &Runtime,
    doubts: Doubts,
    clock: &Clock,
) -> Result<(Gate, SpentLimits), AppError> {
    let asked_at = clock.now();
    let found = usages.open(asked_at).await?;
    let spent = SpentLimits::opened(doubts, &found, asked_at);
    let UsageFound { usages, orderly, complete_from, .. } = found;
    // Taken after the record was opened: a process before this one has started nothing since.
    let opened_at = clock.now();
    // After an orderly end nothing is unknown. After another one, what was started under limits that are not on record
    // is unknown up to this start.
    let before = if orderly { Timestamp::ZERO } else { opened_at };
    info!(orderly, on_record = usages.len(), "limits opened");
    let gap = HistoryGap { before, on_record_before: complete_from };
    let on_record = usages.into_iter().map(|usage| {
        let Usage { limit, count, at, over_at } = usage;
        (limit, Consumed { count, at, over_at })
    });
    let knew = ruled_before.policies().map(|policy| (policy.id.clone(), Rules::from(policy)));
    Ok((Gate::after(gap, opened_at, on_record, knew), spent))
}

async fn open_store(config: &Config, clock: &Clock) -> Result<EmbeddedStore, AppError> {
    let (root, options, clock) = (config.store.data_dir.clone(), embedded_options(config), clock.clone());
    if let Some(limit_bytes) = memory::limit_bytes() {
        info!(limit_bytes, shares = ?options::budget(), "the memory of this process is limited");
    }
    let opening = tokio::task::spawn_blocking(move || EmbeddedStore::open(&root, options, clock));
    // The index library panics where a call fails that it does not expect to fail.
    let panicked =
        |error| AppError { kind: AppErrorKind::Store, detail: format!("opening the store: {error}") };
    let store = opening.await.map_err(panicked)??;
    let recovery = store.recovery();
    let (living, lanes) = (recovery.living, recovery.lanes);
    let (damaged, lost) = (recovery.verdict.damaged, recovery.lost_entries());
    match &recovery.rebuilt {
        None if damaged == 0 => info!(waiting = living, lanes, "store opened"),
        None => {
            warn!(waiting = living, lanes, damaged, lost, "store opened with damaged places in its journal")
        }
        Some(reason) => {
            warn!(waiting = living, lanes, damaged, lost, %reason, "store opened, its index rebuilt")
        }
    }
    Ok(store)
}
