//! The limits of one policy for one combination of label values: all of them are asked, taken and given back together.
//!
//! Must not know: other limiters, lanes, entries.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::event::PolicyId;
use crate::limit::STALE_AFTER;
use crate::limit::bound::Bound;
use crate::limit::forecast::LimitOutlook;
use crate::limit::gate::Unknown;
use crate::limit::history::record::Consumed;
use crate::limit::meter::pace::{PaceClaim, PaceMeter};
use crate::limit::meter::quota::{QuotaClaim, QuotaMeter};
use crate::limit::meter::reserve::{Chunk, Ready};
use crate::limit::meter::slots::Slots;
use crate::limit::meter::window::{WindowClaim, WindowMeter, is_recorded};
use crate::limit::rules::Rules;
use crate::limit::tally::Tally;
use crate::policy::{Family, Kind, Limits};

/// Why a limiter grants nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) kind: Kind,
    pub(super) ready: Ready,
}

/// What a permit claims of one limiter.
#[derive(Debug, Default)]
pub(super) struct Claims {
    pace: Option<PaceClaim>,
    window: Option<WindowClaim>,
    quota: Option<QuotaClaim>,
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Limiter {
    pub(super) policy: PolicyId,
    /// The label values, as in [`crate::event::Lane::scope_key`].
    pub(super) key: Box<str>,
    /// Whether the policy is present; else it only remembers what was consumed.
    pub(super) active: bool,
    pub(super) family: Family,
    /// In which order it is asked.
    pub(super) rank: u8,
    /// Nothing may start.
    pub(super) closed: bool,
    /// What it allows of what another one counts.
    pub(super) bound: Option<Bound>,
    pub(super) pace: Option<Box<PaceMeter>>,
    pub(super) window: Option<Box<WindowMeter>>,
    pub(super) quota: Option<Box<QuotaMeter>>,
    pub(super) slots: Slots,
    /// Calls that were promised a start when they were taken in.
    pub(super) promised: u32,
    /// The latest moment at which something may have started under it.
    pub(super) last_start: Timestamp,
    /// Where it counts what it does.
    pub(super) tally: Arc<Tally>,
    /// How many times its limits were applied or usage was stated: tells the claims of one ring from those of the next.
    applied: u64,
}

/// Far more than one ring ever claims.
const CLAIMS_MAX: u64 = 1 << 40;

impl Limiter {
    /// Without limits; nothing shares a sliding window with `last_start`.
    pub(super) fn new(policy: PolicyId, key: Box<str>, last_start: Timestamp, tally: Arc<Tally>) -> Self {
        Self {
            policy,
            key,
            active: false,
            family: Family::Wait,
            rank: 0,
            closed: false,
            bound: None,
            pace: None,
            window: None,
            quota: None,
            slots: Slots::unlimited(),
            promised: 0,
            last_start,
            tally,
            applied: 0,
        }
    }

    /// Limits this from now on. Nobody knows what was started before `gap`. What was consumed, granted and is in
    /// flight keeps counting; there is never a fresh burst. Returns what a quota has to put on record for that.
    pub(super) fn apply(&mut self, rules: &Rules, now: Timestamp, gap: Unknown) -> Option<Consumed> {
        let limits = rules.of_key(&self.key);
        self.active = true;
        (self.family, self.rank, self.closed) = (rules.family, rules.rank, limits.closed);
        self.slots.set(Some(Slots::default_for(limits.slots, limits.pace)));
        let counter = self.bound.as_ref().and_then(|bound| bound.counter);
        self.bound = rules.counts_on.is_some().then(|| Bound::new(limits, counter));
        let uncounted = Limits::default();
        let limits = if self.bound.is_some() { &uncounted } else { limits };
        let spread = self.family == Family::Wait;
        let number = self.next_number();
        let last_start =
            |window| self.last_start.max(if is_recorded(window) { gap.on_record_before } else { gap.before });
        match (limits.pace, &mut self.pace) {
            (Some(pace), Some(limit)) => limit.edit(pace, spread, gap.on_record_before, now),
            (pace, limit) => {
                *limit = pace
                    .map(|pace| Box::new(PaceMeter::new(pace, spread, last_start(pace.window()), number)));
            }
        }
        match (limits.window, &mut self.window) {
            (Some(window), Some(limit)) => limit.allow(window, gap.on_record_before),
            (window, limit) => {
                *limit = window.map(|window| Box::new(WindowMeter::new(window, last_start(window), number)));
            }
        }
        match (limits.quota, &mut self.quota) {
            (Some(quota), Some(limit)) => return limit.allow(quota, now),
            (quota, limit) => {
                *limit = quota.map(|quota| Box::new(QuotaMeter::new(quota, gap.lost_before, now)));
            }
        }
        None
    }

    /// Above the number of every claim so far.
    pub(super) fn next_number(&mut self) -> u64 {
        self.applied += 1;
        self.applied * CLAIMS_MAX
    }

    /// Whether it has a pace, a window, a quota.
    pub(super) fn kinds(&self) -> [bool; 3] {
        [self.pace.is_some(), self.window.is_some(), self.quota.is_some()]
    }

    /// Counts what was consumed before. Returns what has to be put on record anew for that.
    pub(super) fn restore(&mut self, kind: Kind, consumed: &Consumed) -> Option<Consumed> {
        match kind {
            Kind::Pace => {
                if let Some(limit) = &mut self.pace {
                    limit.sliding.restore(consumed.count, consumed.at);
                }
            }
            Kind::Window => {
                if let Some(limit) = &mut self.window {
                    limit.restore(consumed.count, consumed.at);
                }
            }
            Kind::Quota => {
                if let Some(limit) = &mut self.quota {
                    return limit.restore(consumed);
                }
            }
            Kind::Slots | Kind::Closed => {}
        }
        None
    }

    /// Whether one more may be in flight.
    pub(super) fn has_slot(&self) -> bool {
        !self.active || self.slots.has_room()
    }

    /// Whether calls without room are turned away.
    pub(super) fn turns_away(&self) -> bool {
        self.active && (self.closed || self.family == Family::Refuse)
    }

    /// Whether a start is possible at `now`, slots aside; `Err` names the limit that says no, the last to have room.
    /// Changes nothing that counts.
    pub(super) fn check(&mut self, now: Timestamp) -> Result<(), Refused> {
        if !self.active {
            return Ok(());
        }
        let pace = self.pace.as_mut().map(|limit| (Kind::Pace, limit.ready(now)));
        let window = self.window.as_mut().map(|limit| (Kind::Window, limit.ready(now)));
        let quota = self.quota.as_mut().map(|limit| (Kind::Quota, limit.ready(now)));
        let mut worst: Option<Refused> = None;
        for (kind, ready) in pace.into_iter().chain(window).chain(quota) {
            worst = match (ready, worst.map(|worst| worst.ready)) {
                (Ready::Now, _) | (Ready::OnceRecorded, Some(Ready::At(_))) => worst,
                (Ready::At(at), Some(Ready::At(later))) if at <= later => worst,
                _ => Some(Refused { kind, ready }),
            };
        }
        worst.map_or(Ok(()), Err)
    }

    /// Of a refusing limiter: how many more starts its limits allow at `now`, and which of them is the narrowest.
    pub(super) fn room(&mut self, now: Timestamp) -> (u32, Kind) {
        if self.closed {
            return (0, Kind::Closed);
        }
        let pace =
            self.pace.as_mut().map(|limit| &mut limit.sliding).map(|limit| (Kind::Pace, room(limit, now)));
        let window = self.window.as_mut().map(|limit| (Kind::Window, room(limit, now)));
        let quota = self
            .quota
            .as_mut()
            .map(|limit| (Kind::Quota, limit.quota().calls.get().saturating_sub(limit.used(now))));
        let rooms = pace.into_iter().chain(window).chain(quota);
        rooms.min_by_key(|(_, room)| *room).map_or((u32::MAX, Kind::Slots), |(kind, room)| (room, kind))
    }

    /// Another policy allows only so many of the starts that its quota counts.
    pub(super) fn bound(&mut self, calls: u32) {
        if let Some(limit) = &mut self.quota {
            limit.bound(calls);
        }
    }

    /// When the oldest of its starts leaves a limit, or one that happens now would.
    pub(super) fn frees_at(&mut self, kind: Kind, now: Timestamp) -> Option<Timestamp> {
        let sliding = |limit: &mut WindowMeter| {
            let used = limit.used(now);
            if used == 0 { now + limit.allowed().length() } else { limit.below_at(used, now) }
        };
        match kind {
            Kind::Pace => self.pace.as_mut().map(|limit| sliding(&mut limit.sliding)),
            Kind::Window => self.window.as_deref_mut().map(sliding),
            Kind::Quota => self.quota.as_ref().map(|limit| limit.span().end),
            Kind::Slots | Kind::Closed => None,
        }
    }

    /// Takes a start and a slot after [`Limiter::check`] allowed it; `None` when that was not so: then nothing is held.
    pub(super) fn take(&mut self, now: Timestamp) -> Option<Claims> {
        let mut claims = Claims::default();
        if self.active {
            if let Some(limit) = &mut self.pace {
                claims.pace = Some(limit.take(now)?);
            }
            if let Some(limit) = &mut self.window {
                claims.window = limit.take(now);
                if claims.window.is_none() {
                    self.undo(&claims);
                    return None;
                }
            }
            claims.quota = self.quota.as_mut().map(|limit| limit.take());
        }
        self.slots.take();
        self.last_start = self.last_start.max(now + STALE_AFTER);
        Some(claims)
    }

    /// Takes an unconfirmed start back; its slot stays taken.
    pub(super) fn undo(&mut self, claims: &Claims) {
        if let (Some(limit), Some(claim)) = (&mut self.pace, &claims.pace) {
            limit.put_back(claim);
        }
        if let (Some(limit), Some(claim)) = (&mut self.window, claims.window) {
            limit.put_back(claim);
        }
        if let (Some(limit), Some(claim)) = (&mut self.quota, claims.quota) {
            limit.put_back(claim);
        }
    }

    /// The start happens at `at`. Tells under which limits that is one too many, which is a defect.
    pub(super) fn confirm(&mut self, claims: &Claims, at: Timestamp) -> impl Iterator<Item = Kind> + use<> {
        let granted = [
            claims.pace.as_ref().map(|_| Kind::Pace),
            claims.window.map(|_| Kind::Window),
            claims.quota.map(|_| Kind::Quota),
            self.active.then_some(Kind::Slots),
        ];
        granted.into_iter().flatten().for_each(|kind| self.tally.granted(kind));
        let pace = self.pace.as_mut().zip(claims.pace.as_ref());
        let pace = pace.is_some_and(|(limit, claim)| limit.sliding.confirm(claim.start, at));
        let window = self.window.as_mut().zip(claims.window);
        let window = window.is_some_and(|(limit, claim)| limit.confirm(claim, at));
        [(Kind::Pace, pace), (Kind::Window, window)].into_iter().filter_map(|(kind, bad)| bad.then_some(kind))
    }

    /// It happened by `at`.
    pub(super) fn under_way(&mut self, claims: &Claims, at: Timestamp) {
        if let (Some(limit), Some(claim)) = (&mut self.pace, &claims.pace) {
            limit.sliding.under_way(claim.start, at);
        }
        if let (Some(limit), Some(claim)) = (&mut self.window, claims.window) {
            limit.under_way(claim, at);
        }
        self.last_start = self.last_start.max(at);
    }

    /// Whether any of its limits has its starts put on record before they are made.
    pub(super) fn is_recorded(&self) -> bool {
        let pace = self.pace.as_ref().map(|limit| &limit.sliding);
        let mut sliding = pace.into_iter().chain(self.window.as_deref());
        self.active && (self.quota.is_some() || sliding.any(|limit| is_recorded(limit.allowed())))
    }

    /// The latest moment at which something may have started under it.
    pub(super) fn last_start(&self) -> Timestamp {
        self.last_start
    }

    /// What is to be put on record next, for each limit with the length of its window after which that is over.
    pub(super) fn reservations(&mut self, now: Timestamp) -> [Option<(Kind, Duration, Chunk)>; 3] {
        let sliding = |kind, limit: &mut WindowMeter| {
            limit.reserve(now).map(|chunk| (kind, limit.allowed().length(), chunk))
        };
        [
            self.pace.as_mut().and_then(|limit| sliding(Kind::Pace, &mut limit.sliding)),
            self.window.as_mut().and_then(|limit| sliding(Kind::Window, limit)),
            self.quota.as_mut().and_then(|limit| Some((Kind::Quota, Duration::ZERO, limit.reserve(now)?))),
        ]
    }

    /// That was put on record, or could not be.
    pub(super) fn confirmed(&mut self, kind: Kind, chunk: Chunk, is_recorded: bool, now: Timestamp) {
        match kind {
            Kind::Pace => {
                if let Some(limit) = &mut self.pace {
                    limit.sliding.confirmed(chunk, is_recorded, now);
                }
            }
            Kind::Window => {
                if let Some(limit) = &mut self.window {
                    limit.confirmed(chunk, is_recorded, now);
                }
            }
            Kind::Quota => {
                if let Some(limit) = &mut self.quota {
                    limit.confirmed(chunk, is_recorded, now);
                }
            }
            Kind::Slots | Kind::Closed => {}
        }
    }

    /// When it need not be remembered any more: all its windows are empty then. [`Timestamp::MAX`] while calls are in
    /// flight or awaited. What was used of a quota is not in this: see [`Limiter::consumed`].
    pub(super) fn idle_at(&self) -> Timestamp {
        let is_awaited = self.quota.as_ref().is_some_and(|limit| limit.is_awaited());
        if self.slots.inflight() > 0 || self.promised > 0 || is_awaited {
            return Timestamp::MAX;
        }
        let pace = self.pace.as_ref().map(|limit| limit.sliding.idle_at());
        let window = self.window.as_ref().map(|limit| limit.idle_at());
        pace.into_iter().chain(window).max().unwrap_or(self.last_start)
    }

    /// What it means for calls to come.
    pub(super) fn outlook(&mut self, now: Timestamp) -> Vec<LimitOutlook> {
        let mut limits = Vec::new();
        if let Some(limit) = &self.pace {
            limits.push(LimitOutlook::pace(limit.pace(), limit.ready_at(now)));
        }
        if let Some(limit) = self.window.as_mut().filter(|limit| !limit.allowed().is_counting()) {
            limits.push(LimitOutlook::window(limit.allowed(), limit.used(now), limit.ready_at()));
        }
        if let Some(limit) = self.quota.as_mut().filter(|limit| !limit.quota().is_counting()) {
            limits.push(LimitOutlook::quota(limit.quota(), limit.used(now), limit.span().end));
        }
        limits
    }
}

fn room(limit: &mut WindowMeter, now: Timestamp) -> u32 {
    // Starts before a silence count as well.
    if limit.ready_at() > now { 0 } else { limit.allowed().calls().get().saturating_sub(limit.used(now)) }
}
