//! What one start costs the gate: nanoseconds per decide + confirm + under way + release, and per refusal, by number of
//! limits on the lane; with few limiters and with one for each of 100 000 keys. And what a key costs in memory, while
//! it is used and after. The clock is simulated and advances so that every decision grants.

#![expect(clippy::print_stdout, reason = "a bench prints its table")]

use std::hint::black_box;
use std::time::Duration;

use anyhow::Context;
use tidegate::testkit::clock::{Clock, Timestamp};
use tidegate::testkit::event::{Labels, Lane, PolicyId, PolicyRef};
use tidegate::testkit::limit::{Binding, Decision, Gate, Rules};
use tidegate::testkit::policy::{Family, Limits, Pace, Scope};

const STARTS: u32 = 2_000_000;
const PACE: f64 = 5000.0;
const KEYS: usize = 100_000;
const BEGIN: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const PAGE_BYTES: usize = 4096;

/// Without its caches of small pieces, and without a reserve that grows, the allocator gives back what is free, so that
/// what is left is in use.
const WITHOUT_CACHES: (&str, &str) = (
    "GLIBC_TUNABLES",
    "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0:glibc.malloc.trim_threshold=131072",
);

fn main() -> anyhow::Result<()> {
    if std::env::args().any(|argument| argument == "memory") {
        return memory();
    }
    let (name, value) = WITHOUT_CACHES;
    let of_memory =
        std::process::Command::new(std::env::current_exe()?).arg("memory").env(name, value).status()?;
    anyhow::ensure!(of_memory.success(), "the memory was not measured");
    println!("\n| limiters present | limits on the lane | granted ns | refused ns |");
    println!("|---:|---:|---:|---:|");
    for present in [8, 1000] {
        for bound in [1, 3, 8] {
            let mut gate = Gate::new();
            let ids = policies(&mut gate, present, &[])?;
            // Lanes over all policies in turn, so that the limits of a lane are not always in the cache.
            let lanes = ids.chunks_exact(bound).map(|ids| bind(&mut gate, ids, None));
            let lanes: Vec<Binding> = lanes.collect::<Result<_, _>>()?;
            row(present, bound, measure(&mut gate, &lanes)?);
        }
    }
    for bound in [1, 3, 8] {
        // One limit for each key, the others for all keys.
        let mut gate = Gate::new();
        let shared = policies(&mut gate, bound - 1, &[])?;
        let scoped = scoped(&mut gate)?;
        let ids: Vec<PolicyId> = shared.into_iter().chain([scoped]).collect();
        let lanes = (0..KEYS).map(|key| bind(&mut gate, &ids, Some(key)));
        let mut lanes: Vec<Binding> = lanes.collect::<Result<_, _>>()?;
        fastrand::Rng::with_seed(1).shuffle(&mut lanes);
        row(KEYS + bound - 1, bound, measure(&mut gate, &lanes)?);
    }
    Ok(())
}

fn row(present: usize, bound: usize, (granted, refused): (f64, f64)) {
    println!("| {present} | {bound} | {granted:.0} | {refused:.0} |");
}

/// Policies `p0`, `p1`, ... of the same pace.
fn policies(gate: &mut Gate, count: usize, scope: &[&str]) -> anyhow::Result<Vec<PolicyId>> {
    let limits = Limits { pace: Some(Pace::per_second(PACE)?), ..Limits::default() };
    let rules = Rules::new(limits, Family::Wait, Scope::new(scope)?);
    let ids: Vec<PolicyId> =
        (0..count).map(|number| PolicyId::parse(&format!("p{number}"))).collect::<Result<_, _>>()?;
    ids.iter().for_each(|id| gate.set(id, rules.clone(), BEGIN));
    Ok(ids)
}

/// A policy that limits each key for itself.
fn scoped(gate: &mut Gate) -> anyhow::Result<PolicyId> {
    let limits = Limits { pace: Some(Pace::per_second(PACE)?), ..Limits::default() };
    let id = PolicyId::parse("scoped")?;
    gate.set(&id, Rules::new(limits, Family::Wait, Scope::new(&["key"])?), BEGIN);
    Ok(id)
}

fn bind(gate: &mut Gate, policies: &[PolicyId], key: Option<usize>) -> anyhow::Result<Binding> {
    let parts = policies.iter().map(|id| PolicyRef { policy: id.clone(), generation: 1 }).collect();
    let labels = Labels::new(key.map(|key| ("key".to_owned(), key.to_string())))?;
    Ok(gate.bind(&Lane::scoped(parts, &labels, &["key"])?, BEGIN))
}

/// One call from the grant to its end; `false` when it was refused.
fn call(gate: &mut Gate, lane: &Binding, now: Timestamp) -> anyhow::Result<bool> {
    let Decision::Go(mut permit) = gate.decide(black_box(lane), false, now) else { return Ok(false) };
    gate.confirm(&mut permit, now)?;
    gate.under_way(&permit, now);
    let _ = black_box(gate.release(permit));
    Ok(true)
}

/// Nanoseconds per call and per refusal.
fn measure(gate: &mut Gate, lanes: &[Binding]) -> anyhow::Result<(f64, f64)> {
    let mut now = BEGIN;
    let is_shared = lanes.len() == KEYS;
    // 5000/s for each lane, wherever the turn is; where lanes share limits, for all of them.
    let step = Duration::from_nanos(200_100 / if is_shared { 1 } else { lanes.len() as u64 });
    let clock = Clock::system();
    let begun = clock.now();
    let mut refused = 0_u32;
    for start in 0..STARTS {
        let lane = lanes.get(start as usize % lanes.len()).context("a lane")?;
        now = now + step;
        refused += u32::from(!call(gate, lane, now)?);
    }
    let granted_ns = clock.now().since(begun).as_nanos() as f64 / f64::from(STARTS);
    // A few windows run full for a moment; many would make the figure one of refusals.
    anyhow::ensure!(refused < STARTS / 100, "{refused} of {STARTS} were refused");

    for lane in lanes {
        while call(gate, lane, now)? {}
    }
    let begun = clock.now();
    for start in 0..STARTS {
        let lane = lanes.get(start as usize % lanes.len()).context("a lane")?;
        let _ = black_box(gate.decide(black_box(lane), false, now));
    }
    Ok((granted_ns, clock.now().since(begun).as_nanos() as f64 / f64::from(STARTS)))
}

/// Bytes per key: with one call each, after all are forgotten, and with as many others in their place.
fn memory() -> anyhow::Result<()> {
    let mut gate = Gate::new();
    let scoped = [scoped(&mut gate)?];
    // What is made once, with the first key, must not lie above all others in memory.
    let first = bind(&mut gate, &scoped, Some(KEYS * 10))?;
    anyhow::ensure!(call(&mut gate, &first, BEGIN)?, "a fresh key has room");
    gate.unbind(&first);
    gate.forget_idle(BEGIN + Duration::from_secs(5));
    let before = resident_bytes()?;
    println!("| {KEYS} keys | bytes per key |");
    println!("|---|---:|");
    let per_key = |bytes: usize| bytes.saturating_sub(before) / KEYS;
    for (round, name) in ["used", "others used"].into_iter().enumerate() {
        let first = round * KEYS;
        let mut now = BEGIN + Duration::from_secs(10 * (round as u64 + 1));
        let mut lanes = Vec::with_capacity(KEYS);
        for key in first..first + KEYS {
            let lane = bind(&mut gate, &scoped, Some(key))?;
            anyhow::ensure!(call(&mut gate, &lane, now)?, "a fresh key has room");
            lanes.push(lane);
        }
        println!("| {name} | {} |", per_key(resident_bytes()?));
        lanes.iter().for_each(|lane| gate.unbind(lane));
        drop(lanes);
        now = now + Duration::from_secs(5);
        while gate.next_idle().is_some_and(|at| at <= now) {
            gate.forget_idle(now);
        }
        anyhow::ensure!(gate.next_idle().is_none(), "all are forgotten");
        println!("| idle and forgotten | {} |", per_key(resident_bytes()?));
    }
    Ok(())
}

fn resident_bytes() -> anyhow::Result<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: usize = statm.split(' ').nth(1).context("a second figure")?.parse()?;
    Ok(pages * PAGE_BYTES)
}
