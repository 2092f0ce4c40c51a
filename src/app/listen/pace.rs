//! The least pace at which a peer has to send a body or take an answer.
//!
//! An allowance of time is spent while the peer is waited for and earned back by bytes that move. A peer that keeps the
//! pace never runs out; one that moves nothing runs out after the whole allowance, one that moves half of the pace after
//! twice that time. What is earned beyond the allowance is not kept, so that a burst pays for no pause after it.
//!
//! Pure: time is an argument.
//!
//! Must not know: sockets, what is sent.

use std::time::Duration;

use tokio::time::Instant;

/// How far a peer may fall behind, and how far it has.
#[derive(Debug, Clone)]
pub(super) struct PeerPace {
    bytes_per_second: u64,
    allowance: Duration,
    left: Duration,
    waiting_since: Option<Instant>,
}

impl PeerPace {
    /// `allowance` is the longest time without a byte.
    pub(super) const fn new(bytes_per_second: u64, allowance: Duration) -> Self {
        Self { bytes_per_second, allowance, left: allowance, waiting_since: None }
    }

    /// The peer is waited for. Returns when it has fallen too far behind, unless bytes move before.
    pub(super) fn waits(&mut self, now: Instant) -> Instant {
        *self.waiting_since.get_or_insert(now) + self.left
    }

    /// Bytes moved, and nothing is waited for until the next call of [`PeerPace::waits`].
    pub(super) fn moved(&mut self, bytes: usize, now: Instant) {
        if let Some(since) = self.waiting_since.take() {
            self.left = self.left.saturating_sub(now.saturating_duration_since(since));
        }
        let millis = (bytes as u64).saturating_mul(1000) / self.bytes_per_second.max(1);
        self.left = self.left.saturating_add(Duration::from_millis(millis)).min(self.allowance);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Moves `bytes` after each wait of `every`; returns after how long the peer is cut, at most an hour.
    fn cut_after(pace: &mut PeerPace, bytes: usize, every: Duration) -> Option<Duration> {
        let begin = Instant::now();
        let mut now = begin;
        while now < begin + 3600 * SECOND {
            let end = pace.waits(now);
            if end <= now + every {
                return Some(end - begin);
            }
            now += every;
            pace.moved(bytes, now);
        }
        None
    }

    #[test]
    fn a_peer_is_cut_once_it_is_the_allowance_behind() {
        let pace = || PeerPace::new(1000, 30 * SECOND);
        assert_eq!(cut_after(&mut pace(), 0, SECOND), Some(30 * SECOND));
        assert_eq!(cut_after(&mut pace(), 1, 9 * SECOND).map(|cut| cut.as_secs()), Some(30));
        assert_eq!(cut_after(&mut pace(), 500, SECOND).map(|cut| cut.as_secs()), Some(59));
        assert_eq!(cut_after(&mut pace(), 1000, SECOND), None, "the pace is kept");
        assert_eq!(cut_after(&mut pace(), 25_000, 25 * SECOND), None, "in pieces, too");
    }

    #[test]
    fn a_burst_pays_for_no_pause() {
        let mut pace = PeerPace::new(1000, 30 * SECOND);
        pace.moved(8 << 20, Instant::now());
        assert_eq!(cut_after(&mut pace, 1, 9 * SECOND).map(|cut| cut.as_secs()), Some(30));
    }

    /// What tidegate itself takes between two reads is not the peer's time.
    #[test]
    fn only_waiting_counts() {
        let mut pace = PeerPace::new(1000, 30 * SECOND);
        let begin = Instant::now();
        pace.waits(begin);
        pace.moved(1, begin + SECOND);
        let later = begin + 100 * SECOND;
        assert_eq!((pace.waits(later) - later).as_secs(), 29);
    }
}
