//! The limiters that are there: one for each policy and combination of label values that is in use. One that nobody
//! uses is forgotten as soon as its windows are empty, so that idle keys cost nothing.
//!
//! Must not know: how a limiter counts, what is granted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use crate::clock::Timestamp;
use crate::event::PolicyId;
use crate::limit::limiter::Limiter;
use crate::telemetry::defect;

/// Names a limiter for as long as something is bound to it or in flight under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimiterId(pub(super) u32);

/// Most limiters that one call of [`LimiterTable::forget`] looks at: it is called whenever a lane is bound, and must not
/// hold that up.
const FORGET_AT_ONCE: usize = 64;

#[derive(Debug, Default)]
pub(super) struct LimiterTable {
    by_key: HashMap<PolicyId, BTreeMap<Box<str>, LimiterId>>,
    slots: Vec<Option<LimiterSlot>>,
    /// The lowest is used first, so that the end becomes free and is given back.
    free: BTreeSet<LimiterId>,
    /// Unbound limiters by the time at which they may be forgotten.
    idle: BTreeSet<(Timestamp, LimiterId)>,
}

#[derive(Debug)]
struct LimiterSlot {
    limiter: Limiter,
    /// Bindings that name it; as long as there is one, it is not forgotten.
    refs: u32,
    /// The moment under which it is in `idle`; `None` when it is not there.
    idle_at: Option<Timestamp>,
}

impl LimiterTable {
    pub(super) fn find(&self, policy: &PolicyId, key: &str) -> Option<LimiterId> {
        self.by_key.get(policy)?.get(key).copied()
    }

    pub(super) fn insert(&mut self, limiter: Limiter) -> LimiterId {
        let id = self.free.pop_first().unwrap_or_else(|| {
            self.slots.push(None);
            // Four billion limiters do not fit into memory.
            LimiterId(u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX))
        });
        self.by_key.entry(limiter.policy.clone()).or_default().insert(limiter.key.clone(), id);
        if let Some(slot) = self.slots.get_mut(id.0 as usize) {
            *slot = Some(LimiterSlot { limiter, refs: 0, idle_at: None });
        }
        id
    }

    pub(super) fn get(&self, id: LimiterId) -> Option<&Limiter> {
        Some(&self.slots.get(id.0 as usize)?.as_ref()?.limiter)
    }

    pub(super) fn get_mut(&mut self, id: LimiterId) -> Option<&mut Limiter> {
        Some(&mut self.slots.get_mut(id.0 as usize)?.as_mut()?.limiter)
    }

    /// One more binding names it: it is not forgotten meanwhile.
    pub(super) fn bind(&mut self, id: LimiterId) {
        if let Some(slot) = self.slots.get_mut(id.0 as usize).and_then(Option::as_mut) {
            slot.refs += 1;
            if let Some(at) = slot.idle_at.take() {
                self.idle.remove(&(at, id));
            }
        }
    }

    /// One binding less names it: without any it is forgotten when it is empty.
    pub(super) fn unbind(&mut self, id: LimiterId) {
        if let Some(slot) = self.slots.get_mut(id.0 as usize).and_then(Option::as_mut) {
            defect!(unless slot.refs > 0, "a limiter that is let go of more often than it was bound");
            slot.refs = slot.refs.saturating_sub(1);
        }
        self.watch(id);
    }

    /// Looks whether it may be forgotten, now or later: its calls have ended, or nobody is bound to it any more.
    pub(super) fn watch(&mut self, id: LimiterId) {
        let Some(slot) = self.slots.get_mut(id.0 as usize).and_then(Option::as_mut) else { return };
        if slot.refs > 0 {
            return;
        }
        let at = slot.limiter.idle_at();
        if let Some(before) = slot.idle_at.take() {
            self.idle.remove(&(before, id));
        }
        // What is in flight or awaited comes by here again when it has ended.
        if at < Timestamp::MAX {
            slot.idle_at = Some(at);
            self.idle.insert((at, id));
        }
    }

    /// Takes out some of those whose time has come.
    pub(super) fn forget(&mut self, now: Timestamp, mut forgotten: impl FnMut(Limiter)) {
        for _ in 0..FORGET_AT_ONCE {
            let Some((at, id)) = self.idle.first().copied().filter(|(at, _)| *at <= now) else { return };
            self.idle.remove(&(at, id));
            let Some(slot) = self.slots.get_mut(id.0 as usize) else { continue };
            // Only unbound limiters stand in `idle`. Those that an edit gives a longer window since are remembered.
            if let Some(LimiterSlot { limiter, .. }) = slot.take() {
                if let Some(keys) = self.by_key.get_mut(&limiter.policy) {
                    keys.remove(&limiter.key);
                    if keys.is_empty() {
                        // Else a policy that is deleted would leave its empty map behind for good.
                        self.by_key.remove(&limiter.policy);
                    }
                }
                self.free.insert(id);
                forgotten(limiter);
            }
            self.shrink();
        }
    }

    /// Gives back what is free at the end.
    fn shrink(&mut self) {
        while self.slots.last().is_some_and(Option::is_none) {
            self.slots.pop();
            let freed = self.free.pop_last();
            defect!(
                unless freed.is_some_and(|id| id.0 as usize == self.slots.len()),
                "a place without a limiter that is not among the free ones"
            );
        }
        // Only when three quarters are unused, and to twice what is used: a number that goes up and down must not copy
        // each time.
        if self.slots.capacity() > 4 * self.slots.len().max(64) {
            self.slots.shrink_to(2 * self.slots.len());
        }
    }

    /// When the next one may be forgotten.
    pub(super) fn next_idle(&self) -> Option<Timestamp> {
        self.idle.first().map(|(at, _)| *at)
    }

    /// The limiters of a policy in order of their keys, those after `after`.
    pub(super) fn of_policy<'t>(
        &'t self,
        policy: &PolicyId,
        after: Option<&str>,
    ) -> impl Iterator<Item = LimiterId> + use<'t> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let keys = self.by_key.get(policy).map(|keys| keys.range::<str, _>((from, Bound::Unbounded)));
        keys.into_iter().flatten().map(|(_, id)| *id)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Limiter> {
        self.slots.iter_mut().flatten().map(|slot| &mut slot.limiter)
    }

    /// Up to `most` places from `from` on, and the place after them.
    pub(super) fn page_mut(
        &mut self,
        from: usize,
        most: usize,
    ) -> (impl Iterator<Item = &mut Limiter>, Option<usize>) {
        let until = from.saturating_add(most).min(self.slots.len());
        let next = (until < self.slots.len()).then_some(until);
        let page = self.slots.get_mut(from.min(until)..until).unwrap_or_default();
        (page.iter_mut().flatten().map(|slot| &mut slot.limiter), next)
    }

    /// How many limiters there are, also without bindings.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
