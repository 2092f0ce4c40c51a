//! The bounds by themselves: what lanes can reach beside others that never end a call.

use super::*;

const MOST: usize = 8192;
const ANSWER: Outcome = Outcome::Delivered { status: 200 };

/// Lanes whose calls have no bodies.
struct World {
    shares: Shares,
    lanes: Vec<Share>,
}

impl World {
    fn new(most: usize) -> Self {
        Self { shares: Shares::new(most), lanes: Vec::new() }
    }

    fn join(&mut self) -> usize {
        let mut share = Share::default();
        self.shares.count(&mut share, true);
        self.lanes.push(share);
        self.lanes.len() - 1
    }

    fn start(&mut self, lane: usize) -> bool {
        let share = &mut self.lanes[lane];
        let may = self.shares.allow(share);
        if may {
            self.shares.started(share, 1);
        }
        may
    }

    fn answer(&mut self, lane: usize) {
        self.shares.ended(&mut self.lanes[lane], 1, &ANSWER);
    }

    /// Starts what these lanes may start, one call each in turn.
    fn fill(&mut self, lanes: &[usize]) {
        while lanes.iter().filter(|lane| self.start(**lane)).count() > 0 {}
    }

    /// As many calls as it may start when one of its calls is answered now and then.
    fn reach(&mut self, lane: usize) -> usize {
        loop {
            self.fill(&[lane]);
            let before = self.lanes[lane].used;
            self.answer(lane);
            self.fill(&[lane]);
            if self.lanes[lane].used <= before {
                return self.lanes[lane].used;
            }
        }
    }
}

#[test]
fn beside_lanes_that_are_never_answered_two_others_reach_their_shares_at_once() {
    for hanging in [1, 2, 3, 30] {
        for at_once in [true, false] {
            let mut world = World::new(MOST);
            let mut hang = Vec::new();
            for _ in 0..hanging {
                hang.push(world.join());
                if !at_once {
                    world.fill(&hang);
                }
            }
            world.fill(&hang);
            let taken = world.shares.in_use;
            let well = [world.join(), world.join()];
            let share = MOST / (2 * (hanging + 2));
            let reached = well.map(|lane| world.reach(lane));
            world.fill(&hang);
            println!(
                "{hanging} hang (at once: {at_once}) with {taken} calls; share {share}, reached {reached:?}"
            );
            assert!(
                reached.iter().all(|calls| *calls >= share),
                "{hanging} {at_once}: {reached:?} of {share}"
            );
            let most = if at_once { MOST / 2 } else { MOST - MOST / (hanging + 1) };
            assert!(taken <= most + hanging, "{taken} of {most}");
            let never_answered = world.join();
            world.fill(&[never_answered]);
            let alone = world.lanes[never_answered].used;
            assert!(alone < share, "the control: {alone} of {share}");
        }
    }
}

#[test]
fn a_lane_that_was_answered_and_then_hangs_takes_little_more_than_it_used() {
    let mut world = World::new(MOST);
    for _ in 0..30 {
        let hanging = world.join();
        world.fill(&[hanging]);
    }
    let lane = world.join();
    for _ in 0..5000 {
        assert!(world.start(lane));
        world.answer(lane);
    }
    let share = MOST / (2 * 31);
    world.fill(&[lane]);
    assert!(UNANSWERED_MAX < share);
    assert_eq!(world.lanes[lane].used, UNANSWERED_MAX);
    assert_eq!(world.reach(lane), share, "the control: it is answered again");
}

#[test]
fn more_lanes_than_slots_have_one_call_each() {
    let mut world = World::new(8);
    let lanes: Vec<usize> = (0..100).map(|_| world.join()).collect();
    world.fill(&lanes);
    assert_eq!((world.shares.in_use, world.lanes.iter().map(|lane| lane.used).max()), (8, Some(1)));
    world.answer(0);
    assert!(world.start(50), "whoever comes next");
}

#[test]
fn a_single_slot_is_used() {
    let mut world = World::new(1);
    let lane = world.join();
    assert!(world.start(lane) && !world.start(lane));
}
