//! Cuts a stream of bytes into numbered lines without copying each of them: the bytes of several whole lines
//! stay one block, and a line is a place in it.
//!
//! Must not know: what the lines say, where the bytes come from.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::telemetry::defect;

/// A line of a [`LineBlock`] that has to be answered; blank lines are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BatchLine {
    /// A line with content: where its bytes lie in the block, without the line end.
    Text(Range<usize>),
    /// A line longer than the limit; its bytes are not kept.
    TooLong,
}

/// Several whole lines and the bytes in which they lie.
#[derive(Debug, Default)]
pub(super) struct LineBlock {
    /// The bytes in which the places lie.
    pub bytes: Bytes,
    /// Line number, from 1 and blank lines counted, and line.
    pub lines: Vec<(u64, BatchLine)>,
}

/// Collects bytes and gives whole lines. Keeps at most one line's limit plus what was pushed last.
#[derive(Debug)]
pub(super) struct Splitter {
    buffer: BytesMut,
    /// Bytes at the head of the buffer that are known to hold no line end.
    searched: usize,
    /// The present line is over the limit: drop its bytes until its end.
    skipping: bool,
    next_number: u64,
    max_line_bytes: usize,
}

impl Splitter {
    pub(super) fn new(max_line_bytes: usize) -> Self {
        Self { buffer: BytesMut::new(), searched: 0, skipping: false, next_number: 1, max_line_bytes }
    }

    /// Adds the bytes that came next, which may end within a line.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The number of the line that comes next.
    pub(super) const fn next_number(&self) -> u64 {
        self.next_number
    }

    /// The next whole lines: at most `most`, and no further one once they have `most_bytes`. Empty when no line
    /// is complete. With `end`, an unfinished last line counts as complete.
    pub(super) fn take(&mut self, most: usize, most_bytes: usize, end: bool) -> LineBlock {
        let mut lines = Vec::new();
        let mut start = 0;
        while lines.len() < most && start < most_bytes {
            // An earlier call has searched the head of the buffer: to search it again would make a long line that comes
            // in small pieces cost quadratic time.
            let unseen = self.buffer.get(start.max(self.searched)..).unwrap_or_default();
            let found = memchr(b'\n', unseen).map(|at| start.max(self.searched) + at);
            let stop = match found {
                Some(at) => at,
                // A line over the limit has left the buffer, perhaps all of it, and still has to be answered.
                None if end && (start < self.buffer.len() || self.skipping) => self.buffer.len(),
                None => break,
            };
            self.line(start..stop, &mut lines);
            // Behind an unfinished last line there is no line end to skip.
            start = self.buffer.len().min(stop + 1);
            self.searched = start;
        }
        let bytes = self.buffer.split_to(start).freeze();
        self.searched = self.searched.saturating_sub(start);
        if lines.len() < most {
            self.drop_excess();
        }
        defect!(unless self.searched <= self.buffer.len(), "more was searched for line ends than has come");
        LineBlock { bytes, lines }
    }

    fn line(&mut self, place: Range<usize>, lines: &mut Vec<(u64, BatchLine)>) {
        let number = self.next_number;
        self.next_number += 1;
        if std::mem::take(&mut self.skipping) || place.len() > self.max_line_bytes {
            lines.push((number, BatchLine::TooLong));
            return;
        }
        let text = self.buffer.get(place.clone());
        defect!(unless text.is_some(), "a line outside of what was read");
        let text = text.unwrap_or_default();
        if !text.trim_ascii().is_empty() {
            lines.push((number, BatchLine::Text(place)));
        }
    }

    /// No line end is in the buffer: an unfinished line over the limit need not be kept.
    fn drop_excess(&mut self) {
        if memchr(b'\n', self.buffer.get(self.searched..).unwrap_or_default()).is_some() {
            return;
        }
        self.searched = self.buffer.len();
        if self.skipping || self.buffer.len() > self.max_line_bytes {
            self.skipping = true;
            self.buffer.clear();
            self.searched = 0;
        }
    }
}

/// The place of the first `wanted`, found eight bytes at a time.
fn memchr(wanted: u8, bytes: &[u8]) -> Option<usize> {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let pattern = LOW * u64::from(wanted);
    let (words, _) = bytes.as_chunks::<8>();
    let mut at = 0;
    for word in words {
        let masked = u64::from_le_bytes(*word) ^ pattern;
        // Not zero exactly when a byte of the word is `wanted`, which the pattern has made zero.
        if masked.wrapping_sub(LOW) & !masked & HIGH != 0 {
            break;
        }
        at += 8;
    }
    let rest = bytes.get(at..)?;
    rest.iter().position(|byte| *byte == wanted).map(|found| at + found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(splitter: &mut Splitter, end: bool) -> Vec<(u64, Option<Vec<u8>>)> {
        let mut out = Vec::new();
        loop {
            let block = splitter.take(3, 64, end);
            if block.lines.is_empty() && block.bytes.is_empty() {
                return out;
            }
            for (number, line) in block.lines {
                out.push((
                    number,
                    match line {
                        BatchLine::Text(place) => Some(block.bytes[place].to_vec()),
                        BatchLine::TooLong => None,
                    },
                ));
            }
        }
    }

    #[test]
    fn blank_lines_count_and_a_last_line_needs_no_end() {
        let mut splitter = Splitter::new(5);
        splitter.push(b"a\n\n \r\nbb\nlonglong\nccc");
        let before: Vec<_> = all(&mut splitter, false);
        assert_eq!(before, [(1, Some(b"a".to_vec())), (4, Some(b"bb".to_vec())), (5, None)]);
        assert_eq!(all(&mut splitter, true), [(6, Some(b"ccc".to_vec()))]);
        assert!(splitter.buffer.is_empty());
    }

    #[test]
    fn an_endless_line_costs_no_memory() {
        let mut splitter = Splitter::new(1024);
        for _ in 0..10_000 {
            splitter.push(&[b'x'; 1000]);
            assert!(splitter.take(10, 1 << 20, false).lines.is_empty());
            assert!(splitter.buffer.len() <= 1024);
        }
        splitter.push(b"\nok\n");
        assert_eq!(all(&mut splitter, false), [(1, None), (2, Some(b"ok".to_vec()))]);
    }

    proptest! {
        #[test]
        fn chunk_boundaries_make_no_difference(
            lines in prop::collection::vec("[a-z]{0,12}", 0..20),
            cuts in prop::collection::vec(1..7_usize, 1..40),
        ) {
            let text = lines.join("\n");
            let mut whole = Splitter::new(8);
            whole.push(text.as_bytes());
            let expected = all(&mut whole, true);
            let mut splitter = Splitter::new(8);
            let mut got = Vec::new();
            let mut rest = text.as_bytes();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (head, tail) = rest.split_at((*cut).min(rest.len()));
                splitter.push(head);
                got.extend(all(&mut splitter, false));
                rest = tail;
            }
            got.extend(all(&mut splitter, true));
            prop_assert_eq!(&got, &expected);
            let naive: Vec<u64> = text.split('\n').zip(1..)
                .filter(|(line, _)| !line.is_empty()).map(|(_, number)| number).collect();
            prop_assert_eq!(got.iter().map(|(number, _)| *number).collect::<Vec<_>>(), naive);
        }
    }
}
