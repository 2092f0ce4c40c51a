//! Bounds on what another policy counts: an endpoint that is shut once this many calls were made to the whole service,
//! wherever they went. A policy with bounds counts nothing itself.
//!
//! Must not know: lanes, how a meter counts.

use std::collections::HashMap;

use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::event::PolicyId;
use crate::limit::LimitKind;
use crate::limit::figures::Counter;
use crate::limit::limiter::Limiter;
use crate::limit::table::LimiterId;
use crate::policy::Limits;

/// The most starts that are allowed, for each kind of limit that counts starts.
type Most = SmallVec<[(LimitKind, u32); 2]>;

/// What one limiter allows of what another one counts.
#[derive(Debug, Clone)]
pub(super) struct Bound {
    most: Most,
    /// Who counts, as long as a lane is bound to both.
    pub(super) counter: Option<LimiterId>,
}

impl Bound {
    pub(super) fn new(limits: &Limits, counter: Option<LimiterId>) -> Self {
        Self { most: most(limits), counter }
    }

    /// How many more starts it allows beyond those that are promised, and which of its limits is the narrowest; `None`
    /// when it limits nothing that is counted.
    pub(super) fn room(&self, counter: &mut Limiter, now: Timestamp) -> Option<(u32, LimitKind)> {
        let rooms = self.most.iter().filter_map(|(kind, most)| {
            let meter = counter.meter_mut(*kind)?;
            Some((meter.room_below(*most, now), *kind))
        });
        rooms.min_by_key(|(room, _)| *room)
    }

    /// When this bound has room again, as far as is known.
    pub(super) fn free_at(
        &self,
        kind: LimitKind,
        counter: &mut Limiter,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let (_, most) = self.most.iter().find(|(of, _)| *of == kind)?;
        Some(counter.meter_mut(kind)?.below_at(*most, now))
    }

    /// The counters of the other limiter under these bounds.
    pub(super) fn counters(&self, counter: &mut Limiter, now: Timestamp) -> Vec<Counter> {
        let under = |(kind, most): &(LimitKind, u32)| Some(counter.meter_mut(*kind)?.counter(*most, now));
        self.most.iter().filter_map(under).collect()
    }
}

/// By policy: the least that others allow of what it counts.
#[derive(Debug, Default)]
pub(super) struct LeastBounds(HashMap<PolicyId, Most>);

impl LeastBounds {
    /// Another policy allows only this much of what `counter` counts.
    pub(super) fn add(&mut self, counter: &PolicyId, limits: &Limits) {
        for (kind, calls) in most(limits) {
            let known = self.0.entry(counter.clone()).or_default();
            match known.iter_mut().find(|(of, _)| *of == kind) {
                // It is never raised again, also when the smaller bound is gone: it only limits how much is put on
                // record ahead, and a value that is too small costs some more writes and no starts.
                Some((_, least)) => *least = calls.min(*least),
                None => known.push((kind, calls)),
            }
        }
    }

    /// Applies to a limiter what others allow of what it counts.
    pub(super) fn apply(&self, counter: &mut Limiter) {
        for (kind, most) in self.0.get(&counter.policy).into_iter().flatten() {
            if let Some(meter) = counter.meter_mut(*kind) {
                meter.bound(*most);
            }
        }
    }
}

fn most(limits: &Limits) -> Most {
    limits.metered().filter_map(|limit| Some((limit.kind(), limit.calls()?.get()))).collect()
}
