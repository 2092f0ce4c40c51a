//! About how large the records of a lane are: exact figures would cost a size for each entry that waits.
//!
//! Must not know: lanes, entries.

/// The mean size of records: of all of them at first, later more of the last ones.
#[derive(Default)]
pub(super) struct Sizes {
    bytes: u64,
    records: u32,
}

impl Sizes {
    /// From this many on, what came before counts half.
    const MOST: u32 = 4096;

    pub(super) fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.records += 1;
        if self.records >= Self::MOST {
            // So that a lane whose events become larger is not judged by its past for long.
            self.bytes /= 2;
            self.records /= 2;
        }
    }

    /// About the bytes of this many records; zero while no size is known.
    pub(super) fn of(&self, records: u64) -> u64 {
        let mean = self.bytes.checked_div(u64::from(self.records)).unwrap_or(0);
        records.saturating_mul(mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_follows_what_came_last() {
        let mut sizes = Sizes::default();
        assert_eq!(sizes.of(3), 0, "nothing is known");
        sizes.add(100);
        sizes.add(300);
        assert_eq!((sizes.of(3), sizes.of(0)), (600, 0));
        (0..100_000).for_each(|_| sizes.add(1_000));
        assert!((950..=1_000).contains(&sizes.of(1)), "{}", sizes.of(1));
    }
}
