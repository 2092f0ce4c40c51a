//! Calls of the system that fail: reads, writes, syncs, renames, opens and unlinks on the data directory fail at
//! their N-th call, once and for good. Whatever fails, nothing acknowledged is lost, nothing hangs, and the daemon
//! serves, says that it does not, or leaves with the right code.
//!
//! `JUDGE_SEED` repeats a sample, `JUDGE_CASE` (such as `Sync 12 EIO once`) runs one fault, `JUDGE_LONG` all of them.

mod scenario;
mod shim;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use self::scenario::Run;
use self::shim::{ERRORS, Fault, Group};
use crate::world::{Api, Choice, alone};

/// The writes of the second start, as far as they follow the opening of its index.
const WRITES_OF_A_START: std::ops::RangeInclusive<u64> = 114..=123;
/// Scenarios at a time, unless `JUDGE_AT_ONCE` says otherwise.
const AT_ONCE: usize = 3;

/// After so many scenarios a long run says how far it is.
const TELL_EVERY: usize = 200;

/// A place in memory where there is some: thousands of syncs cost no disk time.
fn place() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("tidegate-faults").tempdir_in(parent).expect("a directory")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn whichever_call_fails_nothing_acknowledged_is_lost() {
    let _alone = alone().await;
    let choice = Choice::of_environment();
    let seed = choice.seed;
    let client = client();
    let undisturbed = Run::play(&client, None, |_| ()).await;
    assert_eq!(undisturbed.wrong, Vec::<String>::new(), "the control: nothing fails");
    assert_eq!(undisturbed.accepted(), 20);
    let segments = std::fs::read_dir(undisturbed.data().join("journal")).expect("lists").count();
    assert!(segments > 1, "a segment was begun under way");
    let all = faults(|group| undisturbed.counters.calls(group));
    let of = all.len();
    let faults = choice.of(all, sample);
    println!("failing calls: seed {seed}, {} of {of} faults", faults.len());
    let (failures, met) = run(&client, faults.clone(), choice.at_once.unwrap_or(AT_ONCE)).await;
    println!("failing calls: {met} of {} faults were met", faults.len());
    let lines = failures.join("\n");
    assert!(failures.is_empty(), "seed {seed}: {} of {} fail:\n{lines}", failures.len(), faults.len());
    assert!(met * 2 > faults.len() || !choice.is_sample(), "only {met} faults were met");
}

/// The negative control: what was acknowledged and is gone is found.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_acknowledged_event_that_is_gone_is_found() {
    let _alone = alone().await;
    let run = Run::play(&client(), None, |data| {
        for room in ["journal", "index"] {
            for entry in std::fs::read_dir(data.join(room)).expect("lists").flatten() {
                let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
                if is_file {
                    std::fs::remove_file(entry.path()).expect("goes");
                }
            }
        }
    })
    .await;
    assert!(run.wrong.iter().any(|line| line.contains("not accounted for")), "{:?}", run.wrong);
}

/// A client of one process; it is given its address later.
fn client() -> Api {
    Api::new(([127, 0, 0, 1], 0).into())
}

/// Every call of every group with every error, once and for good.
fn faults(calls: impl Fn(Group) -> u64) -> Vec<Fault> {
    let mut faults = Vec::new();
    for group in Group::ALL {
        assert!(calls(group) > 0, "no call of {group:?} was seen");
        for error in ERRORS {
            for for_good in [false, true] {
                faults.extend((1..=calls(group)).map(|nth| Fault { group, error, nth, for_good }));
            }
        }
    }
    faults
}

/// One of each group, error and way, and those of which a start once never came back: the writes by which the index is
/// opened and brought up to date.
fn sample(all: Vec<Fault>, seed: u64) -> Vec<Fault> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let same_kind =
        |a: &Fault, b: &Fault| a.group == b.group && a.error == b.error && a.for_good == b.for_good;
    let mut sample: Vec<Fault> =
        all.chunk_by(same_kind).filter_map(|kind| rng.choice(kind).copied()).collect();
    let hung = |fault: &&Fault| {
        fault.group == Group::Write
            && fault.error.0 == "EIO"
            && fault.for_good
            && WRITES_OF_A_START.contains(&fault.nth)
    };
    sample.extend(all.iter().filter(hung));
    sample
}

/// Shows a line at once: whoever runs all cases wants to see findings before the end.
fn tell(line: &str) {
    use std::io::Write;
    // A closed output leaves nobody to tell.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// The findings, and how many faults happened at all.
async fn run(client: &Api, faults: Vec<Fault>, at_once: usize) -> (Vec<String>, usize) {
    let (next, met) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (faults, failures) = (Arc::new(faults), Arc::new(Mutex::new(Vec::new())));
    let workers = (0..at_once).map(|_| {
        let (client, next, met) = (client.clone(), next.clone(), met.clone());
        let (faults, failures) = (faults.clone(), failures.clone());
        tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(fault) = faults.get(number) else { break };
                if number > 0 && number.is_multiple_of(TELL_EVERY) {
                    tell(&format!("failing calls: {number} of {}", faults.len()));
                }
                let run = Run::play(&client, Some(*fault), |_| ()).await;
                met.fetch_add(usize::from(run.counters.failed() > 0), Ordering::Relaxed);
                if !run.wrong.is_empty() {
                    let found = run.wrong.join("; ");
                    let line = format!("{fault}: {found} (kept in {})", run.keep().display());
                    tell(&line);
                    failures.lock().expect("no panic").push(line);
                }
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.expect("no panic");
    }
    let mut failures = std::mem::take(&mut *failures.lock().expect("no panic"));
    failures.sort();
    (failures, met.load(Ordering::Relaxed))
}
