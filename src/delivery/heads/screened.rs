//! A connection whose HTTP/1 answers have their heads [mended](super::mend) before the HTTP library reads them.
//!
//! Where a head begins follows from the requests: each is written whole before the next one, and its answer is the next
//! thing that comes. What is written is of this process alone, so that its framing can be relied upon. Bodies pass
//! through untouched and uncopied; of a head there is one copy.
//!
//! Must not know: which endpoint it leads to, what answers mean.

use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::Response;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};

use super::{HEAD_MAX_BYTES, Head, HeadError, Mended, end, may_be_head, mend};

/// How much is read at a time while a head is waited for.
const READ_BYTES: usize = 4096;
/// The end of the head of a request.
const REQUEST_END: &[u8] = b"\r\n\r\n";

/// Hears of heads that had to be mended, with the host that they came from.
pub(in crate::delivery) type Report = fn(&str, Mended);

/// The names, in small letters, of further lines that answers may be judged by.
pub(in crate::delivery) type Heard = Arc<[&'static str]>;

/// A connection, over TLS or without.
#[derive(Debug)]
pub(in crate::delivery) struct Screened<T> {
    io: T,
    /// `None` where another protocol is spoken.
    heads: Option<Heads>,
    host: Box<str>,
    heard: Heard,
    report: Report,
    noted: NotedMended,
}

/// What was done to the head of the answer that is being read, for whoever gets that answer: it travels with the answer,
/// and one connection has one answer at a time.
#[derive(Debug, Clone, Default)]
struct NotedMended(Arc<Mutex<Mended>>);

/// What was done to the head of this answer, which is to be asked before the next call may use its connection.
pub(in crate::delivery) fn mended_of<B>(response: &Response<B>) -> Mended {
    let noted = response.extensions().get::<NotedMended>();
    noted.map_or_else(Mended::default, |noted| mem::take(&mut *noted.lock()))
}

impl NotedMended {
    fn lock(&self) -> MutexGuard<'_, Mended> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Informational heads before an answer count as its own.
    fn add(&self, mended: Mended) {
        let mut noted = self.lock();
        noted.broken += mended.broken;
        noted.surplus += mended.surplus;
    }
}

/// Where the connection stands, each way.
#[derive(Debug, Default)]
struct Heads {
    out: Out,
    /// Whether the next bytes that come belong to a head.
    is_expected: bool,
    /// What came of a head that is not complete.
    came: Vec<u8>,
    /// How much of it is known not to hold its end.
    seen: usize,
    /// Whether an informational head before the one of this answer ends the connection.
    closes: bool,
    /// Ready to be read by the HTTP library.
    ready: Bytes,
}

/// What the next byte that is written belongs to.
#[derive(Debug)]
enum Out {
    /// The head of a request, as far as it has been written.
    Head(Vec<u8>),
    /// The body of a request, of which this many bytes are left.
    Body(u64),
}

impl Default for Out {
    fn default() -> Self {
        Self::Head(Vec::new())
    }
}

impl<T: Connection> Screened<T> {
    /// Screens a connection that nothing was sent over, unless it speaks HTTP/2, whose heads have no lines.
    pub(in crate::delivery) fn new(
        io: T,
        speaks_http2: bool,
        host: &str,
        heard: Heard,
        report: Report,
    ) -> Self {
        let is_plain = !speaks_http2 && !io.connected().is_negotiated_h2();
        Self {
            io,
            heads: is_plain.then(Heads::default),
            host: host.into(),
            heard,
            report,
            noted: NotedMended::default(),
        }
    }
}

impl Heads {
    /// Learns that these bytes were written.
    fn wrote(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match &mut self.out {
                Out::Body(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= u64::try_from(taken).unwrap_or(*left);
                    bytes = bytes.get(taken..).unwrap_or_default();
                    if *left == 0 {
                        self.out = Out::default();
                    }
                }
                Out::Head(written) => {
                    // The first byte of a request: its answer is the next thing that comes.
                    self.is_expected |= written.is_empty();
                    // The end may begin in what was written before.
                    let from = written.len().saturating_sub(REQUEST_END.len() - 1);
                    let before = written.len();
                    written.extend_from_slice(bytes);
                    let found = written.get(from..).and_then(|text| {
                        text.windows(REQUEST_END.len()).position(|part| part == REQUEST_END)
                    });
                    let Some(found) = found else { return };
                    let whole = from + found + REQUEST_END.len();
                    let length = announced(written.get(..whole).unwrap_or_default());
                    bytes = bytes.get(whole - before..).unwrap_or_default();
                    self.out = if length == 0 { Out::default() } else { Out::Body(length) };
                }
            }
        }
    }

    /// Looks whether what came is a complete head, and makes it ready if so.
    fn look(&mut self, heard: &[&str], report: impl FnOnce(Mended)) -> Result<(), HeadError> {
        if !may_be_head(&self.came) {
            // The HTTP library says what it is.
            self.pass_on();
            return Ok(());
        }
        let Some(end) = end(&self.came, self.seen) else {
            self.seen = self.came.len();
            return if self.seen > HEAD_MAX_BYTES { Err(HeadError::TooLong) } else { Ok(()) };
        };
        let rest = self.came.split_off(end);
        let Head { mut bytes, mended, is_interim } = mend(mem::take(&mut self.came), self.closes, heard)?;
        if mended != Mended::default() {
            report(mended);
        }
        self.seen = 0;
        self.closes = is_interim && (self.closes || mended.closes());
        if is_interim {
            self.came = rest;
        } else {
            // The body that came with it.
            bytes.extend_from_slice(&rest);
            self.is_expected = false;
        }
        self.ready = bytes.into();
        Ok(())
    }

    /// Hands on what came as it is.
    fn pass_on(&mut self) {
        self.ready = mem::take(&mut self.came).into();
        (self.is_expected, self.seen) = (false, 0);
    }
}

/// The length of the body that the head of a request announces. Bodies of requests always have one.
fn announced(head: &[u8]) -> u64 {
    let mut lines = head.split(|&byte| byte == b'\n');
    lines
        .find_map(|line| {
            let (name, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        })
        .unwrap_or(0)
}

impl<T: Read + Unpin> Read for Screened<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(heads) = &mut this.heads else { return Pin::new(&mut this.io).poll_read(context, buffer) };
        loop {
            if !heads.ready.is_empty() {
                let some = heads.ready.split_to(heads.ready.len().min(buffer.remaining()));
                buffer.put_slice(&some);
                return Poll::Ready(Ok(()));
            }
            if !heads.is_expected {
                return Pin::new(&mut this.io).poll_read(context, buffer);
            }
            // What came with the head before it.
            if heads.came.len() > heads.seen {
                let told = |mended| {
                    this.noted.add(mended);
                    (this.report)(&this.host, mended);
                };
                heads.look(&this.heard, told).map_err(io::Error::other)?;
                continue;
            }
            let mut space = [0; READ_BYTES];
            let mut read = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut this.io).poll_read(context, read.unfilled()))?;
            if read.filled().is_empty() {
                // It ends within a head, which the HTTP library knows how to call.
                heads.pass_on();
                if !heads.ready.has_remaining() {
                    return Poll::Ready(Ok(()));
                }
            }
            heads.came.extend_from_slice(read.filled());
        }
    }
}

impl<T: Write + Unpin> Write for Screened<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.io).poll_write(context, bytes))?;
        if let Some(heads) = &mut this.heads {
            heads.wrote(bytes.get(..written).unwrap_or(bytes));
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.io).poll_write_vectored(context, parts))?;
        if let Some(heads) = &mut this.heads {
            let mut left = written;
            for part in parts {
                let some = part.get(..left.min(part.len())).unwrap_or_default();
                heads.wrote(some);
                left -= some.len();
            }
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}

impl<T: Connection> Connection for Screened<T> {
    fn connected(&self) -> Connected {
        let within = self.io.connected();
        // In place of what the connector below tells of its socket, which nobody asks for.
        let mut connected = Connected::new().proxy(within.is_proxied());
        if within.is_negotiated_h2() {
            connected = connected.negotiated_h2();
        }
        if self.heads.is_some() { connected.extra(self.noted.clone()) } else { connected }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{OK, any_head, head};
    use super::*;

    const REQUEST: &[u8] = b"GET /x HTTP/1.1\r\nhost: h\r\n\r\n";

    /// What is read after one request when this comes.
    fn read_bytes(pieces: &[&[u8]]) -> Result<Vec<u8>, HeadError> {
        let mut heads = Heads::default();
        heads.wrote(REQUEST);
        let mut read = Vec::new();
        for piece in pieces {
            if !heads.is_expected {
                read.extend_from_slice(piece);
                continue;
            }
            heads.came.extend_from_slice(piece);
            while heads.is_expected && heads.came.len() > heads.seen {
                heads.look(&[], |_| {})?;
                read.extend(mem::take(&mut heads.ready));
            }
        }
        Ok(read)
    }

    /// The same as text.
    fn read(pieces: &[&[u8]]) -> Result<String, HeadError> {
        Ok(String::from_utf8(read_bytes(pieces)?).expect("text"))
    }

    /// Whether a head is expected after each of two requests that are written in two pieces.
    fn expects_after(both: &str, cut: usize) -> [bool; 2] {
        let mut heads = Heads::default();
        let (first, second) = both.as_bytes().split_at(cut);
        heads.wrote(first);
        let begun = mem::take(&mut heads.is_expected) || cut == 0;
        heads.wrote(second);
        [begun, heads.is_expected]
    }

    #[test]
    fn a_broken_informational_head_ends_the_connection_with_the_answer() {
        let broken = "HTTP/1.1 103 Early Hints\r\na b\r\n\r\n";
        assert_eq!(
            read(&[broken.as_bytes(), &head(&["a: b"]), b"body"]),
            Ok(format!("HTTP/1.1 103 Early Hints\r\n\r\n{OK}a: b\r\nconnection: close\r\n\r\nbody"))
        );
    }

    #[test]
    fn what_is_no_answer_passes_at_once_and_a_head_without_an_end_is_refused() {
        assert_eq!(read(&[b"220 mail.example ESMTP\r\n"]), Ok("220 mail.example ESMTP\r\n".to_owned()));
        assert_eq!(read(&[b"HTTP/2 200\r\n"]), Ok("HTTP/2 200\r\n".to_owned()));
        let long = "x: y\r\n".repeat(HEAD_MAX_BYTES / 6 + 1);
        assert_eq!(read(&[OK.as_bytes(), long.as_bytes()]), Err(HeadError::TooLong));
    }

    #[test]
    fn a_body_with_the_looks_of_a_head_passes_untouched() {
        let body = "HTTP/1.1 200 OK\r\na b\r\n\r\n";
        let answer = [&head(&["content-length: 25"])[..], body.as_bytes()].concat();
        assert_eq!(read(&[&answer]).as_deref(), Ok(std::str::from_utf8(&answer).expect("text")));
        // The control: the same where a head is expected.
        assert_eq!(read(&[body.as_bytes()]), Ok(format!("{OK}connection: close\r\n\r\n")));
    }

    #[test]
    fn each_request_has_an_answer_of_its_own() {
        let request = |length: usize| {
            format!("POST /x HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{}", "r".repeat(length))
        };
        for cut in 0..request(7).len() {
            // The head of the second answer is mended again, wherever the requests are cut.
            let both = request(7) + &request(0);
            assert_eq!(expects_after(&both, cut), [true, true], "{cut}");
        }
    }

    proptest! {
        #[test]
        fn it_does_not_matter_in_which_pieces_a_head_comes(came in any_head(), cuts in proptest::collection::vec(0..200_usize, 0..6)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(came.len())).collect();
            cuts.sort_unstable();
            let ends = cuts.iter().copied().chain([came.len()]);
            let starts = [0].into_iter().chain(cuts.iter().copied());
            let pieces: Vec<&[u8]> = starts.zip(ends).map(|(start, end)| &came[start..end]).collect();
            prop_assert_eq!(read_bytes(&pieces), read_bytes(&[&came]));
        }
    }
}
