//! Standard input as it comes, without keys: it is sent once, and what breaks ends the command.
//!
//! Must not know: keys, states.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::cli::client::Client;
use crate::cli::enqueue::shown::{Answer, Shown};
use crate::cli::exit::Failure;
use crate::cli::note;
use crate::cli::progress::Progress;

/// Read at once; nothing more is read until the daemon has taken it.
const CHUNK_BYTES: usize = 64 * 1024;

pub(super) async fn run(address: SocketAddr, quiet: bool) -> Result<(), Failure> {
    let mut client = Client::connect(address).await?;
    let mut answers = client.enqueue(chunks(tokio::io::stdin())).await?;
    let progress = Progress::new("enqueued", 0);
    let mut shown = Shown::new(!quiet);
    let (mut accepted, mut refused) = (0_u64, 0_u64);
    while let Some(line) = answers.next().await? {
        let well = Answer::read(&line)?.is_accepted();
        *(if well { &mut accepted } else { &mut refused }) += 1;
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

    #[tokio::test]
    async fn chunks_are_the_whole_input() {
        let input = std::io::Cursor::new(vec![b'x'; 3 * CHUNK_BYTES + 1]);
        let parts: Vec<Bytes> = chunks(input).try_collect().await.expect("no error");
        assert_eq!(parts.iter().map(Bytes::len).sum::<usize>(), 3 * CHUNK_BYTES + 1);
    }
}
