//! The kinds of limits: one table of what the rest of the program has to know of each.
//!
//! Must not know: how a limit counts.

use crate::policy::RefusalCodes;

/// What a limit counts or forbids: each policy has at most one limit of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitKind {
    /// Starts per second, with even gaps between them.
    Pace,
    /// Starts in every sliding window of a length.
    Window,
    /// Starts in each calendar period of UTC.
    Quota,
    /// Calls in flight at the same time.
    Slots,
    /// Nothing may start, now or later, until the policy is changed.
    Closed,
}

/// What has to be known of one kind.
struct KindTraits {
    /// The word that API, record and metrics use.
    word: &'static str,
    /// tidegate's own code of a refusal.
    code: &'static str,
    /// Whether it counts starts, and so can turn calls away.
    counts_starts: bool,
    /// Whether it counts by calendar periods: one sum for each.
    has_periods: bool,
    /// Whether calls that have no room under it may wait.
    lets_wait: bool,
    /// Whether its starts are counted a second time, by a check that finds one too many.
    is_checked: bool,
    /// Whether an operator can state what is used of it.
    is_stated: bool,
}

impl LimitKind {
    /// All of them, in the order in which limits are asked.
    pub const ALL: [Self; 5] = [Self::Pace, Self::Window, Self::Quota, Self::Slots, Self::Closed];

    const fn row(self) -> KindTraits {
        match self {
            Self::Pace => KindTraits {
                word: "pace",
                code: "over_pace",
                counts_starts: true,
                has_periods: false,
                lets_wait: true,
                is_checked: true,
                is_stated: false,
            },
            Self::Window => KindTraits {
                word: "window",
                code: "over_window",
                counts_starts: true,
                has_periods: false,
                lets_wait: true,
                is_checked: true,
                is_stated: true,
            },
            Self::Quota => KindTraits {
                word: "quota",
                code: "over_quota",
                counts_starts: true,
                has_periods: true,
                lets_wait: true,
                is_checked: false,
                is_stated: true,
            },
            Self::Slots => KindTraits {
                word: "slots",
                code: "over_slots",
                counts_starts: false,
                has_periods: false,
                lets_wait: true,
                is_checked: false,
                is_stated: false,
            },
            Self::Closed => KindTraits {
                word: "closed",
                code: "closed",
                counts_starts: false,
                has_periods: false,
                lets_wait: false,
                is_checked: false,
                is_stated: false,
            },
        }
    }

    /// The word that API, record and metrics use.
    #[must_use]
    pub const fn word(self) -> &'static str {
        self.row().word
    }

    /// The kind that goes by this word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// tidegate's own code of a refusal.
    #[must_use]
    pub const fn own_code(self) -> &'static str {
        self.row().code
    }

    /// The code of a refusal: that of the system which the policy comes from, or tidegate's own.
    #[must_use]
    pub fn code(self, wording: Option<&RefusalCodes>) -> &str {
        match (self, wording) {
            (Self::Pace | Self::Window, Some(wording)) => &wording.per_window,
            (Self::Quota, Some(wording)) => &wording.per_quota,
            (Self::Closed, Some(wording)) => &wording.closed,
            (Self::Slots, _) | (_, None) => self.own_code(),
        }
    }

    /// Whether it counts starts: such limits can turn calls away.
    #[must_use]
    pub const fn counts_starts(self) -> bool {
        self.row().counts_starts
    }

    /// Whether it counts by calendar periods: one sum for each, which is kept while its limit is gone.
    #[must_use]
    pub const fn has_periods(self) -> bool {
        self.row().has_periods
    }

    /// Whether calls that have no room under it may wait for some.
    #[must_use]
    pub const fn lets_wait(self) -> bool {
        self.row().lets_wait
    }

    /// Whether its starts are counted a second time, by a check that finds one too many.
    #[must_use]
    pub const fn is_checked(self) -> bool {
        self.row().is_checked
    }

    /// Whether an operator can state what is used of it.
    #[must_use]
    pub const fn is_stated(self) -> bool {
        self.row().is_stated
    }
}

/// The compiler asks for a row of a new kind; this asks for its place among [`LimitKind::ALL`].
const _: () = {
    let mut at = 0;
    while at < LimitKind::ALL.len() {
        assert!(LimitKind::ALL[at] as usize == at, "Kind::ALL has the order of the kinds");
        at += 1;
    }
    assert!(
        LimitKind::Closed as usize + 1 == LimitKind::ALL.len(),
        "Kind::ALL has all kinds, of which Closed is the last"
    );
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Limited, Reason};
    use crate::manual::chapter;
    use crate::problem::codes;

    #[test]
    fn each_kind_is_found_by_its_word_and_has_a_code_of_its_own() {
        for kind in LimitKind::ALL {
            assert_eq!(LimitKind::of_word(kind.word()), Some(kind));
            let namesakes = LimitKind::ALL.iter().filter(|other| other.own_code() == kind.own_code());
            assert_eq!(namesakes.count(), 1, "{kind:?}");
        }
        assert_eq!(LimitKind::of_word("rate"), None);
    }

    /// What is written for people names each kind where it belongs.
    #[test]
    fn the_manual_has_every_kind() {
        let text = |name: &str| chapter(name).map_or("", |chapter| chapter.text);
        let row = |name: &str, first: &str| {
            let start = format!("| `{first}` |");
            text(name).lines().find(|line| line.starts_with(&start)).unwrap_or_default()
        };
        let mut missing = Vec::new();
        let mut has = |line: &str, word: &str, place: &str| {
            if !line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|other| other == word) {
                missing.push(format!("{place}: {word}"));
            }
        };
        for kind in LimitKind::ALL.into_iter().filter(|kind| kind.lets_wait()) {
            let word = kind.word();
            has(row("limits", word), word, "limits.md, the members of a policy");
            has(row("metrics", "tidegate_limiter_permits_total"), word, "metrics.md, the permits");
        }
        for kind in LimitKind::ALL.into_iter().filter(|kind| kind.counts_starts()) {
            let word = kind.word();
            has(row("metrics", "tidegate_limit_window_peak"), word, "metrics.md, the peaks");
            has(row("steering", "figures.limits"), word, "steering.md, the figures");
            has(row("errors", kind.own_code()), kind.own_code(), "errors.md");
        }
        assert!(missing.is_empty(), "{missing:#?}");
    }

    /// The rooms that know a closed list of their own have every kind in it.
    #[test]
    fn codes_and_reasons_have_every_kind() {
        let mut missing = Vec::new();
        for kind in LimitKind::ALL {
            let code = kind.own_code();
            // Calls wait for slots, whatever the family of the policy.
            if (kind.counts_starts() || kind == LimitKind::Closed)
                && !codes::ALL.iter().any(|known| known.word == code)
            {
                missing.push(format!("problem/codes.rs: {code}"));
            }
            if Reason::of_letter(code).word() != code {
                missing.push(format!("event/reason.rs: {code}"));
            }
            if Limited::by(None, kind.word()).is_none() {
                missing.push(format!("event/why.rs: {}", kind.word()));
            }
        }
        assert!(missing.is_empty(), "{missing:#?}");
    }
}
