//! Entries that an operator takes out of the store, one by one and by name. A page under way may hold one of them: it is
//! filtered when the page ends, by what was in hand at any time since the page began.
//!
//! Must not know: what is done with them.

use crate::event::{EventId, LaneKey};
use crate::queue::standing::Held;
use crate::queue::table::{LaneTable, LoadEnd};

impl LaneTable {
    /// Who has an entry; `None` when its lane holds nothing. One that the store alone holds is watched from now on, until
    /// something of it is booked.
    pub(in crate::queue) fn watch(&mut self, lane: &LaneKey, id: EventId) -> Option<Held> {
        let state = self.lanes.get_mut(lane)?;
        let held = state.holder(id);
        if held == Held::Stored {
            state.watched.insert(id);
        }
        Some(held)
    }

    /// The entry is not to be taken after all.
    pub(in crate::queue) fn unwatch(&mut self, lane: &LaneKey, id: EventId) {
        if let Some(state) = self.lanes.get_mut(lane) {
            state.watched.remove(&id);
        }
    }

    /// Hands a watched entry out to an operator. What the store said of its place since it is watched holds when this
    /// answers true: whatever moves an entry is booked, or has the entry handed out until it is booked.
    pub(in crate::queue) fn take_in_hand(&mut self, lane: &LaneKey, id: EventId, is_put_off: bool) -> bool {
        let Self { lanes, books, .. } = self;
        let Some(state) = lanes.get_mut(lane) else { return false };
        if !state.watched.remove(&id) || state.holder(id) != Held::Stored {
            return false;
        }
        let (one, none): (&[EventId], &[EventId]) = (std::slice::from_ref(&id), &[]);
        let (plain, put_off) = if is_put_off { (none, one) } else { (one, none) };
        let changed = state.changed;
        let load = LoadEnd { plain, put_off, read_to: None, next_due: None, exhausted: false, changed };
        // One that nobody has counted yet is of an append that is durable and not booked: counted in it, as in a page.
        state.hand_out(&load, books);
        state.in_hand.insert(id);
        if state.loading {
            state.gone.insert(id);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::event::{LaneKey, Settlement};
    use crate::queue::LaneSignal;
    use crate::queue::table::LoadStart;

    fn id(n: u128) -> EventId {
        EventId::new(1, n)
    }

    /// A table with one lane that holds entries 1 to 3 in plain order.
    fn table() -> (LaneTable, LaneKey, mpsc::UnboundedReceiver<LaneSignal>) {
        let (signal, signals) = mpsc::unbounded_channel();
        let (mut table, lane) = (LaneTable::new(signal), LaneKey::new("p@1").expect("short"));
        for n in 1..=3 {
            table.begin_append(&lane);
            table.appended(&lane, id(n), None);
        }
        (table, lane, signals)
    }

    fn begin(table: &mut LaneTable, lane: &LaneKey) -> LoadStart {
        table.begin_load(lane).expect("holds something")
    }

    /// What a page of these entries hands out.
    fn end(table: &mut LaneTable, lane: &LaneKey, start: &LoadStart, read: &[EventId]) -> Vec<EventId> {
        let gone = table.end_reading(lane);
        let plain: Vec<EventId> = read.iter().copied().filter(|id| !gone.contains(id)).collect();
        let (read_to, exhausted) = (read.last().copied(), read.is_empty());
        let changed = start.changed;
        let end = LoadEnd { plain: &plain, put_off: &[], read_to, next_due: None, exhausted, changed };
        table.end_load(lane, &end);
        plain
    }

    fn take(table: &mut LaneTable, lane: &LaneKey, n: u128) -> bool {
        table.watch(lane, id(n)) == Some(Held::Stored) && table.take_in_hand(lane, id(n), false)
    }

    /// Whenever the page begins and ends, it hands out the other two.
    #[test]
    fn a_page_hands_out_nothing_that_was_in_hand_while_it_was_read() {
        let cancel = |table: &mut LaneTable, lane: &LaneKey| {
            table.settled(lane, id(2), None, &Settlement::Cancelled);
        };
        let all = [id(1), id(2), id(3)];
        // Taken and settled within the page; taken before it; taken within it and settled later.
        for (before, within, settles) in [(false, true, true), (true, false, true), (false, true, false)] {
            let (mut table, lane, _signals) = table();
            if before {
                assert!(take(&mut table, &lane, 2));
            }
            let start = begin(&mut table, &lane);
            if within {
                assert!(take(&mut table, &lane, 2));
            }
            if settles {
                cancel(&mut table, &lane);
            }
            assert_eq!(end(&mut table, &lane, &start, &all), [id(1), id(3)]);
            if !settles {
                cancel(&mut table, &lane);
            }
            let ledger = table.ledger();
            assert_eq!((ledger.accepted, ledger.cancelled, ledger.ready), (3, 1, 2));
        }
        // The control: without an operator the page hands out all three, and then none of them can be taken.
        let (mut table, lane, _signals) = table();
        let start = begin(&mut table, &lane);
        assert_eq!(end(&mut table, &lane, &start, &all), all);
        assert_eq!(table.watch(&lane, id(2)), Some(Held::ReadAhead));
        table.start(&lane, id(2), false);
        assert_eq!(table.watch(&lane, id(2)), Some(Held::Started));
    }

    #[test]
    fn what_is_watched_and_moves_meanwhile_is_not_taken() {
        let (mut table, lane, _signals) = table();
        // A page hands it out between the two looks.
        assert_eq!(table.watch(&lane, id(1)), Some(Held::Stored));
        let start = begin(&mut table, &lane);
        end(&mut table, &lane, &start, &[id(1)]);
        assert!(!table.take_in_hand(&lane, id(1), false));
        // The same, and its end is booked as well.
        assert_eq!(table.watch(&lane, id(2)), Some(Held::Stored));
        let start = begin(&mut table, &lane);
        end(&mut table, &lane, &start, &[id(2)]);
        table.settled(&lane, id(2), None, &Settlement::Delivered);
        assert!(!table.take_in_hand(&lane, id(2), false));
        // The control: nothing happens to it.
        assert!(take(&mut table, &lane, 3));
        let ledger = table.ledger();
        assert_eq!((ledger.delivered, ledger.ready), (1, 2));
    }

    #[test]
    fn a_lane_that_an_operator_empties_is_kept_until_the_page_has_ended() {
        let (signal, _signals) = mpsc::unbounded_channel();
        let (mut table, lane) = (LaneTable::new(signal), LaneKey::new("p@1").expect("short"));
        table.begin_append(&lane);
        table.appended(&lane, id(1), None);
        let start = begin(&mut table, &lane);
        assert!(take(&mut table, &lane, 1));
        table.settled(&lane, id(1), None, &Settlement::Cancelled);
        assert!(!table.is_empty(), "its page has to find here what has ended");
        assert_eq!(end(&mut table, &lane, &start, &[id(1)]), []);
        assert!(table.is_empty());
    }
}
