//! Where readings come from: the machine, or in tests a clock that they set.
//!
//! Whether the wall clock is synchronised is taken from the flag of the time daemon,
//! `/run/systemd/timesync/synchronized`, when it is newer than this boot. The kernel's own state (`adjtimex`) is not
//! read: `rustix` and `nix` have no wrapper for it, `clock-steering` shows only the frequency, and a unit with
//! `ProtectClock=yes` is refused the call. chrony and ntpd leave no file that says "synchronised since this boot":
//! chrony's drift file is written an hour later and at the end.
//!
//! Must not know: how readings are judged.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::Timestamp;
#[cfg(any(test, feature = "testkit"))]
use super::set::Set;

/// Random for each boot; time namespaces share it.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Touched by systemd-timesyncd whenever the clock is synchronised.
const SYNCHRONIZED: &str = "/run/systemd/timesync/synchronized";

/// The first moment of the year 2200: room for the line to move on.
pub(super) const LATEST: Timestamp = Timestamp::from_millis(7_258_118_400_000);

/// What the clocks of the machine say at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockReading {
    /// The wall clock; before 1970 counts as 1970, after 2200 as 2200.
    pub wall: Timestamp,
    /// Time since the boot, with suspended time, in nanoseconds.
    pub boot_ns: u64,
    /// The same without suspended time, in nanoseconds.
    pub awake_ns: u64,
    /// Which boot; empty when the system does not say.
    pub boot_id: Arc<str>,
    /// The time daemon says that the wall clock is synchronised.
    pub is_synchronised: bool,
}

#[derive(Debug)]
pub(super) enum ClockSource {
    System(Arc<str>),
    #[cfg(any(test, feature = "testkit"))]
    Set(Set),
}

impl ClockSource {
    pub(super) fn boot_ns(&self) -> u64 {
        match self {
            Self::System(_) => read_ns(ClockId::Boottime),
            #[cfg(any(test, feature = "testkit"))]
            Self::Set(set) => set.boot_ns(),
        }
    }

    pub(super) fn wall(&self) -> Timestamp {
        match self {
            Self::System(_) => Timestamp(read_ns(ClockId::Realtime)).min(LATEST),
            #[cfg(any(test, feature = "testkit"))]
            Self::Set(set) => set.wall(),
        }
    }

    pub(super) fn read(&self) -> ClockReading {
        match self {
            Self::System(boot_id) => {
                // As close to each other as can be: a pause between the two would look like a step.
                let (wall, boot_ns) = (self.wall(), self.boot_ns());
                ClockReading {
                    wall,
                    boot_ns,
                    awake_ns: read_ns(ClockId::Monotonic),
                    boot_id: Arc::clone(boot_id),
                    is_synchronised: is_synchronised(Path::new(SYNCHRONIZED), wall, boot_ns),
                }
            }
            #[cfg(any(test, feature = "testkit"))]
            Self::Set(set) => set.read(),
        }
    }
}

/// The name of this boot; empty when the system does not say.
pub(super) fn boot_id() -> Arc<str> {
    // Without a name no boot counts as the same, which is the side of doubt.
    fs::read_to_string(BOOT_ID).map(|id| id.trim().into()).unwrap_or_default()
}

/// Whether the flag is there and newer than this boot. Both are taken in the present wall time.
fn is_synchronised(flag: &Path, wall: Timestamp, boot_ns: u64) -> bool {
    // Not followed: only the daemon's own file says anything.
    let Ok(found) = fs::symlink_metadata(flag) else { return false };
    let booted = wall - Duration::from_nanos(boot_ns);
    found.is_file() && u64::try_from(found.mtime()).is_ok_and(|at_s| at_s >= booted.as_millis() / 1000)
}

fn read_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    // A wall clock before 1970 counts as 1970.
    let secs = u64::try_from(time.tv_sec).unwrap_or(0);
    secs.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_counts_when_it_is_a_file_and_newer_than_the_boot() {
        let temp = tempfile::tempdir().expect("temp");
        let flag = temp.path().join("synchronized");
        let (wall, day_ns) = (Timestamp(read_ns(ClockId::Realtime)), 86_400_000_000_000);
        assert!(!is_synchronised(&flag, wall, day_ns));
        fs::write(&flag, "").expect("writes");
        assert!(is_synchronised(&flag, wall, day_ns));
        let later = wall + Duration::from_secs(3600);
        assert!(!is_synchronised(&flag, later, 60_000_000_000), "left behind by another boot");
        let link = temp.path().join("link");
        std::os::unix::fs::symlink(&flag, &link).expect("links");
        assert!(!is_synchronised(&link, wall, day_ns));
    }
}
