//! What was remarkable about an answer, for people who ask later: the time to come back that it named, lines of its head
//! that were broken, and its beginning where that is asked for.
//!
//! Must not know: what follows from an outcome.

use http::HeaderMap;
use http::header::RETRY_AFTER;

use super::asked::{self, NOTHING_LEFT};
use super::heads::Mended;
use crate::clock::Timestamp;
use crate::event::{AnswerExcerpt, NamedTime, Noticed, Outcome, Wait, Word};
use crate::telemetry::AnswerTimeIgnored;

/// Whatever is remarkable about an answer with these headers that meant `outcome` at the wall time `wall`.
pub(super) fn of(
    headers: &HeaderMap,
    outcome: &Outcome,
    wall: Timestamp,
    mended: Mended,
    answer: Option<AnswerExcerpt>,
) -> Option<Box<Noticed>> {
    let lines = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let noticed = Noticed {
        named: named(headers, outcome, wall),
        broken_lines: lines(mended.broken),
        surplus_lines: lines(mended.surplus),
        answer,
    };
    (!noticed.is_empty()).then(|| Box::new(noticed))
}

/// The time to come back that an answer named, and why it was not taken as it stands there.
fn named(headers: &HeaderMap, outcome: &Outcome, wall: Timestamp) -> Option<NamedTime> {
    let heard = outcome.asked();
    if !headers.contains_key(RETRY_AFTER) {
        let of_limit = match outcome {
            Outcome::Retry { retry_after, .. } => *retry_after,
            Outcome::Paced { next, .. } if next.said() == NOTHING_LEFT => Some(next.length()),
            _ => None,
        };
        let by = Word::Borrowed("RateLimit");
        return of_limit.map(|asked| NamedTime { by, asked: Some(asked), obeyed: None, why: None });
    }
    let asked = asked::retry_after(headers, wall);
    let why = match (asked, heard) {
        (None, _) => Some(NamedTime::UNREADABLE),
        (Some(_), None) => Some(NamedTime::OTHER_STATUS),
        (Some(asked), Some(heard)) if asked.max(Wait::SHORTEST) != heard.max(Wait::SHORTEST) => {
            Some(NamedTime::OTHER_PREVAILS)
        }
        (Some(asked), _) if asked >= Wait::LONGEST => Some(NamedTime::BEYOND_LONGEST),
        _ if asked::is_in_doubt(headers, wall) => Some(NamedTime::CLOCK_IN_DOUBT),
        _ => None,
    };
    let is_counted = |why: &&Word| **why != NamedTime::OTHER_PREVAILS;
    if let Some(Word::Borrowed(why)) = why.as_ref().filter(is_counted) {
        AnswerTimeIgnored { why }.emit();
    }
    Some(NamedTime { by: Word::Borrowed("Retry-After"), asked, obeyed: None, why })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::delivery::testing::headers;
    use crate::event::Cause;

    fn retry(s: Option<u64>) -> Outcome {
        Outcome::Retry { cause: Cause::Status(503), retry_after: s.map(Duration::from_secs) }
    }

    #[test]
    fn what_is_cut_or_ignored_says_why() {
        let delivered = Outcome::Delivered { status: 200 };
        let next = |s| Outcome::Paced {
            end: Box::new(Outcome::Delivered { status: 200 }),
            next: Wait::new(NOTHING_LEFT, Duration::from_secs(s)),
        };
        let date = "Sun, 06 Nov 2094 08:49:37 GMT";
        let year = Wait::LONGEST.as_secs();
        for (value, outcome, wall, asked, why) in [
            (Some("7"), retry(Some(7)), 1, Some(7), None),
            (Some("0"), retry(Some(0)), 1, Some(0), None),
            (Some("soon"), retry(None), 1, None, Some(NamedTime::UNREADABLE)),
            (Some("7"), delivered.clone(), 1, Some(7), Some(NamedTime::OTHER_STATUS)),
            (Some("7"), next(30), 1, Some(7), Some(NamedTime::OTHER_PREVAILS)),
            (Some("99999999"), retry(Some(year)), 1, Some(year), Some(NamedTime::BEYOND_LONGEST)),
            (
                Some("Sun, 06 Nov 1994 08:49:37 GMT"),
                retry(Some(3600)),
                0,
                Some(3600),
                Some(NamedTime::CLOCK_IN_DOUBT),
            ),
            (None, retry(Some(30)), 1, Some(30), None),
            (None, next(30), 1, Some(30), None),
        ] {
            let headers = value.map_or_else(HeaderMap::new, |value| headers(&[("retry-after", value)]));
            let wall = Timestamp::from_millis(wall);
            let named = named(&headers, &outcome, wall).expect("one is named");
            assert_eq!(named.asked.map(|asked| asked.as_secs()), asked, "{value:?}");
            assert_eq!(named.why, why, "{value:?} {outcome:?}");
        }
        assert_eq!(of(&HeaderMap::new(), &delivered, Timestamp::ZERO, Mended::default(), None), None);
        assert_eq!(
            of(&headers(&[("x", date)]), &retry(None), Timestamp::ZERO, Mended::default(), None),
            None
        );
    }
}
