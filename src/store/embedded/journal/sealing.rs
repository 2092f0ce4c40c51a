//! Encrypted payloads: which part of a payload is encrypted, what it is bound to, how it is opened.
//!
//! The records of a frame stand at the end of its payload. They are bound to the place of the frame (salt, segment, offset) and
//! to everything in the payload before them: an event's id is made from this place, so that no record passes for that of
//! another event, lane or time.
//!
//! Must not know: what a payload means, where keys come from.

use super::frame::{FrameError, FramePlace};
use crate::store::embedded::keys::{KeyId, Keys, OpenError, key_of};

/// The keys, and the place of the frame that is opened with them.
#[derive(Clone, Copy)]
pub(super) struct Opener<'a> {
    pub(super) keys: &'a Keys,
    pub(super) place: FramePlace,
}

/// The encrypted end of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SealedPart<'a> {
    /// What stands before it in the payload.
    clear: &'a [u8],
    sealed: &'a [u8],
    key: KeyId,
}

impl<'a> SealedPart<'a> {
    /// The part of `payload` from `at` on.
    pub(super) fn split(payload: &'a [u8], at: usize) -> Result<Self, FrameError> {
        let (clear, sealed) = payload.split_at_checked(at).ok_or(FrameError::Payload("too short"))?;
        let key = key_of(sealed).ok_or(FrameError::Payload("too short to be encrypted"))?;
        Ok(Self { clear, sealed, key })
    }

    /// The key that it needs.
    pub(super) fn key(&self) -> KeyId {
        self.key
    }

    /// Decrypts the part with the key that it names.
    pub(super) fn open(&self, opener: Opener<'_>) -> Result<Vec<u8>, FrameError> {
        opener.keys.open(self.sealed, &[&opener.place.bytes(), self.clear]).map_err(|error| match error {
            OpenError::NoKey(key) => FrameError::Locked(key),
            OpenError::Wrong => FrameError::Payload("does not decrypt: it is not what was encrypted here"),
        })
    }
}
