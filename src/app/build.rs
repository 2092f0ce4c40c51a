//! From the checked configuration to everything built and bound, nothing running.
//!
//! Must not know: what the rooms do with their options.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::app::descriptors::{self, Shares};
use crate::app::doubts::doubt_desk;
use crate::app::listen::{ListenOptions, Listener};
use crate::app::live::Live;
use crate::app::measured::Measured;
use crate::app::memory::{self, Budget};
use crate::app::spent::SpentLimits;
use crate::app::{App, AppError, AppErrorKind, Doors, api_doc, dialects, held, reload, traces};
use crate::clock::{Clock, Timestamp};
use crate::config::{Config, Doomed, Unmatched};
use crate::delivery::{Deliver, DeliveryOptions, EgressGuard, HttpDeliverer};
use crate::dispatch::{BreakerPolicy, DispatchHandle, Options, Parts, RetryPolicy, Service};
use crate::ingest::{self, CallRouter, Defaults, Intake, IntakeParts, Refusals, Targets};
use crate::limit::{Consumed, Gate, HistoryGap, Outlooks, Rules};
use crate::manage;
use crate::names::NameOptions;
use crate::ops::{self, Desk, Ops, Pulse};
use crate::policy::{Policies, Runtime};
use crate::queue::Queue;
use crate::store::embedded::{EmbeddedOptions, EmbeddedStore};
use crate::store::{DocumentStore, Doubts, EntryStore, Usage, UsageFound, UsageStore};
use crate::telemetry::{
    self, ClockAnomaly, Defect, EntryCompleted, EventsRecovered, LifeSettled, TraceSpans,
};
use crate::traces::Tracer;

/// How long a request waits for its share of them.
const ADMISSION_WAIT: Duration = Duration::from_secs(5);

/// What the rest is built over; tests put their own in.
pub struct Seams {
    /// Time.
    pub clock: Clock,
    /// Entries.
    pub store: Arc<dyn EntryStore>,
    /// Small documents.
    pub documents: Arc<dyn DocumentStore>,
    /// What the limits have consumed.
    pub usages: Arc<dyn UsageStore>,
    /// Makes the calls.
    pub deliver: Arc<dyn Deliver>,
}

impl App {
    /// Opens the store, applies the policies of the configuration file and binds the doors.
    ///
    /// # Errors
    /// [`AppError`] when one of them cannot be opened.
    pub async fn build(config: &Config) -> Result<Self, AppError> {
        descriptors::check()?;
        let clock = Clock::system();
        let store = open_store(config, &clock).await?;
        let deliver = HttpDeliverer::new(delivery_options(config), clock.clone())?;
        let documents = Arc::new(store.documents());
        let usages = Arc::new(store.usages());
        let seams = Seams { clock, store: Arc::new(store), documents, usages, deliver: Arc::new(deliver) };
        Self::over(config, seams).await
    }

    /// The same over other seams.
    ///
    /// # Errors
    /// [`AppError`] when the store cannot be read, a policy of the configuration file cannot be applied or the doors cannot
    /// be bound.
    pub async fn over(config: &Config, seams: Seams) -> Result<Self, AppError> {
        let Seams { clock, store, documents, usages, deliver } = seams;
        let metrics = telemetry::install()?;
        let store: Arc<dyn EntryStore> = Arc::new(Measured::new(store, clock.clone()));
        telemetry::max_policies(config.metrics.max_policies);
        Defect::show();
        TraceSpans::show();
        EntryCompleted::show_lifetimes();
        dialects::show_words();
        telemetry::count_panics();
        let shares = Shares::of(config);
        let descriptors = descriptors::report(&shares, config);
        LifeSettled { ttl: config.queue.ttl }.emit();
        ClockAnomaly { kind: "start", count: u64::from(!clock.is_trusted()) }.emit();
        let mut dice = fastrand::Rng::new();
        let (tracer, exporter) = traces::open(config, &clock, dice.fork())?;
        let listed = config.policies.iter().map(|policy| (&policy.name, &policy.spec));
        let policies = Policies::open_sharing(documents, clock.clone(), listed).await?;
        policies.announce_to(|runtime| {
            telemetry::set_policies(runtime.by_age().map(|policy| policy.id.as_str()))
        });
        let ruled_before = policies.runtime();
        let listed = reload::Listed::of(config)?;
        let held = store.doubts().store_held();
        match &held {
            // A book written now would take the place of the one that is in doubt.
            Some(reason) => error!(%reason, "the store is held: nothing is taken, sent, changed or deleted"),
            None => {
                if policies.was_older() {
                    manage::settle(&policies, clock.now(), config.queue.drain).await;
                }
                let bounded = policies.bounded(dialects::bounds(config));
                reload::start(&bounded, &listed, &clock, config.queue.drain).await?;
            }
        }
        // Nobody waits for the start; who asks for a change later is answered in time.
        let policies = policies.within(config.store.append_timeout);
        let (queue, signals) =
            Queue::open_within(store.clone(), clock.clone(), config.store.append_timeout).await?;
        let recovered = queue.ledger().accepted;
        EventsRecovered { count: recovered }.emit();
        // What the file has changed since the last process counts as an edit.
        let (gate, spent) = match &held {
            Some(_) => (Gate::new(), SpentLimits::unopened(queue.doubts())),
            None => open_gate(&*usages, &ruled_before, queue.doubts(), &clock).await?,
        };
        let live = Live::new(config, Arc::clone(&deliver));
        let told = Arc::clone(&deliver);
        let egress_state = Arc::new(move || told.egress_state());
        let told = Arc::clone(&deliver);
        let name_state = Arc::new(move || told.name_state());
        let (service, dispatch) = Service::new(Parts {
            queue: queue.clone(),
            signals,
            policies: policies.follow(),
            deliver,
            clock: clock.clone(),
            options: Options { held: held.is_some(), ..dispatch_options(config, &shares) },
            gate,
            usages: usages.clone(),
            tracer: tracer.clone(),
            dice: dice.fork(),
        });
        let closing = CancellationToken::new();
        let outlooks = Arc::new(ArcSwap::from_pointee(Outlooks::default()));
        let router = router(config, &live, &queue);
        let targets = live.targets();
        let intake =
            intake(config, &router, targets, &policies, &clock, &closing, &dispatch, &outlooks, tracer);
        let desk = ops::desk_routes(desk(config, router, &policies, &clock, &dispatch, &outlooks));
        let dialects = dialects::routes(config, &policies, &clock, &mut dice);
        let pulse = Pulse::new(clock.now());
        let ops = Ops {
            queue: queue.clone(),
            policies: policies.clone(),
            closing: closing.clone(),
            egress_state,
            name_state,
            descriptors,
            dispatch: dispatch.clone(),
            clock: clock.clone(),
            pulse: pulse.clone(),
            render_metrics: Arc::new({
                let (metrics, queue) = (metrics.clone(), queue.clone());
                move || metrics.render(&queue.ledger().terms())
            }),
        };
        let doors = Doors {
            listener: Listener::open(config.listen.address)?,
            routes: ingest::routes(intake.clone())
                .merge(held::guard(dialects.merge(desk), store.doubts()))
                .merge(ops::routes(ops))
                .merge(ops::doubt_routes(doubt_desk(&queue, &clock)))
                .merge(api_doc::routes()),
            options: listen_options(config, &shares),
        };
        Ok(Self {
            doors,
            service,
            dispatch,
            queue,
            policies,
            store,
            usages,
            spent,
            intake,
            live,
            outlooks,
            metrics,
            pulse,
            clock,
            exporter,
            closing,
        })
    }
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
        info!(limit_bytes, shares = ?budget(), "the memory of this process is limited");
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

fn budget() -> Budget {
    Budget::of(memory::limit_bytes())
}

pub(super) fn embedded_options(config: &Config) -> EmbeddedOptions {
    let (budget, shares) = (budget(), Shares::of(config));
    EmbeddedOptions {
        segment_bytes: config.store.segment_bytes.get(),
        segment_age: config.store.segment_age,
        scrub_bytes_per_second: config.store.scrub_bytes_per_second,
        dead_retention: config.store.dead_letter_retention,
        needed_bytes: config.store.min_free_bytes,
        cache_bytes: budget.index_cache,
        block_cache_bytes: budget.block_cache,
        waiting_bytes: budget.waiting,
        open_segments: shares.open_segments,
        spare_descriptors: shares.spare,
        epoch_file: config.store.epoch_file.clone(),
        clock_bound: config.queue.ttl,
        salt: fastrand::u64(..),
        ..EmbeddedOptions::default()
    }
}

fn router(config: &Config, live: &Live, queue: &Queue) -> CallRouter {
    CallRouter {
        queue: queue.clone(),
        defaults: Arc::new(Defaults {
            labels: config.labels.clone(),
            known_labels: config.known_labels.clone(),
            max_ttl: config.queue.ttl,
        }),
        unmatched: match config.queue.unmatched {
            Unmatched::Refuse => ingest::Unmatched::Refuse,
            Unmatched::Pass => ingest::Unmatched::Pass,
        },
        egress: live.egress_check(),
    }
}

#[expect(clippy::too_many_arguments, reason = "each of them is a part of its own")]
fn intake(
    config: &Config,
    router: &CallRouter,
    targets: Arc<ArcSwap<Targets>>,
    policies: &Policies,
    clock: &Clock,
    closing: &CancellationToken,
    dispatch: &DispatchHandle,
    outlooks: &Arc<ArcSwap<Outlooks>>,
    tracer: Tracer,
) -> Intake {
    Intake::new(IntakeParts {
        router: router.clone(),
        policies: policies.clone(),
        clock: clock.clone(),
        on_doomed: match config.queue.on_doomed {
            Doomed::Accept => ingest::Doomed::Accept,
            Doomed::Refuse => ingest::Doomed::Refuse,
        },
        admission: Arc::new(dispatch.clone()),
        read_ahead: Arc::new(dispatch.clone()),
        refusals: Refusals {
            tell: manage::tell(config, fastrand::Rng::new()),
            as_told: config.manage.refusals == crate::config::Refusals::Dialect,
            usage: dialects::usage_headers(config),
        },
        outlooks: outlooks.clone(),
        targets,
        tracer,
        closing: closing.clone(),
        max_bytes_under_way: NonZeroUsize::MIN.saturating_add(budget().under_way),
        admission_wait: ADMISSION_WAIT,
    })
}

fn desk(
    config: &Config,
    router: CallRouter,
    policies: &Policies,
    clock: &Clock,
    dispatch: &DispatchHandle,
    outlooks: &Arc<ArcSwap<Outlooks>>,
) -> Desk {
    Desk {
        queue: router.queue.clone(),
        policies: policies.clone(),
        authoring: policies.bounded(dialects::bounds(config)),
        reserved: manage::owner_of_form,
        drain: config.queue.drain,
        dispatch: dispatch.clone(),
        outlooks: outlooks.clone(),
        clock: clock.clone(),
        router,
    }
}

fn listen_options(config: &Config, shares: &Shares) -> ListenOptions {
    let listen = &config.listen;
    ListenOptions {
        max_connections: shares.connections,
        reserved_connections: shares.reserved,
        max_connections_per_peer: listen.max_connections_per_peer,
        min_bytes_per_second: listen.min_bytes_per_second.get(),
        hosts: listen.hosts.clone(),
        ..ListenOptions::default()
    }
}

fn dispatch_options(config: &Config, shares: &Shares) -> Options {
    let retry = RetryPolicy {
        base: config.retry.min_delay,
        cap: config.retry.max_delay,
        max_attempts: config.retry.max_attempts,
    };
    let breaker = BreakerPolicy {
        failures: config.breaker.failures,
        min_hold: config.breaker.min_hold,
        max_hold: config.breaker.max_hold,
    };
    Options {
        retry,
        breaker,
        max_inflight: shares.inflight.get(),
        read_ahead_bytes: budget().read_ahead,
        ..Options::default()
    }
}

fn delivery_options(config: &Config) -> DeliveryOptions {
    let shares = Shares::of(config);
    DeliveryOptions {
        egress: EgressGuard::new(&config.egress.allow),
        names: NameOptions {
            timeout: config.names.timeout,
            max_questions: shares.questions,
            max_ttl: config.names.max_ttl,
            ..NameOptions::default()
        },
        connect_timeout: config.delivery.connect_timeout,
        head_timeout: config.delivery.head_timeout,
        total_timeout: config.delivery.total_timeout,
        pool_max_idle_per_host: shares.idle_per_host,
        hears: manage::hears(),
        ..DeliveryOptions::default()
    }
}
