//! The damage matrix: every file kind of a data directory, damaged in every way, after an orderly stop and after a
//! kill. Whatever is damaged, nothing panics or hangs, and reported = lost: exactly after an orderly stop, exactly
//! up to the last mark of the account after a kill.
//!
//! `JUDGE_SEED` repeats a sample, `JUDGE_CASE` runs the cases whose line contains it, `JUDGE_LONG` runs all of them.

mod base;
mod cases;
mod controls;
mod daemon;
mod judge;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use self::base::{Base, End, scratch};
use self::cases::{Case, Damage, Kind};
use self::judge::Known;
use crate::world::{Choice, alone};

/// A case that takes longer hangs.
const CASE_LIMIT: Duration = Duration::from_secs(15);
/// Flips of each kind of file in a sample.
const FLIPS: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_damaged_reported_is_lost() {
    let _alone = alone().await;
    let seed = Choice::of_environment().seed;
    let Outcome { run, of, failures } = tokio::task::spawn_blocking(matrix).await.expect("no panic");
    println!("damage matrix: seed {seed}, {run} of {of} cases");
    let lines = failures.join("\n");
    assert!(failures.is_empty(), "seed {seed}: {} of {run} cases fail:\n{lines}", failures.len());
}

/// How many cases ran, of how many there are, and a line for each that failed.
struct Outcome {
    run: usize,
    of: usize,
    failures: Vec<String>,
}

fn matrix() -> Outcome {
    let choice = Choice::of_environment();
    let bases: Vec<Arc<Base>> =
        [End::Orderly, End::Killed].into_iter().map(|end| Arc::new(Base::build(end, choice.seed))).collect();
    let mut failures = holes(&bases);
    let cases: Vec<Case> = bases.iter().flat_map(|base| cases::all(base)).collect();
    let of = cases.len();
    let cases = choice.of(cases, sample);
    failures.extend(run(&bases, &cases));
    failures.sort();
    Outcome { run: cases.len(), of, failures }
}

/// File kinds that the bases do not show.
fn holes(bases: &[Arc<Base>]) -> Vec<String> {
    let hole = |base: &Arc<Base>| {
        let found: BTreeSet<Kind> = cases::kinds(&base.root()).into_values().collect();
        let of_a_stop = (base.end == End::Orderly).then_some(Kind::Living);
        let expected = Kind::EXPECTED.into_iter().chain(of_a_stop);
        let missing: Vec<Kind> = expected.filter(|kind| !found.contains(kind)).collect();
        let line = format!("{}: the directory has no file of the kinds {missing:?}", base.end.word());
        (!missing.is_empty()).then_some(line)
    };
    bases.iter().filter_map(hole).collect()
}

/// Every damage of every kind of file once, and a few flips of each.
fn sample(cases: Vec<Case>, seed: u64) -> Vec<Case> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut groups: BTreeMap<String, Vec<Case>> = BTreeMap::new();
    for case in cases {
        let damage = match &case.damage {
            Damage::Flip { .. } => "Flip".to_owned(),
            Damage::Cut(_) => "Cut".to_owned(),
            Damage::Swap(_) => "Swap".to_owned(),
            Damage::Double(_) => "Double".to_owned(),
            Damage::Noise(_) => "Noise".to_owned(),
            other => format!("{other:?}"),
        };
        let place =
            if case.kind == Kind::Directory { case.path.display().to_string() } else { String::new() };
        let group = format!("{:?} {:?} {place} {damage} {}", case.end, case.kind, case.without_index);
        groups.entry(group).or_default().push(case);
    }
    let mut chosen = Vec::new();
    for group in groups.into_values() {
        let is_flip = matches!(group[0].damage, Damage::Flip { .. });
        let many = if is_flip { FLIPS } else { 1 };
        chosen.extend(rng.choose_multiple(group, many));
    }
    chosen
}

/// Runs the cases on all cores and returns a line for each that fails.
fn run(bases: &[Arc<Base>], cases: &[Case]) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let base = bases.iter().find(|base| base.end == case.end).expect("its base");
                    let found = bounded(base, case);
                    if !found.is_empty() {
                        let line = format!("{case}: {}", found.join("; "));
                        failures.lock().expect("no panic").push(line);
                    }
                }
            });
        }
    });
    failures.into_inner().expect("no panic")
}

/// Judges one case in a thread of its own: a panic or a hang is a finding like others.
fn bounded(base: &Arc<Base>, case: &Case) -> Vec<String> {
    let (base, case) = (base.clone(), case.clone());
    let (done, finding) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let place = scratch();
        let found = judged(&base, &case, place.path());
        // Whoever waits may have given up.
        let _ = done.send(found);
    });
    match finding.recv_timeout(CASE_LIMIT) {
        Ok(found) => found,
        Err(mpsc::RecvTimeoutError::Timeout) => vec![format!("HANG: nothing after {CASE_LIMIT:?}")],
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            let panic = thread.join().err().map(|panic| {
                let text = panic.downcast_ref::<String>().cloned();
                text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            });
            vec![format!("PANIC: {}", panic.flatten().unwrap_or_default())]
        }
    }
}

fn judged(base: &Base, case: &Case, place: &Path) -> Vec<String> {
    let root = place.join("data");
    base::copy(&base.root(), &root).expect("a copy");
    case.apply(&root, place).expect("damaged");
    let before = place.join("before");
    if case.may_refuse() {
        tree::duplicate(&root, &before).expect("a copy");
    }
    let first = match judge::look(&root, &base.truth) {
        Ok(seen) => seen,
        Err(error) if !case.may_refuse() => return vec![format!("REFUSED: {error}")],
        Err(_) if tree::same(&root, &before) => return Vec::new(),
        Err(error) => return vec![format!("refused and modified: {error}")],
    };
    let mut wrong = judge::verdict(&base.truth, Known::after(base.end, case.without_index), &first);
    match judge::look(&root, &base.truth) {
        Ok(second) => wrong.extend(judge::repeats(&first, &second)),
        Err(error) => wrong.push(format!("a second start is refused: {error}")),
    }
    wrong
}
