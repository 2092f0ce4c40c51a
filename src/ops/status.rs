//! `GET /v1/status`: the whole daemon in one answer.
//!
//! Must not know: how what it shows comes about.

use std::collections::HashSet;

use axum::extract::State;
use axum::response::Response;
use http::Uri;
use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::dispatch::{HoldReason, PlannerFigures};
use crate::ops::desk::{OpsAnswer, json, respond, shutting_down};
use crate::ops::figures::by_reason;
use crate::ops::query::Parameters;
use crate::ops::stops::StopBody;
use crate::ops::wire::{HeldBody, date};
use crate::ops::{Ops, all_checks, doc};
use crate::problem::{Problem, codes};
use crate::queue::{Completed, LaneCounts};
use crate::store::KeyUse;

/// The whole daemon at one moment.
#[derive(Serialize, ToSchema)]
#[schema(as = Status)]
pub(super) struct StatusBody {
    version: &'static str,
    started_at: String,
    uptime_seconds: f64,
    /// Whether events may be handed in, as at `/readyz`.
    ready: bool,
    /// The readiness checks that fail, each with its reason.
    problems: Vec<String>,
    events: EventsBody,
    /// How many events have ended since the start, by outcome.
    ended: EndedBody,
    /// Of the last seconds; null during the first one.
    #[schema(required)]
    rates: Option<RatesBody>,
    policies: PoliciesBody,
    /// Lanes that may not send although their limits have room, by reason.
    held: Vec<HeldBody>,
    /// The emergency stops in force.
    stops: Vec<StopBody>,
    doubts: DoubtsBody,
    store: StoreBody,
}

/// Events that have not ended, by where they stand.
#[derive(Serialize, ToSchema)]
#[schema(as = EventsHere)]
struct EventsBody {
    /// Events that wait for their turn, read ahead or not.
    ready: u64,
    /// Events that wait for a due time.
    delayed: u64,
    /// Events whose calls have started, and whose ends are not on record yet.
    inflight: u64,
    /// When the oldest that is under way or waits for its turn was accepted.
    #[schema(required)]
    oldest: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = EventsEnded)]
struct EndedBody {
    delivered: u64,
    dead: u64,
    expired: u64,
    dropped: u64,
    lost: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Rates)]
struct RatesBody {
    accepted_per_second: f64,
    delivered_per_second: f64,
    over_seconds: f64,
}

#[derive(Serialize, Default, ToSchema)]
#[schema(as = PolicyCounts)]
struct PoliciesBody {
    deployed: u64,
    draining: u64,
    idle: u64,
    /// Of all of these, those whose pause holds.
    paused: u64,
    /// Those with a lane that is held for another reason than a pause or an emergency stop.
    held: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = DoubtCounts)]
struct DoubtsBody {
    open: u64,
    unacknowledged: u64,
    /// Events that the open ones concern.
    events: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = StoreState)]
struct StoreBody {
    /// Names the data directory: the same after each restart, another one in another directory and after a restore or
    /// `--accept-rollback`. Who goes on with what it began earlier compares it.
    id: String,
    /// Bytes that the data directory takes up.
    disk_bytes: u64,
    /// Bytes that its file system has left.
    free_bytes: u64,
    /// The keys by which events and dead letters are encrypted at rest; empty where nothing is encrypted.
    keys: Vec<KeyBody>,
}

/// How much of what is at rest needs a key.
#[derive(Serialize, ToSchema)]
#[schema(as = KeyUse)]
struct KeyBody {
    /// Names the key; null stands for what is not encrypted.
    #[schema(required)]
    id: Option<String>,
    /// Whether it is in `store.key_file`. What needs a key that is not there waits until it is.
    present: bool,
    /// Whether what is new is encrypted by it.
    encrypts: bool,
    /// Files with events or dead letters that need it. A key without any can be taken out of the file.
    files: u64,
    /// Waiting events and dead letters that need it.
    records: u64,
}

impl From<&KeyUse> for KeyBody {
    fn from(of: &KeyUse) -> Self {
        let KeyUse { id, present, encrypts, files, records } = of.clone();
        Self { id, present, encrypts, files, records }
    }
}

/// Show the daemon
///
/// Version, readiness, events by state, rates, policies, doubts and the disk at one moment.
#[utoipa::path(
    get, path = "/v1/status", tag = "operations", operation_id = "status",
    responses(
        (status = 200, description = "Where it stands.", body = StatusBody, example = json!(doc::status())),
        doc::Status,
    ),
)]
pub(super) async fn status(State(ops): State<Ops>, uri: Uri) -> Response {
    respond(ops.status(&uri).await)
}

impl Ops {
    async fn status(&self, uri: &Uri) -> OpsAnswer {
        // There are none: a parameter that means nothing is refused rather than passed over.
        Parameters::read(uri, &[], &[])?;
        let going_on = self.dispatch.figures().await.ok_or_else(shutting_down)?;
        let queue = self.queue.clone();
        // There may be very many lanes: the pass is made where it stops no call.
        let oldest = tokio::task::spawn_blocking(move || oldest(&queue.counts()))
            .await
            .map_err(|_| Box::new(Problem::of(codes::INTERNAL, "the figures could not be taken")))?;
        let ledger = self.queue.ledger();
        let now = self.clock.now();
        let failed: Vec<_> = all_checks(self).into_iter().filter(|check| !check.ok).collect();
        let completed = Completed::of(&ledger);
        let store = self.queue.store_health();
        Ok(json(
            &StatusBody {
                version: env!("CARGO_PKG_VERSION"),
                started_at: self.pulse.started_at().to_string(),
                uptime_seconds: (now.since(self.pulse.started_at()).as_secs_f64() * 1000.0).round() / 1000.0,
                ready: failed.is_empty(),
                problems: failed.iter().map(|check| format!("{}: {}", check.name, check.detail)).collect(),
                events: EventsBody {
                    ready: ledger.ready,
                    delayed: ledger.delayed,
                    inflight: ledger.inflight,
                    oldest: date(oldest),
                },
                ended: EndedBody {
                    delivered: completed.delivered,
                    dead: completed.dead,
                    expired: completed.expired,
                    dropped: completed.dropped,
                    lost: completed.lost,
                },
                rates: self.pulse.rates().map(|rates| RatesBody {
                    accepted_per_second: rates.accepted,
                    delivered_per_second: rates.delivered,
                    over_seconds: rates.over_seconds,
                }),
                policies: self.policy_counts(&going_on, now),
                held: by_reason(going_on.held.iter().map(|(_, hold)| hold)),
                stops: self.stops.in_force().iter().map(StopBody::of).collect(),
                doubts: self.doubt_counts(),
                store: StoreBody {
                    id: format!("{:016x}", store.id),
                    disk_bytes: store.used_bytes,
                    free_bytes: store.free_bytes,
                    keys: store.keys.iter().map(KeyBody::from).collect(),
                },
            },
            None,
        ))
    }

    fn policy_counts(&self, going_on: &PlannerFigures, now: Timestamp) -> PoliciesBody {
        let mut counts = PoliciesBody::default();
        for (_, policy) in self.policies.book().after(None) {
            let life = policy.lifecycle();
            match (life.active(), life.generations().is_empty()) {
                (Some(_), _) => counts.deployed += 1,
                (None, false) => counts.draining += 1,
                (None, true) => counts.idle += 1,
            }
            counts.paused += u64::from(policy.pause().is_some_and(|pause| pause.holds(now)));
        }
        // Pauses have a count of their own.
        let others = going_on
            .held
            .iter()
            .filter(|(_, hold)| !matches!(hold.reason, HoldReason::Paused | HoldReason::Stopped));
        let policies = others.flat_map(|(lane, _)| lane.policies().iter().map(|part| &part.policy));
        counts.held = policies.collect::<HashSet<_>>().len() as u64;
        counts
    }

    fn doubt_counts(&self) -> DoubtsBody {
        let doubts = self.queue.doubts().list();
        DoubtsBody {
            open: doubts.len() as u64,
            unacknowledged: doubts.iter().filter(|doubt| !doubt.acknowledged).count() as u64,
            events: doubts.iter().fold(0, |events, doubt| doubt.events.saturating_add(events)),
        }
    }
}

/// When the oldest event was accepted that is under way or waits for its turn.
fn oldest(lanes: &[LaneCounts]) -> Option<Timestamp> {
    lanes.iter().filter_map(|lane| lane.oldest).min()
}
