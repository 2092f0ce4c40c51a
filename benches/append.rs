//! Journal append against the physical limit: raw append + fdatasync of the same event bytes, alternately in one
//! process, for groups of 1, 16, 256 and 4096 events of about 512 bytes of half-compressible JSON. A ratio is the
//! median over the pairs of rounds, so that a machine that is busy at times spoils single pairs only. Then the scan,
//! on which the rebuild of an index rests, over segments of full and of single-entry blocks. What encryption costs is measured
//! beside it, as a share of the same journal without it. Takes a minute.
//!
//! `cargo bench --bench append`

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tidegate::testkit::clock::Clock;
use tidegate::testkit::event::LaneKey;
use tidegate::testkit::store::embedded::journal::{
    Disk, Frame, FrameGroup, Journal, JournalOptions, MAX_BLOCK_ENTRIES, NewBlock, OsDisk, Scan, scan,
};
use tidegate::testkit::store::embedded::{KeyRing, Keys};

const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(200);
/// Group size and the least share of the raw rate, in percent.
const TARGETS: [(usize, u32); 4] = [(1, 70), (16, 70), (256, 50), (4096, 50)];
/// Entries per block and entries in all.
const SCANS: [(usize, usize); 2] = [(MAX_BLOCK_ENTRIES, 1_000_000), (1, 250_000)];

fn main() -> anyhow::Result<()> {
    let clock = Clock::system();
    // Beside the build: a temporary directory may lie in memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let events = events(4096);
    let mut out = io::stdout().lock();
    appends(&clock, dir.path(), &events, &mut out)?;
    for (block, total) in SCANS {
        let dir = dir.path().join(format!("scan-{block}"));
        scans(&clock, &dir, &events, (block, total), &mut out)?;
    }
    Ok(())
}

fn appends(clock: &Clock, dir: &Path, events: &[Bytes], out: &mut impl Write) -> anyhow::Result<()> {
    let mut journal = Journal::open(&dir.join("journal"), JournalOptions::default(), 0, clock.now())?;
    let keys = KeyRing::parse(&"0123456789abcdef".repeat(4)).map_err(anyhow::Error::msg)?;
    let (options, sealed_dir) = (JournalOptions::default(), dir.join("sealed"));
    let disk = Box::new(OsDisk);
    let mut sealed = Journal::open_on(&sealed_dir, options, 0, clock.now(), disk, Keys::new(keys))?;
    let mut raw = OpenOptions::new().create_new(true).append(true).open(dir.join("raw"))?;
    writeln!(out, "append, events per second, medians of {ROUNDS} pairs of rounds")?;
    writeln!(
        out,
        "{:>6} {:>12} {:>12} {:>7} {:>7} {:>14} {:>10}",
        "group", "raw", "journal", "ratio", "target", "without a disk", "encrypted"
    )?;
    for (size, target) in TARGETS {
        let batch = events.get(..size).unwrap_or(events);
        let (mut group, mut joined) = (FrameGroup::default(), Vec::new());
        let mut locked = FrameGroup::of(true);
        let (mut raws, mut journals, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        let mut shares = Vec::new();
        for _ in 0..ROUNDS {
            let bare = rate(clock, size, ROUND, || raw_append(&mut raw, batch, &mut joined))?;
            raw.set_len(0)?;
            let ours = rate(clock, size, ROUND, || {
                push(&mut group, batch, MAX_BLOCK_ENTRIES, clock)?;
                journal.append(&mut group, clock.now())?;
                Ok(())
            })?;
            let encrypted = rate(clock, size, ROUND, || {
                push(&mut locked, batch, MAX_BLOCK_ENTRIES, clock)?;
                sealed.append(&mut locked, clock.now())?;
                Ok(())
            })?;
            shares.push(encrypted / ours * 100.0);
            raws.push(bare);
            journals.push(ours);
            ratios.push(ours / bare * 100.0);
        }
        let packing = rate(clock, size, ROUND * 2, || {
            push(&mut group, batch, MAX_BLOCK_ENTRIES, clock)?;
            group.clear();
            Ok(())
        })?;
        let (raw, journal, ratio, share) = (median(raws), median(journals), median(ratios), median(shares));
        writeln!(
            out,
            "{size:>6} {raw:>12.0} {journal:>12.0} {ratio:>6.1}% {target:>6}% {packing:>14.0} {share:>9.1}%"
        )?;
    }
    Ok(())
}

/// Writes a journal without waiting for the disk, and times the scan of all of it.
fn scans(
    clock: &Clock,
    dir: &Path,
    events: &[Bytes],
    (block, total): (usize, usize),
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut journal = Journal::open_on(
        dir,
        JournalOptions::default(),
        0,
        clock.now(),
        Box::new(Unsynced),
        Keys::default(),
    )?;
    let mut group = FrameGroup::default();
    let batches = total.div_ceil(events.len());
    for _ in 0..batches {
        push(&mut group, events, block, clock)?;
        journal.append(&mut group, clock.now())?;
    }
    drop(journal);
    let begun = clock.now();
    let mut seen = 0_u64;
    let report = scan(dir, Scan::default(), |_, frame| {
        if let Frame::Block(head) = frame {
            seen += u64::from(head.count);
        }
        Ok(())
    })?;
    let took = clock.now().since(begun).as_secs_f64();
    anyhow::ensure!(
        seen == (batches * events.len()) as u64 && report.damaged == 0,
        "the scan missed something"
    );
    let (rate, bytes) = (seen as f64 / took, report.bytes as f64);
    let (gb, each) = (bytes / took / 1e9, bytes / seen as f64);
    writeln!(
        out,
        "scan, blocks of {block:>3}: {rate:>10.0} entries per second, {gb:.2} GB/s, {each:.0} B per entry"
    )?;
    Ok(())
}

/// Writes to the page cache alone.
struct Unsynced;

impl Disk for Unsynced {
    fn write_at(&mut self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        OsDisk.write_at(file, bytes, offset)
    }

    fn sync(&mut self, _: &File) -> io::Result<()> {
        Ok(())
    }
}

fn push(group: &mut FrameGroup, events: &[Bytes], block: usize, clock: &Clock) -> anyhow::Result<()> {
    let lane = LaneKey::new("bench@1")?;
    for records in events.chunks(block) {
        let accepted_ms = clock.now().as_millis();
        let block = NewBlock { lane_no: 1, lane: &lane, accepted_ms, records, due_ms: &[], dedup: &[] };
        group.push_block(&block)?;
    }
    Ok(())
}

/// Events per second of `append` over one round.
fn rate(
    clock: &Clock,
    size: usize,
    round: Duration,
    mut append: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    let begun = clock.now();
    let mut events = 0_usize;
    while clock.now().since(begun) < round {
        append()?;
        events += size;
    }
    Ok(events as f64 / clock.now().since(begun).as_secs_f64())
}

fn raw_append(file: &mut File, batch: &[Bytes], joined: &mut Vec<u8>) -> anyhow::Result<()> {
    joined.clear();
    batch.iter().for_each(|record| joined.extend_from_slice(record));
    file.write_all(joined)?;
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
