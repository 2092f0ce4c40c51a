//! How often an event was tried: the attempts that count, and the tries that are proven to have cost its endpoint
//! nothing.
//!
//! The limit of attempts and the header `tidegate-attempt` look at the attempts alone; the backoff grows with all
//! tries.
//!
//! On disk both share the two bytes in which attempts alone were kept at first: the low ten bits count the attempts, at
//! most 1023, the high six the other tries, at most 63, each kept at its most. The limit of attempts is 1000 at most,
//! so that the high bits of an old record are zero, and after 63 doublings every backoff is at its bound.
//!
//! Must not know: what makes a try cost nothing, how long a backoff is.

/// How often an event was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tries {
    attempts: u16,
    free: u8,
}

const ATTEMPT_BITS: u32 = 10;
const MOST_ATTEMPTS: u16 = (1 << ATTEMPT_BITS) - 1;
const MOST_FREE: u8 = 63;

impl Tries {
    /// It was never tried: neither an attempt nor a free try.
    pub const NONE: Self = Self { attempts: 0, free: 0 };

    /// So many attempts, at most 1023, and no try that cost nothing.
    #[must_use]
    pub const fn of(attempts: u16) -> Self {
        let attempts = if attempts < MOST_ATTEMPTS { attempts } else { MOST_ATTEMPTS };
        Self { attempts, free: 0 }
    }

    /// Attempts that count against the limit.
    #[must_use]
    pub const fn attempts(self) -> u16 {
        self.attempts
    }

    /// Tries of both kinds, by which the backoff grows.
    #[must_use]
    pub const fn all(self) -> u16 {
        self.attempts + self.free as u16
    }

    /// After one more attempt; stays at the most that is kept.
    #[must_use]
    pub const fn and_attempt(self) -> Self {
        Self { attempts: Self::of(self.attempts + 1).attempts, ..self }
    }

    /// After one more try that cost nothing.
    #[must_use]
    pub const fn and_free(self) -> Self {
        let free = if self.free < MOST_FREE { self.free + 1 } else { MOST_FREE };
        Self { free, ..self }
    }

    /// Both in two bytes; see the head of this file.
    #[must_use]
    pub const fn to_bits(self) -> u16 {
        debug_assert!(self.attempts <= MOST_ATTEMPTS && self.free <= MOST_FREE, "a count beyond its bits");
        ((self.free as u16) << ATTEMPT_BITS) | self.attempts
    }

    /// What [`Tries::to_bits`] made, or the attempts of an old record.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        // Six bits are left.
        Self { attempts: bits & MOST_ATTEMPTS, free: (bits >> ATTEMPT_BITS) as u8 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_and_tries_are_counted_apart_and_stay_at_their_most() {
        let tries = Tries::NONE.and_free().and_attempt().and_free();
        assert_eq!((tries.attempts(), tries.all()), (1, 3));
        let many = (0..2_000).fold(Tries::NONE, |tries, _| tries.and_free().and_attempt());
        assert_eq!((many.attempts(), many.all()), (1_023, 1_086));
        assert_eq!(Tries::of(u16::MAX).attempts(), 1_023);
    }

    #[test]
    fn two_bytes_keep_both_and_an_old_record_has_attempts_alone() {
        for bits in 0..=u16::MAX {
            assert_eq!(Tries::from_bits(bits).to_bits(), bits);
        }
        for attempts in 0..=1_000 {
            assert_eq!(Tries::from_bits(attempts), Tries::of(attempts));
        }
    }
}
