//! Digests by which a repeated hand-in is recognised: FNV-1a, 128 bits for the key and 64 for the content.
//!
//! They are kept on disk, so the function is fixed here and not taken from a library that may change it. It is
//! not meant to withstand someone who looks for collisions: who may hand in events may also repeat a key.

use crate::event::digest128;

// The published parameters of FNV-1a for 64 bits.
const OFFSET_64: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME_64: u64 = 0x0000_0100_0000_01b3;

/// The digest of an idempotency key.
pub(super) fn of_key(key: &str) -> [u8; 16] {
    digest128(key.as_bytes()).to_be_bytes()
}

/// A digest of several parts; their boundaries count.
pub(super) struct Fingerprint(u64);

impl Fingerprint {
    pub(super) const fn new() -> Self {
        Self(OFFSET_64)
    }

    pub(super) fn part(&mut self, bytes: &[u8]) {
        // The length goes first, so that the parts "ab", "c" differ from "a", "bc".
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        for byte in length.to_le_bytes().iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(PRIME_64);
        }
    }

    pub(super) const fn finish(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_hash_to_the_published_vectors() {
        // The 128-bit offset basis, and "foobar" of the FNV reference code.
        assert_eq!(u128::from_be_bytes(of_key("")), digest128(b""));
        assert_eq!(u128::from_be_bytes(of_key("foobar")), 0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18);
    }

    #[test]
    fn the_boundaries_of_parts_count() {
        let digest = |parts: &[&str]| {
            let mut fingerprint = Fingerprint::new();
            parts.iter().for_each(|part| fingerprint.part(part.as_bytes()));
            fingerprint.finish()
        };
        assert_eq!(digest(&["ab", "c"]), digest(&["ab", "c"]));
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
        assert_ne!(digest(&["a", ""]), digest(&["a"]));
    }
}
