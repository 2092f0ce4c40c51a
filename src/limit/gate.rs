//! The gate: decides over all limits of a lane at once. It checks all of them without side effects and only
//! then takes all of them.
//!
//! Must not know: lanes' names, entries, how a limit counts.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::event::PolicyId;
use crate::limit::few::Few;
use crate::limit::pace::{PaceHold, PaceLimit};
use crate::limit::permit::{Hold, Permit};
use crate::limit::slots::Slots;
use crate::policy::{Limits, Pace};

/// Names the limits of one policy for the life of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimiterId(u32);

/// The limiters of one lane. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Binding(Arc<[LimiterId]>);

/// What stands in the way of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocker {
    /// Whose limit.
    pub limiter: LimiterId,
    /// Which of its limits.
    pub kind: BlockerKind,
}

/// The kinds of limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockerKind {
    /// Starts per second, or the silence after an unclean stop.
    Pace,
    /// Calls in flight.
    Slots,
}

/// The answer of the gate.
#[derive(Debug)]
#[must_use = "a permit that does not go back to its gate keeps its slots taken"]
pub enum Decision {
    /// Start within [`crate::limit::STALE_AFTER`].
    Go(Permit),
    /// Ask again then, not earlier: the moment at which the last of the lane's paces has room.
    NotBefore(Timestamp, Blocker),
    /// Ask again when a call under this limiter ends (see [`Gate::release`]).
    Wait(Blocker),
}

/// The limiters that have room for calls again; each may have waiters.
#[derive(Debug)]
pub struct Freed(Few<LimiterId>);

/// The present state of one policy's limits, for metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// Whose limits.
    pub policy: PolicyId,
    /// Starts per second; `None` means unlimited.
    pub permits_per_second: Option<f64>,
    /// Most starts in any sliding window (of one second, for a whole pace) during the last minute.
    pub window_peak: u32,
    /// Starts beyond the limit since the process began: not zero is a defect.
    pub violations: u64,
    /// Calls in flight now.
    pub inflight: u32,
    /// Most calls in flight; `None` means unlimited.
    pub slots: Option<NonZeroU32>,
}

/// All limits of all policies. One task owns it.
///
/// A policy that was removed leaves a small shell behind, so that bindings stay valid when it comes back.
#[derive(Debug)]
pub struct Gate {
    silent_until: Timestamp,
    by_policy: HashMap<PolicyId, LimiterId>,
    limiters: Vec<Limiter>,
    /// Limiters without a pace that keep what was consumed under their last one.
    lingering: Vec<LimiterId>,
}

/// The limits of one policy.
#[derive(Debug)]
struct Limiter {
    policy: PolicyId,
    /// Whether the policy is present.
    active: bool,
    /// Whether `pace` limits; else it only remembers what was consumed.
    paced: bool,
    pace: Option<Box<PaceLimit>>,
    /// The last start under a pace that was forgotten.
    last_start: Timestamp,
    slots: Slots,
}

impl Gate {
    /// Without policies. No lane that has limits starts anything before `silent_until`: after an unclean stop
    /// nobody knows what was consumed.
    #[must_use]
    pub fn new(silent_until: Timestamp) -> Self {
        Self { silent_until, by_policy: HashMap::new(), limiters: Vec::new(), lingering: Vec::new() }
    }

    /// Brings a policy in or changes its limits. What was consumed, granted and is in flight keeps counting;
    /// there is never a fresh burst, also when the policy was removed a moment ago. Lanes that wait may have
    /// room now: ask for them again. Without slots of its own a policy gets one second's worth of its pace
    /// within 64 to 4096.
    pub fn set(&mut self, policy: &PolicyId, limits: &Limits, now: Timestamp) {
        self.forget_idle(now);
        let id = self.limiter_of(policy);
        let Some(limiter) = self.limiters.get_mut(id.0 as usize) else { return };
        limiter.active = true;
        limiter.slots.set(Some(Slots::default_for(limits.slots, limits.pace)));
        let was_paced = limiter.paced;
        limiter.set_pace(limits.pace, now);
        if was_paced && !limiter.paced {
            self.lingering.push(id);
        }
    }

    /// Takes a policy's limits away; its calls in flight stay counted.
    pub fn remove(&mut self, policy: &PolicyId) {
        let Some(id) = self.by_policy.get(policy).copied() else { return };
        let Some(limiter) = self.limiters.get_mut(id.0 as usize) else { return };
        limiter.active = false;
        limiter.slots.set(None);
        if limiter.paced {
            limiter.paced = false;
            self.lingering.push(id);
        }
    }

    /// Resolves the limits of a lane once. The binding stays valid over [`Gate::set`] and [`Gate::remove`]; a
    /// policy that is unknown does not limit until it is set.
    #[must_use]
    pub fn bind(&mut self, policies: &[PolicyId]) -> Binding {
        let mut ids: Vec<LimiterId> = policies.iter().map(|policy| self.limiter_of(policy)).collect();
        ids.sort_unstable();
        ids.dedup();
        Binding(ids.into())
    }

    /// Asks for one start now: all limits grant it, or nothing changes. A lack of slots is told before a lack
    /// of pace.
    pub fn decide(&mut self, lane: &Binding, now: Timestamp) -> Decision {
        let mut latest = (now, None);
        if let Some(first) = lane.0.first().filter(|_| now < self.silent_until) {
            latest = (self.silent_until, Some(*first));
        }
        for id in &*lane.0 {
            let Some(limiter) = self.limiters.get(id.0 as usize) else { continue };
            if !limiter.slots.has_room() {
                return Decision::Wait(Blocker { limiter: *id, kind: BlockerKind::Slots });
            }
            let ready = limiter.ready_at(now);
            if ready > latest.0 {
                latest = (ready, Some(*id));
            }
        }
        match latest {
            (ready, Some(limiter)) => {
                Decision::NotBefore(ready, Blocker { limiter, kind: BlockerKind::Pace })
            }
            (_, None) => self.take(lane, now),
        }
    }

    /// Takes an unused permit back: everything is as if it had never been granted. A permit that was confirmed
    /// stays counted as a start. Also tells who has room again.
    pub fn put_back(&mut self, permit: Permit) -> Freed {
        for hold in permit.holds.iter().rev() {
            let Some(limiter) = self.limiters.get_mut(hold.limiter.0 as usize) else { continue };
            if let (Some(pace), Some(hold)) = (&mut limiter.pace, &hold.pace) {
                pace.put_back(hold);
            }
        }
        self.release(permit)
    }

    /// The call of this permit has ended, its slots are free. Returns the limiters of the permit that have room
    /// now; only these can have got it.
    pub fn release(&mut self, permit: Permit) -> Freed {
        let mut freed = Few::new();
        for hold in permit.holds.iter() {
            let Some(limiter) = self.limiters.get_mut(hold.limiter.0 as usize) else { continue };
            limiter.slots.give_back();
            if limiter.slots.has_room() {
                freed.push(hold.limiter);
            }
        }
        Freed(freed)
    }

    /// The state of every present policy's limits.
    pub fn figures(&self, now: Timestamp) -> impl Iterator<Item = Figures> {
        self.limiters.iter().filter(|limiter| limiter.active).map(move |limiter| limiter.figures(now))
    }

    /// The policy behind a limiter.
    #[must_use]
    pub fn policy(&self, limiter: LimiterId) -> Option<&PolicyId> {
        self.limiters.get(limiter.0 as usize).map(|limiter| &limiter.policy)
    }

    fn take(&mut self, lane: &Binding, now: Timestamp) -> Decision {
        let mut permit = Permit { granted_at: now, holds: Few::new() };
        for id in &*lane.0 {
            let Some(limiter) = self.limiters.get_mut(id.0 as usize) else { continue };
            match limiter.take(now) {
                Ok(pace) => permit.holds.push(Hold { limiter: *id, pace }),
                // Cannot be: `decide` has just found it ready, and a binding names no limiter twice.
                Err(ready) => {
                    self.put_back(permit);
                    return Decision::NotBefore(ready, Blocker { limiter: *id, kind: BlockerKind::Pace });
                }
            }
        }
        Decision::Go(permit)
    }

    fn limiter_of(&mut self, policy: &PolicyId) -> LimiterId {
        if let Some(id) = self.by_policy.get(policy) {
            return *id;
        }
        // Four billion policies do not fit into memory.
        let id = LimiterId(u32::try_from(self.limiters.len()).unwrap_or(u32::MAX));
        self.limiters.push(Limiter {
            policy: policy.clone(),
            active: false,
            paced: false,
            pace: None,
            last_start: Timestamp::ZERO,
            slots: Slots::unlimited(),
        });
        self.by_policy.insert(policy.clone(), id);
        id
    }

    /// Drops the memory of paces that limit no more and whose starts have left every window.
    fn forget_idle(&mut self, now: Timestamp) {
        let limiters = &mut self.limiters;
        self.lingering.retain(|id| {
            let Some(limiter) = limiters.get_mut(id.0 as usize).filter(|limiter| !limiter.paced) else {
                return false;
            };
            let Some(pace) = limiter.pace.take_if(|pace| pace.is_idle(now)) else {
                return limiter.pace.is_some();
            };
            limiter.last_start = pace.last_start();
            false
        });
    }
}

impl Limiter {
    fn set_pace(&mut self, pace: Option<Pace>, now: Timestamp) {
        self.paced = pace.is_some();
        let Some(pace) = pace else { return };
        match &mut self.pace {
            Some(limit) => limit.edit(pace, now),
            None => self.pace = Some(Box::new(PaceLimit::new(pace, self.last_start))),
        }
    }

    fn ready_at(&self, now: Timestamp) -> Timestamp {
        self.pace.as_ref().filter(|_| self.paced).map_or(now, |pace| pace.ready_at(now))
    }

    /// Takes a start and a slot; `Err` with the moment to ask again when the pace has no room.
    fn take(&mut self, now: Timestamp) -> Result<Option<PaceHold>, Timestamp> {
        let pace = match &mut self.pace {
            Some(pace) if self.paced => {
                let Some(hold) = pace.take(now) else { return Err(pace.ready_at(now)) };
                Some(hold)
            }
            _ => None,
        };
        self.slots.take();
        Ok(pace)
    }

    fn figures(&self, now: Timestamp) -> Figures {
        let pace = self.pace.as_ref();
        let seen = pace.map(|pace| pace.seen(now)).unwrap_or_default();
        Figures {
            policy: self.policy.clone(),
            permits_per_second: pace.filter(|_| self.paced).map(|pace| pace.pace().starts_per_second()),
            window_peak: seen.window_peak,
            violations: seen.violations,
            inflight: self.slots.inflight(),
            slots: self.slots.limit(),
        }
    }
}

impl Binding {
    /// The limiters, sorted.
    #[must_use]
    pub fn limiters(&self) -> &[LimiterId] {
        &self.0
    }
}

impl Freed {
    /// The limiters.
    pub fn iter(&self) -> impl Iterator<Item = LimiterId> {
        self.0.iter().copied()
    }
}
