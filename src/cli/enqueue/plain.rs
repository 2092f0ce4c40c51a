//! Standard input as it comes, without keys: it is sent once, and what breaks ends the command.
//!
//! Must not know: keys, states.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::cli::client::{Client, silent};
use crate::cli::enqueue::shown::{AnswerPrinter, LineAnswer};
use crate::cli::exit::Failure;
use crate::cli::note;
use crate::cli::priority::PriorityArgument;
use crate::cli::progress::Progress;

/// Read at once; nothing more is read until the daemon has taken it.
const CHUNK_BYTES: usize = 64 * 1024;
/// While a line is not answered, the daemon says something at least this often.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// How many lines were sent, blank ones left out: each of them is answered.
type SentCount = Arc<AtomicU64>;

pub(super) async fn run(
    address: SocketAddr,
    quiet: bool,
    priority: Option<PriorityArgument>,
) -> Result<(), Failure> {
    let mut client = Client::connect(address).await?;
    let sent = SentCount::default();
    let overdue = |answered| Overdue { address, sent: &sent, answered };
    let asked = client.enqueue(chunks(tokio::io::stdin(), sent.clone()), priority);
    let mut answers = overdue(0).wait(asked).await?;
    let progress = Progress::new("enqueued", 0);
    let mut shown = AnswerPrinter::new(!quiet);
    let (mut accepted, mut refused) = (0_u64, 0_u64);
    while let Some(line) = overdue(accepted + refused).wait(answers.next()).await? {
        let well = LineAnswer::read(&line)?.is_accepted();
        *(if well { &mut accepted } else { &mut refused }) += 1;
        // Flushed only when no further answer is at hand: one write for many lines.
        shown.show(&line, well, !answers.ready(), &progress).await;
        progress.set(accepted + refused);
    }
    let unwritten = shown.end().await;
    progress.done();
    note(&format!("tidegate: {accepted} accepted, {refused} refused"));
    if refused > 0 {
        return Err(Failure::new(format!("events refused: {refused}; their answers say why")));
    }
    unwritten.map_err(|error| {
        Failure::new(format!("all events were accepted, but answers could not be written: {error}"))
    })
}

/// An answer that is waited for.
struct Overdue<'s> {
    address: SocketAddr,
    sent: &'s SentCount,
    /// Lines that have been answered so far.
    answered: u64,
}

impl Overdue<'_> {
    /// Waits as long as no line lacks its answer, and one to two [`ANSWER_LIMIT`]s longer.
    async fn wait<T>(self, answer: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let mut answer = pin!(answer);
        let mut is_due = false;
        loop {
            match tokio::time::timeout(ANSWER_LIMIT, answer.as_mut()).await {
                Ok(answer) => return answer,
                Err(_) if is_due => {
                    let lines = format!("{} lines have an answer", self.answered);
                    return Err(silent(self.address, ANSWER_LIMIT).with(&lines));
                }
                // Not silent yet: the line may have been sent a moment ago. It counts as due from the next limit on.
                Err(_) => is_due = self.sent.load(Ordering::Relaxed) > self.answered,
            }
        }
    }
}

/// The input in chunks as they come; counts its lines.
fn chunks<R>(input: R, sent: SentCount) -> impl Stream<Item = std::io::Result<Bytes>> + Send + Sync + 'static
where
    R: AsyncRead + Unpin + Send + Sync + 'static,
{
    futures_util::stream::try_unfold((input, false), move |(mut input, mut is_begun)| {
        let sent = sent.clone();
        async move {
            let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
            let read = input.read_buf(&mut chunk).await?;
            let mut lines = 0;
            for byte in &chunk {
                match byte {
                    b'\n' => lines += u64::from(std::mem::take(&mut is_begun)),
                    byte => is_begun |= !byte.is_ascii_whitespace(),
                }
            }
            let is_end = read == 0;
            sent.fetch_add(lines + u64::from(is_end && is_begun), Ordering::Relaxed);
            Ok((!is_end).then(|| (chunk.freeze(), (input, is_begun))))
        }
    })
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use super::*;

    #[tokio::test]
    async fn chunks_are_the_whole_input() {
        let input = std::io::Cursor::new(vec![b'x'; 3 * CHUNK_BYTES + 1]);
        let sent = SentCount::default();
        let parts: Vec<Bytes> = chunks(input, sent.clone()).try_collect().await.expect("no error");
        assert_eq!(parts.iter().map(Bytes::len).sum::<usize>(), 3 * CHUNK_BYTES + 1);
        assert_eq!(sent.load(Ordering::Relaxed), 1);
        let input = std::io::Cursor::new(b"{}\n\n  \r\n{}\n{}".to_vec());
        let _: Vec<Bytes> = chunks(input, sent.clone()).try_collect().await.expect("no error");
        assert_eq!(sent.load(Ordering::Relaxed), 1 + 3, "blank lines have no answer");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_counts_while_a_line_has_no_answer() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let sent = SentCount::default();
        let wait = |answered| {
            Overdue { address, sent: &sent, answered }.wait(std::future::pending::<Result<(), _>>())
        };
        let hour = Duration::from_secs(3600);
        assert!(tokio::time::timeout(hour, wait(0)).await.is_err(), "nothing is due");
        sent.store(2, Ordering::Relaxed);
        assert!(tokio::time::timeout(hour, wait(2)).await.is_err(), "all is answered");
        let said =
            tokio::time::timeout(3 * ANSWER_LIMIT, wait(1)).await.expect("it ends").expect_err("silence");
        assert!(
            said.is_passing() && said.to_string().contains("within 30 s; 1 lines have an answer"),
            "{said}"
        );
    }
}
