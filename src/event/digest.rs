//! The digest by which long texts are told apart on disk: FNV-1a, 128 bits, fixed here and not taken from a library
//! that may change it. It is not meant to withstand someone who looks for collisions.

// The constants of FNV-1a at 128 bits. Keys on disk hold digests made with them.
const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

/// The digest of these bytes, the same in every version of tidegate.
#[must_use]
pub(crate) fn digest128(bytes: &[u8]) -> u128 {
    bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}
