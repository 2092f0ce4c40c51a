//! Journal append against the physical limit: raw append + fdatasync of the same event bytes, alternately in one
//! process, for groups of 1, 16, 256 and 4096 events of about 512 bytes of half-compressible JSON.
//!
//! `cargo bench --bench append`

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use tidegate::clock::Clock;
use tidegate::event::LaneKey;
use tidegate::store::journal::{Group, Journal, JournalOptions, MAX_BLOCK_ENTRIES, NewBlock};

const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(300);

fn main() -> anyhow::Result<()> {
    let clock = Clock::system();
    // Beside the build: a temporary directory may lie in memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut journal = Journal::open(&dir.path().join("journal"), JournalOptions::default(), 0, clock.now())?;
    let mut raw = OpenOptions::new().create_new(true).append(true).open(dir.path().join("raw"))?;
    let lane = LaneKey::new("bench@1")?;
    let events = events(4096);
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{:>6} {:>14} {:>14} {:>7}   (medians of {ROUNDS})",
        "group", "raw/s", "journal/s", "ratio"
    )?;
    for size in [1, 16, 256, 4096] {
        let batch = events.get(..size).unwrap_or(&events);
        let mut group = Group::default();
        let (mut raws, mut journals) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            raws.push(rate(&clock, size, || raw_append(&mut raw, batch))?);
            raw.set_len(0)?;
            journals.push(rate(&clock, size, || {
                for records in batch.chunks(MAX_BLOCK_ENTRIES) {
                    let accepted_ms = clock.now().as_millis();
                    group.push_block(&NewBlock {
                        lane_no: 1,
                        lane: &lane,
                        accepted_ms,
                        records,
                        due_ms: &[],
                        dedup: &[],
                    })?;
                }
                journal.append(&mut group, clock.now())?;
                Ok(())
            })?);
        }
        let (raw, journal) = (median(raws), median(journals));
        writeln!(out, "{size:>6} {raw:>14.0} {journal:>14.0} {:>6.1}%", journal / raw * 100.0)?;
    }
    Ok(())
}

/// Events per second of `append` over one round.
fn rate(clock: &Clock, size: usize, mut append: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let begun = clock.now();
    let mut events = 0_usize;
    while clock.now().since(begun) < ROUND {
        append()?;
        events += size;
    }
    Ok(events as f64 / clock.now().since(begun).as_secs_f64())
}

fn raw_append(file: &mut File, batch: &[Bytes]) -> anyhow::Result<()> {
    let joined: Vec<u8> = batch.concat();
    file.write_all(&joined)?;
    file.sync_data()?;
    Ok(())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or(0.0)
}

fn events(count: usize) -> Vec<Bytes> {
    let mut rng = fastrand::Rng::with_seed(1);
    let event = |at| {
        let mut text = format!("{{\"type\":\"order.updated\",\"sequence\":{at},\"customer\":{{\"id\":\"");
        while text.len() < 500 {
            let (id, price) = (rng.u64(..), rng.u32(..100_000));
            text.push_str(&format!(
                "{id:016x}\",\"currency\":\"EUR\",\"amount\":{price},\"status\":\"paid\",\"item\":\""
            ));
        }
        text.push_str("\"}}");
        Bytes::from(text)
    };
    (0..count).map(event).collect()
}
