//! The token of one endpoint, and when it is asked for: pure, at the moments that it is handed.
//!
//! - One question at a time, for all calls that wait.
//! - A token is renewed when a fifth of its life is left, or five minutes of it: calls go on with it meanwhile.
//! - It is not sent any more shortly before its end: a call takes time to arrive.
//! - One that an endpoint refuses is renewed, but none sooner than [`YOUNGEST_RENEWED`] after it came: an endpoint that refuses
//!   some calls for reasons of its own must not make a storm of questions.
//!
//! Must not know: how a token is asked for.

use std::time::Duration;

use http::HeaderValue;

use super::answer::Granted;
use super::{Readiness, TokenFailure};
use crate::clock::Timestamp;

/// A token that is refused is not renewed before it has this age.
pub(super) const YOUNGEST_RENEWED: Duration = Duration::from_secs(10);
/// How often it is looked whether a token has come that is being asked for.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// The longest that is waited before it is looked again: the configuration may have changed meanwhile.
const LONGEST_LOOK: Duration = Duration::from_secs(5);
/// The longest time before its end at which a token is renewed.
const RENEWED_BEFORE: Duration = Duration::from_secs(5 * 60);
/// The longest time before its end from which on it is not sent any more.
const UNSENT_BEFORE: Duration = Duration::from_secs(5);
/// The waits after a question that failed: twice as long each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The token that is there, the question that is under way, and what came of the last one.
#[derive(Clone, Default)]
pub(super) struct TokenCache {
    token: Option<KeptToken>,
    /// How many there were.
    count: u64,
    is_asked: bool,
    failures: u32,
    failed: Option<TokenFailure>,
    /// No question before this moment.
    not_before: Timestamp,
}

#[derive(Clone)]
struct KeptToken {
    value: HeaderValue,
    number: u64,
    since: Timestamp,
    /// From here on it is renewed.
    renewed_from: Timestamp,
    /// From here on it is not sent.
    unsent_from: Timestamp,
}

/// Why there is no token, or why there will soon be none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TokenProblem {
    pub(super) failure: TokenFailure,
    /// There is none that may be sent.
    pub(super) calls_wait: bool,
}

impl TokenCache {
    /// Whether calls may start at `now`, and whether a token is to be asked for: whoever hears `true` does it, and reports
    /// through [`TokenCache::answered`].
    pub(super) fn look(&mut self, now: Timestamp) -> (Readiness, bool) {
        let is_usable = self.is_usable(now);
        let is_wanted = self.token.as_ref().is_none_or(|token| now >= token.renewed_from) || !is_usable;
        let asks = is_wanted && !self.is_asked && now >= self.not_before;
        self.is_asked |= asks;
        let readiness = match is_usable {
            true => Readiness::Ready,
            false if self.is_asked => Readiness::Wait(LOOK_AGAIN),
            false => Readiness::Wait(self.not_before.since(now).clamp(LOOK_AGAIN, LONGEST_LOOK)),
        };
        (readiness, asks)
    }

    /// The token that is there, whatever is known of it, and its number.
    pub(super) fn token(&self) -> Option<(HeaderValue, u64)> {
        self.token.as_ref().map(|token| (token.value.clone(), token.number))
    }

    /// The question that was begun at `asked_at` has ended at `now`, with the time for which the token server asked to be left
    /// alone.
    pub(super) fn answered(
        &mut self,
        answer: Result<Granted, TokenFailure>,
        alone: Option<Duration>,
        asked_at: Timestamp,
        now: Timestamp,
    ) {
        self.is_asked = false;
        match answer {
            Ok(Granted { value, lifetime }) => {
                self.count += 1;
                // From the question on: it may have been made right then.
                let end = asked_at + lifetime;
                self.token = Some(KeptToken {
                    value,
                    number: self.count,
                    since: now,
                    renewed_from: end - (lifetime / 5).min(RENEWED_BEFORE),
                    unsent_from: end - (lifetime / 20).min(UNSENT_BEFORE),
                });
                (self.failures, self.failed) = (0, None);
                // An answer that is old already must not be asked for again and again.
                self.not_before = now + FIRST_WAIT.min(lifetime / 4);
            }
            Err(failure) => {
                // Kept in the range of the shift.
                let wait = FIRST_WAIT.saturating_mul(1 << self.failures.min(16)).min(LONGEST_WAIT);
                self.failures = self.failures.saturating_add(1);
                self.failed = Some(failure);
                self.not_before = now + wait.max(alone.unwrap_or_default());
            }
        }
    }

    /// An endpoint has refused the token with this number at `now`. Returns after which time the call is best tried again.
    pub(super) fn refused(&mut self, number: u64, now: Timestamp) -> Duration {
        let Some(token) = self.token.as_mut().filter(|token| token.number == number) else {
            // It was renewed meanwhile.
            return LOOK_AGAIN;
        };
        // Renewed a little before, so that calls go on meanwhile where the endpoint refuses single ones alone.
        let end = token.since + YOUNGEST_RENEWED;
        token.renewed_from = token.renewed_from.min(end - YOUNGEST_RENEWED / 5);
        token.unsent_from = token.unsent_from.min(end.max(now));
        token.unsent_from.since(now) + LOOK_AGAIN
    }

    /// Takes over what is known of the same credentials, but for a question that is under way: its answer goes elsewhere.
    pub(super) fn go_on_from(&mut self, before: Self) {
        *self = Self { is_asked: false, ..before };
    }

    /// Why calls wait, or will wait when the token ends; `None` while all is well, or before the first question has ended.
    pub(super) fn problem(&self, now: Timestamp) -> Option<TokenProblem> {
        self.failed.map(|failure| TokenProblem { failure, calls_wait: !self.is_usable(now) })
    }

    /// Why the last question failed, if it did.
    pub(super) fn last_failure(&self) -> Option<TokenFailure> {
        self.failed
    }

    fn is_usable(&self, now: Timestamp) -> bool {
        self.token.as_ref().is_some_and(|token| now < token.unsent_from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + ms)
    }

    fn granted(seconds: u64) -> Result<Granted, TokenFailure> {
        Ok(Granted { value: HeaderValue::from_static("t"), lifetime: Duration::from_secs(seconds) })
    }

    /// One with a token for 100 s, from `at(0)` on.
    fn with_token() -> TokenCache {
        let mut cache = TokenCache::default();
        assert_eq!(cache.look(at(0)), (Readiness::Wait(LOOK_AGAIN), true));
        cache.answered(granted(100), None, at(0), at(20));
        cache
    }

    #[test]
    fn one_question_is_asked_for_all_and_a_token_is_renewed_before_its_end() {
        let mut cache = TokenCache::default();
        assert!(cache.token().is_none());
        assert_eq!(cache.look(at(0)), (Readiness::Wait(LOOK_AGAIN), true));
        for ms in 0..100 {
            assert_eq!(cache.look(at(ms)), (Readiness::Wait(LOOK_AGAIN), false), "under way");
        }
        cache.answered(granted(100), None, at(0), at(100));
        for ms in [100, 40_000, 79_999] {
            assert_eq!(cache.look(at(ms)), (Readiness::Ready, false));
        }
        assert_eq!(cache.look(at(80_000)), (Readiness::Ready, true), "a fifth is left");
        assert_eq!(cache.look(at(94_999)), (Readiness::Ready, false), "calls go on meanwhile");
        assert_eq!(cache.look(at(95_000)), (Readiness::Wait(LOOK_AGAIN), false), "too late to arrive");
        cache.answered(granted(7_200), None, at(95_000), at(95_500));
        assert_eq!(cache.look(at(95_000 + 6_899_999)), (Readiness::Ready, false));
        assert_eq!(cache.look(at(95_000 + 6_900_000)), (Readiness::Ready, true), "five minutes are left");
    }

    #[test]
    fn a_token_server_that_fails_is_asked_ever_less_and_a_token_that_is_there_goes_on() {
        let mut cache = with_token();
        let failed = |cache: &mut TokenCache, ms| {
            assert!(cache.look(at(ms)).1, "{ms}");
            cache.answered(Err(TokenFailure::Timeout), None, at(ms), at(ms));
        };
        failed(&mut cache, 80_000);
        assert_eq!(cache.look(at(80_999)), (Readiness::Ready, false));
        let problem = |calls_wait| Some(TokenProblem { failure: TokenFailure::Timeout, calls_wait });
        assert_eq!(cache.problem(at(80_999)), problem(false));
        for ms in [81_000, 83_000, 87_000, 95_000, 111_000, 143_000, 203_000] {
            failed(&mut cache, ms);
        }
        assert_eq!(cache.look(at(203_000)), (Readiness::Wait(LONGEST_LOOK), false));
        assert!(!cache.look(at(262_999)).1);
        assert_eq!(cache.problem(at(203_000)), problem(true));
        assert!(cache.look(at(263_000)).1);
        cache.answered(Err(TokenFailure::Refused(429)), Some(Duration::from_secs(90)), at(0), at(263_000));
        assert!(!cache.look(at(352_999)).1, "as it asks");
        assert!(cache.look(at(353_000)).1);
        cache.answered(granted(100), None, at(353_000), at(353_000));
        assert_eq!((cache.look(at(353_000)), cache.problem(at(353_000))), ((Readiness::Ready, false), None));
    }

    #[test]
    fn a_token_that_is_refused_is_renewed_once() {
        let mut cache = with_token();
        let number = cache.token().expect("a token").1;
        for _ in 0..3 {
            assert_eq!(cache.refused(number, at(50_000)), LOOK_AGAIN);
        }
        assert_eq!(cache.look(at(50_000)), (Readiness::Wait(LOOK_AGAIN), true));
        assert_eq!(cache.look(at(50_001)), (Readiness::Wait(LOOK_AGAIN), false));
        cache.answered(granted(100), None, at(50_000), at(50_100));
        assert_eq!(cache.look(at(50_100)), (Readiness::Ready, false));
        // What comes back late concerns the token before.
        assert_eq!(cache.refused(number, at(50_200)), LOOK_AGAIN);
        assert_eq!(cache.look(at(60_200)), (Readiness::Ready, false));
    }

    /// An endpoint that refuses single calls for reasons of its own: others go on, and questions are few.
    #[test]
    fn a_young_token_that_is_refused_is_kept_for_a_while() {
        let mut cache = with_token();
        let (mut asked, mut waited) = (0, 0);
        for ms in 20..60_020 {
            let number = cache.token().expect("a token").1;
            let again = cache.refused(number, at(ms));
            assert!(again <= YOUNGEST_RENEWED + LOOK_AGAIN);
            let (readiness, asks) = cache.look(at(ms));
            waited += u32::from(readiness != Readiness::Ready);
            if asks {
                asked += 1;
                cache.answered(granted(100), None, at(ms), at(ms));
            }
        }
        assert_eq!((asked, waited), (7, 0), "in a minute");
        // The call that was refused is tried again with another token.
        let number = cache.token().expect("a token").1;
        let again = cache.refused(number, at(60_020));
        let later = at(60_020) + again;
        assert!(cache.look(later - LOOK_AGAIN).1 && cache.look(later).0 != Readiness::Ready);
    }

    #[test]
    fn the_same_credentials_go_on_after_a_change_of_the_configuration() {
        let mut before = with_token();
        assert!(before.look(at(90_000)).1);
        let mut after = TokenCache::default();
        after.go_on_from(before);
        assert_eq!(after.look(at(90_000)), (Readiness::Ready, true), "its own question");
    }

    #[test]
    fn a_token_of_no_life_is_not_asked_for_without_a_pause() {
        let mut cache = TokenCache::default();
        let mut asked = 0;
        for ms in 0..10_000 {
            if cache.look(at(ms)).1 {
                asked += 1;
                let value = HeaderValue::from_static("t");
                let granted = Granted { value, lifetime: Duration::from_millis(1_000) };
                // It has come too late to be sent.
                cache.answered(Ok(granted), None, at(ms.saturating_sub(1_000)), at(ms));
            }
        }
        assert!((10..=41).contains(&asked), "{asked}");
    }
}
