//! What the counters of one event cost, by number of policies: nanoseconds for those of its acceptance, its start, the end
//! of its call and its own end. Once with the series of its policies kept, as in the daemon, and once with each looked up,
//! as before anybody has said which policies there are.

#![expect(clippy::print_stdout, reason = "a bench prints its table")]

use std::hint::black_box;
use std::time::Duration;

use tidegate::testkit::clock::Clock;
use tidegate::testkit::event::{Lane, PolicyId, PolicyRef};
use tidegate::testkit::telemetry::{
    self, AttemptFinished, EntryCompleted, EventSource, EventsEnqueued, LaneSeries, QueueWaited, set_policies,
};

const EVENTS: u32 = 1_000_000;
const POLICIES: usize = 200;

fn main() -> anyhow::Result<()> {
    telemetry::install()?;
    let names: Vec<String> = (0..POLICIES).map(|number| format!("policy-{number}")).collect();
    println!("| policies of the event | series | ns |");
    println!("|---:|---|---:|");
    for (how, is_kept) in [("looked up", false), ("kept", true)] {
        if is_kept {
            EntryCompleted::show_lifetimes();
            set_policies(names.iter().map(String::as_str));
        }
        for policies in [1, 3] {
            let lanes: Vec<Lane> = names.chunks_exact(policies).map(lane).collect::<Result<_, _>>()?;
            println!("| {policies} | {how} | {:.0} |", measure(&lanes));
        }
    }
    Ok(())
}

fn lane(names: &[String]) -> anyhow::Result<Lane> {
    let parts = names.iter().map(|name| Ok(PolicyRef { policy: PolicyId::parse(name)?, generation: 1 }));
    Ok(Lane::of(parts.collect::<anyhow::Result<_>>()?)?)
}

fn measure(lanes: &[Lane]) -> f64 {
    let clock = Clock::system();
    let begun = clock.now();
    // Kept with their lanes, as the queue and the dispatcher do.
    let lanes: Vec<_> = lanes.iter().map(|lane| (lane.key(), LaneSeries::of(lane))).collect();
    for (lane, series) in lanes.iter().cycle().take(EVENTS as usize) {
        let (lane, series) = black_box((*lane, series));
        let took = Duration::from_millis(3);
        EventsEnqueued { lane, series, source: EventSource::Http, count: 1 }.emit();
        QueueWaited { series, waited: took }.emit();
        AttemptFinished { lane, series, result: "2xx", took }.emit();
        EntryCompleted { lane, series, outcome: "delivered", cause: None, lived: took }.emit();
    }
    clock.now().since(begun).as_secs_f64() * 1e9 / f64::from(EVENTS)
}
