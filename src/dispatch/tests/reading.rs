//! Pages that take their time: lanes that share a limit read on before what they hold is used up.

use super::*;
use crate::store::ReadLimit;

/// A bench whose pages come later, and whose calls end at once.
struct Slow {
    bench: Bench,
    /// How long it takes to read a page.
    read: Duration,
    coming: BTreeMap<(Timestamp, usize), (LaneKey, ReadLimit)>,
    asked: usize,
    ended: usize,
    /// When each call started, in their order.
    started: Vec<Timestamp>,
}

impl Slow {
    fn step(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.bench.planner.step(input, self.bench.now, &mut effects);
        loop {
            for effect in effects {
                match effect {
                    Effect::Load { lane, limit, .. } => {
                        self.asked += 1;
                        self.coming.insert((self.bench.now + self.read, self.asked), (lane, limit));
                    }
                    Effect::Send { ticket } => {
                        let mut more = Vec::new();
                        let goes = self.bench.confirm(ticket, &mut more);
                        assert!(goes && more.is_empty(), "no permit is stale");
                        self.started.push(self.bench.now);
                    }
                    // What is put on record, or has ended, needs no answer here.
                    Effect::Record(_) | Effect::Settle(_) => {}
                }
            }
            let Some((ticket, _, _)) = self.bench.sent.get(self.ended) else { return };
            self.ended += 1;
            effects = Vec::new();
            let finished = Input::Finished { ticket: *ticket, outcome: FINE, took: ms(1) };
            self.bench.planner.step(finished, self.bench.now, &mut effects);
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.bench.now + time;
        loop {
            let page = self.coming.first_key_value().map(|((at, _), _)| *at);
            let wake = self.bench.planner.next_wake();
            let Some(next) = page.into_iter().chain(wake).min().filter(|next| *next <= end) else { break };
            self.bench.now = self.bench.now.max(next);
            if page.is_some_and(|at| at <= self.bench.now) {
                let ((_, _), (lane, limit)) = self.coming.pop_first().expect("there");
                let waiting = self.bench.waiting.entry(lane.clone()).or_default();
                let entries = waiting.drain(..limit.entries.min(waiting.len())).collect::<Vec<_>>();
                let more = !entries.is_empty();
                self.step(Input::Loaded(lane, LoadedPage { entries, more, next_due: None }));
            } else {
                self.step(Input::Tick);
            }
        }
        self.bench.now = end;
    }
}

/// The longest time between two starts of a lane, while all of them have something to send.
fn longest_gap(lanes: &[LaneKey], slow: &Slow) -> Duration {
    let starts = |lane: &LaneKey| -> Vec<Timestamp> {
        let all = slow.bench.sent.iter().zip(&slow.started);
        all.filter(|((_, of, _), _)| of == lane).map(|(_, at)| *at).collect()
    };
    let all: Vec<_> = lanes.iter().map(starts).collect();
    let begun = all.iter().filter_map(|starts| starts.first()).max().expect("some start");
    let over = all.iter().filter_map(|starts| starts.last()).min().expect("some start");
    let gaps = all.iter().flat_map(|starts| {
        let within: Vec<_> = starts.iter().filter(|at| *begun <= **at && **at <= *over).collect();
        within.windows(2).map(|pair| pair[1].since(*pair[0])).collect::<Vec<_>>()
    });
    gaps.max().expect("several rounds")
}

/// Fifty lanes that have a turn a second each, and as many entries as two pages hold, are read in this time per page.
fn gap_when_read_in(read: Duration) -> Duration {
    let names: Vec<String> = (0..50).map(|n| format!("k{n:02}")).collect();
    let mut all = book(&[("p", Some(50.0), 4096)]);
    for name in &names {
        all.put(&Origin::new("test"), &testing::id(name), testing::spec("https://k.org/*", 20.0))
            .expect("free");
    }
    let bench = Bench::new(&all);
    let mut slow = Slow { bench, read, coming: BTreeMap::new(), asked: 0, ended: 0, started: Vec::new() };
    let lanes: Vec<LaneKey> = names.iter().map(|name| lane(&[(name, 1), ("p", 1)])).collect();
    for (n, lane) in lanes.iter().enumerate() {
        slow.bench.fill(lane, (0..64).map(|round| round * 100 + n as u128));
        slow.step(Input::LaneReady(lane.clone()));
    }
    while slow.bench.sent.len() < 50 * 64 {
        slow.pass(Duration::from_secs(1));
        assert!(slow.bench.now < START + Duration::from_secs(300), "{} started", slow.bench.sent.len());
    }
    longest_gap(&lanes, &slow)
}

#[test]
fn no_lane_loses_a_turn_while_it_is_read_again() {
    for read in [ms(1), ms(200), Duration::from_secs(10)] {
        let gap = gap_when_read_in(read);
        assert!(gap < ms(1_100), "read in {read:?}: {gap:?} without a turn");
    }
    // The control: all that a lane has read ahead is used up before the next page is there, which was asked for at once.
    let gap = gap_when_read_in(Duration::from_secs(40));
    assert!(gap > ms(1_900), "{gap:?}");
}
