//! Bounds-checked reading of little-endian numbers and byte strings: the only way in which decoders take input.

use super::frame::FrameError;

/// What is left to read of a payload.
#[derive(Clone, Copy)]
pub(super) struct PayloadReader<'a>(&'a [u8]);

impl<'a> PayloadReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(super) fn take(&mut self, bytes: usize) -> Result<&'a [u8], FrameError> {
        // A length comes from the disk: it must fail here and not panic.
        let (head, rest) = self.0.split_at_checked(bytes).ok_or(FrameError::Payload("too short"))?;
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(FrameError::Payload("too short"))?;
        self.0 = rest;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, FrameError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, FrameError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, FrameError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, FrameError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn text(&mut self, bytes: usize) -> Result<&'a str, FrameError> {
        std::str::from_utf8(self.take(bytes)?).map_err(|_| FrameError::Payload("text is not UTF-8"))
    }
}

/// A length as the `u32` that the format holds; every caller has bounded it before.
pub(super) fn len_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// A length as the `u16` that the format holds; every caller has bounded it before.
pub(super) fn len_u16(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}
