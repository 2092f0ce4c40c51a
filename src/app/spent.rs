//! The doubt about usages: raised when the record of what limits have consumed was damaged or missing, and kept while
//! limits count as spent for that.
//!
//! Must not know: how limits count, how the record is kept.

use crate::clock::Timestamp;
use crate::store::UsageFound;
use crate::store::doubts::{DoubtKind, Doubts, NewDoubt};

/// The file that the doubt is about.
const SUBJECT: &str = "limits/usage.log";

/// Keeps the doubt up to date.
pub(super) struct SpentLimits {
    doubts: Doubts,
    /// The doubt ends when no limit counts as spent. One about damage under which none ever did is a report, which
    /// stays until it is acknowledged.
    ends: bool,
}

impl SpentLimits {
    /// Raises the doubt when the record that was opened is damaged or missing.
    pub(super) fn opened(doubts: Doubts, found: &UsageFound, opened_at: Timestamp) -> Self {
        // A record that was missing is complete only from this start on.
        let is_missing = found.damaged == 0 && found.complete_from >= opened_at;
        if found.damaged > 0 || is_missing {
            let what = if is_missing {
                "there is no record of what limits have consumed".to_owned()
            } else {
                format!("{} places in the record of what limits have consumed are damaged", found.damaged)
            };
            doubts.raise(doubt(&what), opened_at);
        }
        Self { doubts, ends: found.damaged == 0 && !is_missing }
    }

    /// Without a look at the record: the store is held.
    pub(super) fn unopened(doubts: Doubts) -> Self {
        Self { doubts, ends: false }
    }

    /// Limits count as spent until then, or none does.
    pub(super) fn look(&mut self, spent_until: Option<Timestamp>, now: Timestamp) {
        let open = self.doubts.find(DoubtKind::Usages, SUBJECT);
        match spent_until {
            Some(until) => {
                self.ends = true;
                if open.is_none() {
                    let what =
                        format!("what limits have consumed was lost; some count as spent until {until}");
                    self.doubts.raise(doubt(&what), now);
                }
            }
            None if self.ends && open.is_some() => self.doubts.clear(DoubtKind::Usages, SUBJECT),
            None => {}
        }
    }
}

fn doubt(what: &str) -> NewDoubt {
    NewDoubt {
        kind: DoubtKind::Usages,
        subject: SUBJECT.to_owned(),
        detail: format!("{what}: quotas count as spent until their periods end, windows for their length"),
        way_out:
            "wait, or state what is used with POST /v1/policies/{id}:set-usage or `tidegate policy set-usage`"
                .to_owned(),
        events: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(5_000);

    fn found(damaged: u64, complete_from: u64) -> UsageFound {
        let complete_from = Timestamp::from_millis(complete_from);
        UsageFound { damaged, complete_from, ..UsageFound::default() }
    }

    #[test]
    fn damage_is_reported_and_ends_when_nothing_counts_as_spent_any_more() {
        let doubts = Doubts::default();
        let mut spent = SpentLimits::opened(doubts.clone(), &found(2, 5_000), NOW);
        let detail = doubts.list().first().map(|doubt| doubt.detail.clone()).unwrap_or_default();
        assert!(detail.starts_with("2 places"), "{detail}");
        spent.look(Some(Timestamp::from_millis(9_000)), NOW);
        assert_eq!(doubts.list().first().map(|doubt| doubt.detail.clone()), Some(detail));
        spent.look(None, Timestamp::from_millis(9_000));
        assert_eq!(doubts.list(), []);
    }

    #[test]
    fn damage_that_concerns_no_limit_stays_a_report() {
        let doubts = Doubts::default();
        let mut spent = SpentLimits::opened(doubts.clone(), &found(0, 5_000), NOW);
        spent.look(None, NOW);
        assert_eq!(doubts.list().len(), 1, "missing");
        // After the next start nothing is new.
        SpentLimits::opened(doubts.clone(), &found(0, 4_000), NOW).look(None, NOW);
        assert_eq!(doubts.list(), []);
    }

    #[test]
    fn a_sound_record_raises_nothing_and_one_that_was_lost_before_is_told_again() {
        let doubts = Doubts::default();
        SpentLimits::opened(doubts.clone(), &found(0, 0), NOW).look(None, NOW);
        assert_eq!(doubts.list(), []);
        let mut spent = SpentLimits::opened(doubts.clone(), &found(0, 4_000), NOW);
        spent.look(Some(Timestamp::from_millis(9_000)), NOW);
        assert_eq!(doubts.list().len(), 1);
    }
}
