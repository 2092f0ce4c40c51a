//! What one start costs the gate: nanoseconds per decide + confirm + release, by number of limits on the lane.
//! The clock is simulated and advances so that every decision grants.

#![expect(clippy::print_stdout, reason = "a bench prints its table")]

use std::hint::black_box;
use std::time::Duration;

use tidegate::clock::{Clock, Timestamp};
use tidegate::event::PolicyId;
use tidegate::limit::{Decision, Gate};
use tidegate::policy::{Limits, Pace};

const STARTS: u32 = 2_000_000;
const PACE: f64 = 5000.0;

fn main() -> anyhow::Result<()> {
    println!("| policies present | limits on the lane | granted ns | refused ns |");
    println!("|---:|---:|---:|---:|");
    for present in [8, 1000] {
        for bound in [1, 3, 8] {
            let (granted, refused) = measure(present, bound)?;
            println!("| {present} | {bound} | {granted:.0} | {refused:.0} |");
        }
    }
    Ok(())
}

/// Nanoseconds per grant (decide, confirm, release) and per refusal.
fn measure(present: usize, bound: usize) -> anyhow::Result<(f64, f64)> {
    let mut now = Timestamp::from_millis(1_700_000_000_000);
    let limits = Limits { pace: Some(Pace::per_second(PACE)?), ..Limits::default() };
    let mut gate = Gate::new(Timestamp::ZERO);
    let ids: Vec<PolicyId> =
        (0..present).map(|number| PolicyId::parse(&format!("p{number}"))).collect::<Result<_, _>>()?;
    ids.iter().for_each(|id| gate.set(id, &limits, now));
    // Lanes over all policies in turn, so that the limits of a lane are not always in the cache.
    let lanes: Vec<_> = ids.chunks_exact(bound).map(|ids| gate.bind(ids)).collect();

    let clock = Clock::system();
    let begun = clock.now();
    let mut refused = 0_u32;
    for start in 0..STARTS {
        let Some(lane) = lanes.get(start as usize % lanes.len()) else { break };
        // 5000/s for each lane, wherever the turn is.
        now = now + Duration::from_nanos(200_100 / lanes.len() as u64);
        match gate.decide(black_box(lane), now) {
            Decision::Go(permit) => {
                permit.confirm(now)?;
                let _ = black_box(gate.release(permit));
            }
            Decision::NotBefore(..) | Decision::Wait(_) => refused += 1,
        }
    }
    let granted_ns = clock.now().since(begun).as_nanos() as f64 / f64::from(STARTS);
    // A few windows run full for a moment; many would make the figure one of refusals.
    anyhow::ensure!(refused < STARTS / 100, "{refused} of {STARTS} were refused");

    for lane in &lanes {
        while let Decision::Go(permit) = gate.decide(lane, now) {
            let _ = gate.release(permit);
        }
    }
    let begun = clock.now();
    for start in 0..STARTS {
        let Some(lane) = lanes.get(start as usize % lanes.len()) else { break };
        let _ = black_box(gate.decide(black_box(lane), now));
    }
    Ok((granted_ns, clock.now().since(begun).as_nanos() as f64 / f64::from(STARTS)))
}
