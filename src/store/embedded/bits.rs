//! A set of the entries of one block.
//!
//! Must not know: what the set stands for.

/// One bit for each entry of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Bits([u64; 4]);

impl Bits {
    /// Length of the encoded form in bytes.
    pub(super) const BYTES: usize = 32;

    /// The set of the entries 0 to `count` - 1; all for 256 or more.
    pub(super) fn first(count: u16) -> Self {
        let mut bits = Self::default();
        for (word, below) in bits.0.iter_mut().zip((0_u16..).step_by(64)) {
            let here = u32::from(count.saturating_sub(below).min(64));
            // A shift by 64 bits overflows: it stands for none of this word.
            *word = u64::MAX.checked_shr(64 - here).unwrap_or(0);
        }
        bits
    }

    pub(super) fn set(&mut self, index: u8) {
        if let Some(word) = self.0.get_mut(usize::from(index) / 64) {
            *word |= 1 << (index % 64);
        }
    }

    pub(super) fn has(&self, index: u8) -> bool {
        self.0.get(usize::from(index) / 64).is_some_and(|word| word & (1 << (index % 64)) != 0)
    }

    pub(super) fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a | b)
    }

    /// The members that are not in `other`.
    pub(super) fn without(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a & !b)
    }

    /// The members among the first `count`.
    pub(super) fn within(&self, count: u16) -> Self {
        let first = Self::first(count);
        self.zip(&first, |a, b| a & b)
    }

    fn zip(&self, other: &Self, with: impl Fn(u64, u64) -> u64) -> Self {
        let mut bits = *self;
        bits.0.iter_mut().zip(other.0).for_each(|(word, other)| *word = with(*word, other));
        bits
    }

    /// Four big-endian words, entry 0 in the lowest bit of the first one.
    pub(super) fn encode(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    /// `None` for another length than [`Self::BYTES`].
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let mut bits = Self::default();
        for (word, bytes) in bits.0.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = bytes.iter().fold(0_u64, |value, byte| (value << 8) | u64::from(*byte));
        }
        Some(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_reads_back_and_knows_its_members() {
        let mut bits = Bits::default();
        [0, 63, 64, 255].iter().for_each(|index| bits.set(*index));
        assert_eq!(Bits::decode(&bits.encode()), Some(bits));
        assert_eq!(Bits::decode(&[0; 31]), None);
        assert!(bits.has(255) && !bits.has(254));
        assert_eq!((bits.count(), Bits::first(256).count()), (4, 256));
        for count in 0..=256 {
            let first = Bits::first(count);
            assert!((0..=255).all(|index| first.has(index) == (u16::from(index) < count)), "{count}");
            assert_eq!(bits.within(count).count(), (0..count).filter(|n| bits.has(*n as u8)).count() as u32);
        }
        let rest = Bits::first(256).without(&bits);
        assert_eq!((rest.count(), rest.union(&bits)), (252, Bits::first(256)));
    }
}
