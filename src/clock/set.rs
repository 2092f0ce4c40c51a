//! Clocks that a test sets: one that a hand moves, and the clocks of a machine that follow a script.
//!
//! Must not know: how readings are judged.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::source::{ClockReading, LATEST};
use super::{Timestamp, nanos};

/// Where the readings of a clock come from that a test sets.
#[derive(Debug)]
pub(super) enum Set {
    Manual(AtomicU64),
    Scripted(Script),
}

impl Set {
    pub(super) fn boot_ns(&self) -> u64 {
        match self {
            Self::Manual(hand) => hand.load(Ordering::Acquire),
            Self::Scripted(script) => script.lock().boot_ns,
        }
    }

    pub(super) fn wall(&self) -> Timestamp {
        match self {
            Self::Manual(hand) => Timestamp(hand.load(Ordering::Acquire)),
            Self::Scripted(script) => script.lock().wall.min(LATEST),
        }
    }

    pub(super) fn read(&self) -> ClockReading {
        match self {
            Self::Manual(_) => ClockReading {
                wall: self.wall(),
                boot_ns: self.boot_ns(),
                awake_ns: self.boot_ns(),
                boot_id: "".into(),
                is_synchronised: true,
            },
            Self::Scripted(script) => {
                // All of it at one moment: a wall clock that was read before an advance, and a boot clock after it,
                // look like a step.
                let now = script.lock().clone();
                ClockReading { wall: now.wall.min(LATEST), ..now }
            }
        }
    }

    pub(super) fn advance(&self, by: Duration) {
        match self {
            Self::Manual(hand) => {
                hand.fetch_add(nanos(by), Ordering::AcqRel);
            }
            Self::Scripted(script) => script.advance(by),
        }
    }
}

/// The readings of a scripted clock: a machine whose clocks do as they are told. Clones share them.
#[derive(Debug, Clone)]
pub struct Script(Arc<Mutex<ClockReading>>);

impl Script {
    /// A machine that was booted an hour before, unsynchronised.
    #[must_use]
    pub fn new(boot_id: &str, wall: Timestamp) -> Self {
        let up_ns = 3_600_000_000_000;
        Self(Arc::new(Mutex::new(ClockReading {
            wall,
            boot_ns: up_ns,
            awake_ns: up_ns,
            boot_id: boot_id.into(),
            is_synchronised: false,
        })))
    }

    /// Time passes on all clocks alike: the machine is awake.
    pub fn advance(&self, by: Duration) {
        let mut now = self.lock();
        now.wall = now.wall + by;
        now.boot_ns = now.boot_ns.saturating_add(nanos(by));
        now.awake_ns = now.awake_ns.saturating_add(nanos(by));
    }

    /// The machine is suspended for that long.
    pub fn suspend(&self, by: Duration) {
        let mut now = self.lock();
        now.wall = now.wall + by;
        now.boot_ns = now.boot_ns.saturating_add(nanos(by));
    }

    /// Somebody sets the wall clock; the boot clock goes on.
    pub fn set_wall(&self, wall: Timestamp) {
        self.lock().wall = wall;
    }

    /// The time daemon raises or takes back its flag.
    pub fn set_synchronised(&self, is_synchronised: bool) {
        self.lock().is_synchronised = is_synchronised;
    }

    fn lock(&self) -> MutexGuard<'_, ClockReading> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
