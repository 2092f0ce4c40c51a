//! The moments of starts and how they are judged. Knows nothing of how a limit keeps its promise.

use std::collections::BTreeMap;
use std::path::Path;

use crate::world::window_peak;

/// One stamp on file: the moment and the key, eight bytes each.
pub(crate) const STAMP_BYTES: usize = 16;
const SECOND_NS: u64 = 1_000_000_000;

/// Starts in order of time: the moment in nanoseconds since the machine was started, and the key of the call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stamps(Vec<(u64, u64)>);

/// The moments of the starts under one limit, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Starts(pub(crate) Vec<u64>);

/// What a limit allows: so many starts in every half-open sliding window of this length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowed {
    pub(crate) calls: usize,
    pub(crate) per_ns: u64,
}

impl Allowed {
    pub(crate) const fn per_ms(calls: usize, ms: u64) -> Self {
        Self { calls, per_ns: ms * 1_000_000 }
    }
}

impl FromIterator<(u64, u64)> for Stamps {
    fn from_iter<T: IntoIterator<Item = (u64, u64)>>(stamps: T) -> Self {
        let mut stamps: Vec<_> = stamps.into_iter().collect();
        stamps.sort_unstable();
        Self(stamps)
    }
}

impl Stamps {
    /// Those on file; none when there is no file.
    pub(crate) fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_default();
        assert_eq!(bytes.len() % STAMP_BYTES, 0, "a stamp is written whole");
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        let stamp = |stamp: &[u8]| {
            let (at, key) = stamp.split_at(STAMP_BYTES / 2);
            (number(at), number(key))
        };
        bytes.chunks_exact(STAMP_BYTES).map(stamp).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The starts whose key is one of these.
    pub(crate) fn of(&self, is_meant: impl Fn(u64) -> bool) -> Starts {
        Starts(self.0.iter().filter(|(_, key)| is_meant(*key)).map(|(at, _)| *at).collect())
    }

    /// Those between two moments.
    pub(crate) fn between(&self, from_ns: u64, until_ns: u64) -> Self {
        Self(self.0.iter().filter(|(at, _)| (from_ns..until_ns).contains(at)).copied().collect())
    }

    /// The starts of each value that `of_key` makes of their keys.
    pub(crate) fn by(&self, of_key: impl Fn(u64) -> u64) -> BTreeMap<u64, Starts> {
        let mut by: BTreeMap<u64, Starts> = BTreeMap::new();
        for (at, key) in &self.0 {
            by.entry(of_key(*key)).or_default().0.push(*at);
        }
        by
    }
}

impl Starts {
    /// Most starts in any sliding window.
    pub(crate) fn peak(&self, allowed: Allowed) -> usize {
        window_peak(&self.0, allowed.per_ns)
    }

    /// Of what the limit allows from a second after the first start until `until_ns`, in per cent.
    pub(crate) fn share_used(&self, allowed: Allowed, until_ns: u64) -> f64 {
        let Some(first) = self.0.first() else { return 0.0 };
        let from = first + SECOND_NS;
        // Whole windows: a slow limit has no part of a start to give for a part of one.
        let length_ns = until_ns.saturating_sub(from) / allowed.per_ns * allowed.per_ns;
        let used = self.0.iter().filter(|at| (from..from + length_ns).contains(at)).count();
        let most = length_ns as f64 / allowed.per_ns as f64 * allowed.calls as f64;
        100.0 * used as f64 / most
    }
}

/// The present moment on the clock that the stamps are taken from.
pub(crate) fn boot_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(time.tv_sec).expect("after the start") * SECOND_NS
        + u64::try_from(time.tv_nsec).expect("positive")
}
