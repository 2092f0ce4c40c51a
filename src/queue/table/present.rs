//! The lanes that hold something, found by key, and by number so that a pass over all of them can be made in parts.
//!
//! Must not know: what a lane holds.

use std::collections::HashMap;

use crate::event::LaneKey;
use crate::queue::table::state::QueueLane;

/// A lane under its key. Apart from its place, so that a place that is free costs next to nothing, and more places are
/// made without moving lanes.
type Slot = Option<Box<(LaneKey, QueueLane)>>;

/// The lanes, each in a place that it keeps.
#[derive(Default)]
pub(super) struct Present {
    by_key: HashMap<LaneKey, usize>,
    slots: Vec<Slot>,
    free: Vec<usize>,
}

impl Present {
    pub(super) fn get(&self, key: &LaneKey) -> Option<&QueueLane> {
        let slot = self.slots.get(*self.by_key.get(key)?)?;
        slot.as_deref().map(|(_, lane)| lane)
    }

    pub(super) fn get_mut(&mut self, key: &LaneKey) -> Option<&mut QueueLane> {
        let slot = self.slots.get_mut(*self.by_key.get(key)?)?;
        slot.as_deref_mut().map(|(_, lane)| lane)
    }

    /// The lane of this key, and whether it was made for this call.
    pub(super) fn get_or_make(&mut self, key: &LaneKey) -> (&mut QueueLane, bool) {
        let known = self.by_key.get(key).copied();
        let number = known.unwrap_or_else(|| {
            let number = self.free.pop().unwrap_or(self.slots.len());
            if number == self.slots.len() {
                self.slots.push(None);
            }
            self.by_key.insert(key.clone(), number);
            number
        });
        // A number stands for a place that is there: it was pushed above, or for the lane that had it before.
        let slot = &mut self.slots[number];
        (&mut slot.get_or_insert_with(|| Box::new((key.clone(), QueueLane::default()))).1, known.is_none())
    }

    /// False when there was no such lane.
    pub(super) fn remove(&mut self, key: &LaneKey) -> bool {
        let Some(number) = self.by_key.remove(key) else { return false };
        if let Some(slot) = self.slots.get_mut(number) {
            *slot = None;
        }
        self.free.push(number);
        true
    }

    pub(super) fn contains(&self, key: &LaneKey) -> bool {
        self.by_key.contains_key(key)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(LaneKey, QueueLane)> {
        self.slots.iter().filter_map(Option::as_deref)
    }

    /// The lanes in up to `most` places from `from` on, and the place after them.
    pub(super) fn page(
        &self,
        from: usize,
        most: usize,
    ) -> (impl Iterator<Item = &(LaneKey, QueueLane)>, Option<usize>) {
        let until = from.saturating_add(most).min(self.slots.len());
        let page = self.slots.get(from..until).unwrap_or_default();
        (page.iter().filter_map(Option::as_deref), (until < self.slots.len()).then_some(until))
    }
}
