//! Cuts an input into numbered lines with keys, and keeps a digest of what was read.
//!
//! Must not know: where lines go.

use std::io::Read;
use std::path::Path;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use ring::digest::{Context, SHA256};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::cli::enqueue::keyed::Keys;
use crate::cli::exit::Failure;

/// Most bytes that are read at once.
const READ_BYTES: usize = 256 * 1024;
/// A line is cut off here: more than any event may have, so that the daemon refuses it.
const MAX_LINE_BYTES: usize = 1024 * 1024;

pub(super) type Input = Box<dyn AsyncRead + Send + Unpin>;

/// One line that is not blank.
#[derive(Debug, Clone)]
pub(super) struct InputLine {
    /// Counted from 1, blank ones too.
    pub number: u64,
    /// As it is sent, with its end.
    pub bytes: Bytes,
    /// A place from which one can go on once this line is answered.
    pub mark: Option<ResumePoint>,
}

/// A place between two lines, from which a later run can go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResumePoint {
    /// Number of the line before this place.
    pub line: u64,
    /// The digest of all that stands before it, in hex.
    pub digest: String,
}

/// Cuts an input into lines, and keeps a digest of those that were taken out.
pub(super) struct InputLines {
    input: Input,
    keys: Keys,
    buffer: BytesMut,
    /// Bytes at the head of the buffer that are known to hold no line end.
    searched: usize,
    is_ended: bool,
    /// Lines that were taken out, blank ones included.
    taken: u64,
    /// The beginning of a line that is too long, the rest of which is dropped.
    cut: Option<BytesMut>,
    digest: Context,
}

impl InputLines {
    pub(super) fn new(input: Input, keys: Keys) -> Self {
        Self {
            input,
            keys,
            buffer: BytesMut::new(),
            searched: 0,
            is_ended: false,
            taken: 0,
            cut: None,
            digest: Context::new(&SHA256),
        }
    }

    pub(super) const fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The lines that come next, `None` at the end. May be dropped and called again.
    pub(super) async fn next(&mut self) -> std::io::Result<Option<Vec<InputLine>>> {
        loop {
            let lines = self.whole();
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
            if self.is_ended {
                return Ok(None);
            }
            self.read().await?;
        }
    }

    /// Passes over the first lines, which must be those that were sent before. Where the input is not known as a whole,
    /// the digest shows whether they are.
    ///
    /// # Errors
    /// Of reading, or [`Failure`] that says what to do when these are other lines.
    pub(super) async fn skip(&mut self, lines: u64, digest: Option<&str>) -> Result<(), Failure> {
        while self.taken < lines {
            if self.take().is_some() {
                continue;
            }
            if self.is_ended {
                return Err(self.others(lines));
            }
            self.read().await?;
        }
        match digest {
            Some(digest) if self.keys.digest.is_none() && digest != self.sum() => Err(self.others(lines)),
            _ => Ok(()),
        }
    }

    /// Whether what was taken out is what the keys were made from, once all is.
    pub(super) fn is_unchanged(&self) -> bool {
        self.keys.digest.as_ref().is_none_or(|digest| *digest == self.sum())
    }

    fn others(&self, lines: u64) -> Failure {
        let id = self.keys.id.as_deref().unwrap_or_default();
        Failure::usage(format!(
            "the first {lines} lines are not those that were handed in before under the resume id {id:?}; hand in the \
             same lines again, or take another id"
        ))
    }

    /// What is here in whole lines.
    fn whole(&mut self) -> Vec<InputLine> {
        let mut lines: Vec<InputLine> = Vec::new();
        let mut out = BytesMut::with_capacity(self.buffer.len() + self.buffer.len() / 2);
        while let Some(text) = self.take() {
            if !text.trim_ascii().is_empty() {
                self.keys.write(&text, self.taken, &mut out);
                lines.push(InputLine { number: self.taken, bytes: out.split().freeze(), mark: None });
            }
        }
        // Only the last of the lines at hand has a mark: each costs a digest, and to go on a few lines earlier does no
        // harm.
        if let Some(last) = lines.last_mut() {
            last.mark = Some(ResumePoint { line: self.taken, digest: self.sum() });
        }
        lines
    }

    /// The next whole line without its end.
    fn take(&mut self) -> Option<Bytes> {
        let unseen = self.buffer.get(self.searched..).unwrap_or_default();
        let end = unseen.iter().position(|byte| *byte == b'\n').map(|at| self.searched + at);
        let Some(end) = end else {
            self.searched = self.buffer.len();
            let is_last = self.is_ended && (self.cut.is_some() || !self.buffer.is_empty());
            if !is_last && self.buffer.len() > MAX_LINE_BYTES {
                self.digest.update(&self.buffer);
                let rest = self.buffer.split();
                // The beginning alone is kept: it is more than an event may have, so that the daemon refuses it.
                self.cut.get_or_insert(rest);
                self.searched = 0;
            }
            return is_last.then(|| self.taken_out(self.buffer.len(), 0));
        };
        Some(self.taken_out(end, 1))
    }

    fn taken_out(&mut self, length: usize, end: usize) -> Bytes {
        debug_assert!(length + end <= self.buffer.len(), "a line that ends behind what was read");
        self.digest.update(self.buffer.get(..length + end).unwrap_or_default());
        let text = self.buffer.split_to(length).freeze();
        self.buffer.advance(end);
        (self.searched, self.taken) = (0, self.taken + 1);
        self.cut.take().map_or(text, BytesMut::freeze)
    }

    async fn read(&mut self) -> std::io::Result<()> {
        self.buffer.reserve(READ_BYTES);
        self.is_ended = self.input.read_buf(&mut (&mut self.buffer).limit(READ_BYTES)).await? == 0;
        Ok(())
    }

    /// The digest of all lines that were taken out.
    fn sum(&self) -> String {
        hex(self.digest.clone())
    }
}

/// The number of lines of the first `length` bytes of a file, and their digest. Blocks.
pub(super) fn sum(path: &Path, length: u64) -> std::io::Result<(u64, String)> {
    let mut file = std::fs::File::open(path)?.take(length);
    let mut buffer = vec![0; READ_BYTES];
    let (mut digest, mut lines, mut last) = (Context::new(&SHA256), 0, b'\n');
    loop {
        let read = file.read(&mut buffer)?;
        let piece = buffer.get(..read).unwrap_or_default();
        let Some(end) = piece.last() else { break };
        digest.update(piece);
        lines += piece.iter().filter(|byte| **byte == b'\n').count() as u64;
        last = *end;
    }
    Ok((lines + u64::from(last != b'\n'), hex(digest)))
}

fn hex(digest: Context) -> String {
    digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> InputLines {
        InputLines::new(Box::new(std::io::Cursor::new(text.to_vec())), Keys::of_input("i"))
    }

    async fn all(lines: &mut InputLines) -> Vec<InputLine> {
        let mut all = Vec::new();
        while let Some(more) = lines.next().await.expect("no error") {
            all.extend(more);
        }
        all
    }

    #[tokio::test]
    async fn blank_lines_count_and_the_last_needs_no_end() {
        let found = all(&mut lines(b"x\n\n \r\ny\n\nz")).await;
        let texts: Vec<_> = found.iter().map(|line| (line.number, &line.bytes[..])).collect();
        assert_eq!(texts, [(1, &b"x\n"[..]), (4, b"y\n"), (6, b"z\n")]);
        assert_eq!(found[1].mark.as_ref().map(|mark| mark.line), Some(5));
        let whole = found[2].mark.clone().expect("the end");
        assert_eq!((whole.line, whole.digest.len()), (6, 64));
        assert!(all(&mut lines(b"")).await.is_empty() && all(&mut lines(b"\n\n")).await.is_empty());
    }

    #[tokio::test]
    async fn the_digest_is_that_of_the_published_vector() {
        let found = all(&mut lines(b"abc")).await;
        let digest = &found[0].mark.as_ref().expect("the end").digest;
        assert_eq!(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "abcdef").expect("written");
        assert_eq!(sum(file.path(), 3).expect("read"), (1, digest.clone()));
        for (text, is_unchanged) in [("abc", true), ("abd", false)] {
            let keys = Keys::of_file(digest, None);
            let mut lines = InputLines::new(Box::new(std::io::Cursor::new(text)), keys);
            all(&mut lines).await;
            assert_eq!(lines.is_unchanged(), is_unchanged, "{text}");
        }
    }

    #[tokio::test]
    async fn lines_are_passed_over_when_they_are_the_same() {
        let (first, more) = (b"a\n\nb\n", b"a\n\nb\nc\n");
        let mark = all(&mut lines(first)).await.pop().and_then(|line| line.mark).expect("a mark");
        let mut same = lines(more);
        same.skip(mark.line, Some(&mark.digest)).await.expect("the same");
        assert_eq!(all(&mut same).await.first().map(|line| line.number), Some(4));
        assert!(lines(b"a\n\nB\nc\n").skip(mark.line, Some(&mark.digest)).await.is_err());
        assert!(lines(b"a\n").skip(mark.line, Some(&mark.digest)).await.is_err());
    }

    #[tokio::test]
    async fn a_line_without_end_is_cut_off() {
        let mut text = vec![b'x'; 3 * MAX_LINE_BYTES];
        text.extend_from_slice(b"\ny\n");
        let found = all(&mut lines(&text)).await;
        assert_eq!((found.len(), found[1].number), (2, 2));
        assert!((MAX_LINE_BYTES..2 * MAX_LINE_BYTES).contains(&found[0].bytes.len()));
    }
}
