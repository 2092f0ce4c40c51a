//! What is built behind the doors becomes their routes: intake, desk, dialects, probes.
//!
//! Must not know: what the routes do.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::options;
use crate::app::descriptors::DescriptorShares;
use crate::app::doubts::doubt_desk;
use crate::app::listen::Listener;
use crate::app::live::Live;
use crate::app::{AppError, Doors, api_doc, dialects, held};
use crate::clock::Clock;
use crate::config::Config;
use crate::delivery::Deliver;
use crate::dispatch::DispatchHandle;
use crate::ingest::{self, AboutPolicies, CallRouter, Defaults, Intake, IntakeParts, Refusals, Targets};
use crate::limit::Outlooks;
use crate::manage;
use crate::ops::{self, DeadDesk, Desk, Ops, OutcomeDesk, Pulse, StopRecord};
use crate::policy::Policies;
use crate::queue::{Parked, Queue};
use crate::telemetry::MetricsHandle;
use crate::traces::Tracer;

/// How long a request waits for its share of the bytes that may be under way before it is turned away.
const BYTES_WAIT: Duration = Duration::from_secs(5);

/// What answers say about labels: the dialects know it.
const ABOUT: AboutPolicies = AboutPolicies { source_of: manage::source_of };

/// What the doors lead to, borrowed while they are built.
pub(super) struct Behind<'a> {
    pub(super) config: &'a Config,
    pub(super) clock: &'a Clock,
    pub(super) queue: &'a Queue,
    pub(super) parked: &'a Parked,
    pub(super) policies: &'a Policies,
    pub(super) dispatch: &'a DispatchHandle,
    pub(super) outlooks: &'a Arc<ArcSwap<Outlooks>>,
    pub(super) stops: &'a StopRecord,
    pub(super) closing: &'a CancellationToken,
}

impl Behind<'_> {
    /// The way from a call to its lane.
    pub(super) fn router(&self, live: &Live) -> CallRouter {
        let config = self.config;
        CallRouter {
            queue: self.queue.clone(),
            defaults: Arc::new(Defaults {
                labels: Arc::new(config.labels.clone()),
                known_labels: config.known_labels.clone(),
                max_ttl: config.queue.ttl,
            }),
            unmatched: config.queue.unmatched,
            egress: live.egress_check(),
            endpoint_of: live.endpoint_of(),
            implied: manage::implied(&config.dialects, self.policies),
            carried: manage::carried(&config.dialects),
        }
    }

    pub(super) fn intake(
        &self,
        router: &CallRouter,
        targets: Arc<ArcSwap<Targets>>,
        tracer: Tracer,
    ) -> Intake {
        let config = self.config;
        let (stops, clock) = (self.stops.clone(), self.clock.clone());
        Intake::new(IntakeParts {
            router: router.clone(),
            policies: self.policies.clone(),
            clock: self.clock.clone(),
            on_doomed: config.queue.on_doomed,
            admission: Arc::new(self.dispatch.clone()),
            read_ahead: Arc::new(self.dispatch.clone()),
            refusals: Refusals {
                render: manage::tell(&config.dialects, fastrand::Rng::new()),
                as_foreign: config.manage.refuse_as_told,
                usage: dialects::usage_headers(config),
                about: ABOUT,
            },
            outlooks: self.outlooks.clone(),
            stopped: Arc::new(move |url, labels| {
                stops.stops().call_until(url, labels, clock.is_trusted().then(|| clock.now()))
            }),
            targets,
            tracer,
            closing: self.closing.clone(),
            // The share of the budget is never zero; one byte more gives the type without a check.
            max_bytes_under_way: NonZeroUsize::MIN.saturating_add(options::budget().under_way),
            bytes_wait: BYTES_WAIT,
        })
    }

    /// What the probes, the metrics and the status look at.
    pub(super) fn probes(
        &self,
        deliver: &Arc<dyn Deliver>,
        live: &Live,
        metrics: &MetricsHandle,
        descriptors: Arc<str>,
        pulse: &Pulse,
    ) -> Ops {
        let (egress, names) = (Arc::clone(deliver), Arc::clone(deliver));
        let (metrics, queue) = (metrics.clone(), self.queue.clone());
        Ops {
            queue: self.queue.clone(),
            policies: self.policies.clone(),
            closing: self.closing.clone(),
            egress_state: Arc::new(move || egress.egress_state()),
            proxy_state: live.proxy_state(),
            token_state: live.token_state(self.clock),
            name_state: Arc::new(move || names.name_state()),
            descriptors,
            dispatch: self.dispatch.clone(),
            stops: self.stops.clone(),
            clock: self.clock.clone(),
            pulse: pulse.clone(),
            render_metrics: Arc::new(move || metrics.render(&queue.ledger().terms())),
        }
    }

    /// All routes behind a bound address.
    ///
    /// # Errors
    /// [`AppError`] when the address cannot be bound.
    pub(super) fn doors(
        &self,
        intake: &Intake,
        router: CallRouter,
        probes: Ops,
        shares: &DescriptorShares,
        dice: &mut fastrand::Rng,
    ) -> Result<Doors, AppError> {
        let (config, doubts) = (self.config, self.queue.doubts());
        let runs = ops::Runs::default();
        let dead = ops::dead_routes(self.dead_desk(router.clone(), runs.clone()));
        let desk = ops::desk_routes(self.desk(router, runs));
        let dialects = dialects::routes(config, self.policies, self.clock, dice);
        Ok(Doors {
            listener: Listener::open(config.listen.address)?,
            // Guarded while the store is held are only the routes that change something. The events door refuses by
            // itself, to count what it refuses; probes and the desk of doubts have to answer then.
            routes: ingest::routes(intake.clone())
                .merge(held::guard(dialects.merge(desk).merge(dead), doubts))
                .merge(ops::routes(probes))
                .merge(ops::outcome_routes(self.outcome_desk()))
                .merge(ops::doubt_routes(doubt_desk(self.queue, self.clock)))
                .merge(api_doc::routes()),
            options: options::listen_options(config, shares),
        })
    }

    fn outcome_desk(&self) -> OutcomeDesk {
        OutcomeDesk { ends: self.queue.ends(), clock: self.clock.clone(), closing: self.closing.clone() }
    }

    fn dead_desk(&self, router: CallRouter, runs: ops::Runs) -> DeadDesk {
        DeadDesk {
            queue: self.queue.clone(),
            parked: self.parked.clone(),
            runs,
            router,
            policies: self.policies.clone(),
            clock: self.clock.clone(),
        }
    }

    fn desk(&self, router: CallRouter, runs: ops::Runs) -> Desk {
        Desk {
            queue: self.queue.clone(),
            policies: self.policies.clone(),
            // The bounds apply to what is made here: pauses and resumes have to work in a full book, too.
            authoring: self.policies.bounded(self.config.manage.bounds),
            reserved: manage::owner_of_form,
            drain: self.config.queue.drain,
            dispatch: self.dispatch.clone(),
            outlooks: self.outlooks.clone(),
            clock: self.clock.clone(),
            router,
            about: ABOUT,
            stops: self.stops.clone(),
            runs,
            parked: self.parked.clone(),
        }
    }
}
