//! The life of events runs on while a doubt holds their lane, and their end says so.

use std::time::Duration;

use super::{Bench, book, entry, lane, ms};
use crate::dispatch::input::Input;
use crate::event::Settlement;
use crate::policy::Book;

#[test]
fn the_life_of_what_is_held_runs_on() {
    let mut bench = Bench::new(&Book::default());
    let unknown = lane(&[("r", 1)]);
    bench.fill(&unknown, 0..30);
    bench.announce(&unknown);
    bench.pass(Duration::from_secs(6 * 3600 + 2));
    assert_eq!(bench.settled.len(), 30);
    assert!(bench.settled.iter().all(|(_, settlement)| *settlement == Settlement::ExpiredHeld));
}

#[test]
fn what_expired_while_it_could_not_be_read_ends_as_held_and_what_came_later_does_not() {
    let mut bench = Bench::new(&book(&[("p", None, 1), ("q", None, 1)]));
    let (unread, read) = (lane(&[("p", 1)]), lane(&[("q", 1)]));
    for lane in [&unread, &read] {
        bench.fill(lane, [1]);
        bench.announce(lane);
    }
    assert_eq!(bench.sent.len(), 2);
    bench.step(Input::LoadFailed(unread.clone()));
    bench.fill(&unread, 10..20);
    bench.fill(&read, 30..40);
    bench.now = bench.now + Duration::from_secs(7 * 3600);
    for lane in [&unread, &read] {
        bench.announce(lane);
    }
    bench.pass(ms(10));
    let ended = |ids: std::ops::Range<u128>, how: &Settlement| {
        let is =
            |(id, was): &&(_, Settlement)| ids.clone().any(|n| entry(&unread, n).id == *id) && was == how;
        bench.settled.iter().filter(is).count()
    };
    assert_eq!(ended(10..20, &Settlement::ExpiredHeld), 10);
    assert_eq!(ended(30..40, &Settlement::Expired), 10, "the control: it could be read all the time");
}
