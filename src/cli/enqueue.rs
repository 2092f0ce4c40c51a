//! `tidegate enqueue`: standard input to a running daemon.

use bytes::{Bytes, BytesMut};
use clap::Args;
use futures_util::Stream;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufWriter};

use crate::cli::ConfigArguments;
use crate::cli::client::Client;
use crate::cli::exit::Failure;
use crate::cli::progress::Progress;

/// Read at once; nothing more is read until the daemon has taken it.
const CHUNK_BYTES: usize = 64 * 1024;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// `--listen` (listen.address) names the daemon
    #[command(flatten)]
    config: ConfigArguments,
    /// Print only the answers to refused events
    #[arg(long)]
    quiet: bool,
}

/// What is needed of an answer line.
#[derive(Deserialize)]
struct Answer {
    status: u16,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let config = arguments.config.load()?.config;
    let mut client = Client::connect(config.listen.address).await?;
    let mut answers = client.enqueue(chunks(tokio::io::stdin())).await?;
    let progress = Progress::new("enqueued", 0);
    let mut out = BufWriter::new(tokio::io::stdout());
    let mut unwritten = Ok(());
    let (mut accepted, mut refused) = (0_u64, 0_u64);
    while let Some(line) = answers.next().await? {
        let well = is_accepted(&line)?;
        *(if well { &mut accepted } else { &mut refused }) += 1;
        let is_shown = !(well && arguments.quiet);
        // The events are sent to the end, whether their answers can be shown or not.
        if unwritten.is_ok() {
            unwritten = show(&mut out, is_shown.then_some(&line), !answers.ready()).await;
        }
        progress.set(accepted + refused);
    }
    if unwritten.is_ok() {
        unwritten = out.flush().await;
    }
    progress.done();
    super::note(&format!("tidegate: {accepted} accepted, {refused} refused"));
    if refused > 0 {
        return Err(Failure::new(format!("events refused: {refused}; their answers say why")));
    }
    unwritten.map_err(|error| {
        Failure::new(format!("all events were accepted, but answers could not be written: {error}"))
    })
}

/// Writes an answer line, if there is one, and sends it on its way when it `is_last` of those at hand.
async fn show(
    out: &mut BufWriter<tokio::io::Stdout>,
    line: Option<&Bytes>,
    is_last: bool,
) -> std::io::Result<()> {
    if let Some(line) = line {
        out.write_all(line).await?;
        out.write_all(b"\n").await?;
    }
    if is_last { out.flush().await } else { Ok(()) }
}

/// Whether an answer line acknowledges its event.
pub(super) fn is_accepted(line: &[u8]) -> Result<bool, Failure> {
    serde_json::from_slice::<Answer>(line).map(|answer| answer.status < 300).map_err(|error| {
        Failure::new(format!("not an answer of tidegate: {error}: {}", String::from_utf8_lossy(line)))
    })
}

/// The input in chunks as they come.
fn chunks<R>(input: R) -> impl Stream<Item = std::io::Result<Bytes>> + Send + Sync + 'static
where
    R: AsyncRead + Unpin + Send + Sync + 'static,
{
    futures_util::stream::try_unfold(input, |mut input| async move {
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
        let read = input.read_buf(&mut chunk).await?;
        Ok((read > 0).then(|| (chunk.freeze(), input)))
    })
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use super::*;

    #[test]
    fn an_answer_acknowledges_by_its_status() {
        assert!(is_accepted(br#"{"line":1,"status":202,"id":"x"}"#).expect("an answer"));
        assert!(!is_accepted(br#"{"line":1,"status":422,"code":"unmatched"}"#).expect("an answer"));
        assert!(is_accepted(b"<html>").is_err());
    }

    #[tokio::test]
    async fn chunks_are_the_whole_input() {
        let input = std::io::Cursor::new(vec![b'x'; 3 * CHUNK_BYTES + 1]);
        let parts: Vec<Bytes> = chunks(input).try_collect().await.expect("no error");
        assert_eq!(parts.iter().map(Bytes::len).sum::<usize>(), 3 * CHUNK_BYTES + 1);
    }
}
