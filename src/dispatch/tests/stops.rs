//! Emergency stops: what they hold back, and what they leave alone.

use std::sync::Arc;
use std::time::Duration;

use super::{Bench, FINE, START, book, lane, ms};
use crate::clock::{Leap, Timestamp};
use crate::dispatch::{Hold, HoldReason, Input, Stop, StopTarget, Stops};
use crate::event::{Labels, Lane, LaneKey, Settlement};
use crate::policy::testing;

fn stop(bench: &mut Bench, target: Option<StopTarget>, until_ms: Option<u64>) {
    let stop = target.map(|target| Stop {
        target,
        reason: "a reason".to_owned(),
        since: START,
        until: until_ms.map(|until| START + ms(until)),
    });
    bench.step(Input::Stops(Arc::new(Stops::new(stop.into_iter().collect()))));
}

fn at(host: &str) -> LaneKey {
    Lane::parse(&lane(&[("p", 1)])).expect("a lane").at(host).key().clone()
}

/// Fills a lane with calls to these hosts in turn.
fn fill(bench: &mut Bench, lane: &LaneKey, hosts: &[&str], count: u128) {
    bench.fill(lane, 0..count);
    for (entry, host) in bench.waiting.get_mut(lane).expect("filled").iter_mut().zip(hosts.iter().cycle()) {
        entry.event.url = testing::url(&format!("https://{host}/"));
    }
    bench.announce(lane);
}

fn sent_to(bench: &Bench, of: &LaneKey, nth: u128, every: u128) -> usize {
    bench.sent.iter().filter(|(_, lane, id)| lane == of && id.tail() % every == nth).count()
}

#[test]
fn everything_stops_at_the_next_start_and_calls_under_way_go_on() {
    let mut bench = Bench::new(&book(&[("p", Some(10.0), 100)]));
    let p = lane(&[("p", 1)]);
    bench.fill(&p, 0..100);
    bench.announce(&p);
    bench.pass(ms(1_050));
    let before = bench.sent.len();
    assert!(before >= 10, "the control: it sends, {before}");
    stop(&mut bench, Some(StopTarget::Everything), None);
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.sent.len(), before);
    bench.finish(0, FINE);
    assert_eq!(bench.settled, [(bench.sent[0].2, Settlement::Delivered)], "it is not torn");
    let figures = bench.planner.figures(bench.now);
    let (_, hold) = figures.held.first().expect("held");
    assert_eq!((hold.reason, hold.until), (HoldReason::Stopped, None));
    stop(&mut bench, None, None);
    bench.pass(ms(1_050));
    assert!(bench.sent.len() >= before + 10);
    assert!(bench.sent_ids().is_sorted(), "everybody kept their places");
}

#[test]
fn a_stop_with_an_end_ends_by_itself() {
    let mut bench = Bench::new(&book(&[("p", None, 100)]));
    let p = lane(&[("p", 1)]);
    stop(&mut bench, Some(StopTarget::Everything), Some(5_000));
    bench.fill(&p, 0..10);
    bench.announce(&p);
    bench.pass(ms(4_999));
    assert_eq!(bench.sent.len(), 0);
    bench.pass(ms(1));
    assert_eq!(bench.sent.len(), 10);
}

#[test]
fn while_time_is_in_doubt_no_stop_ends() {
    let mut bench = Bench::new(&book(&[("p", None, 100)]));
    bench.planner.doubt_time();
    let p = lane(&[("p", 1)]);
    stop(&mut bench, Some(StopTarget::Everything), Some(5_000));
    bench.fill(&p, 0..10);
    bench.announce(&p);
    bench.pass(ms(10_000));
    assert_eq!(bench.sent.len(), 0);
    bench.step(Input::TimeTrusted(Leap::default()));
    bench.pass(ms(10));
    assert_eq!(bench.sent.len(), 10, "its end has passed");
}

#[test]
fn a_stopped_host_holds_its_lane_and_its_calls_in_the_lanes_of_several_hosts() {
    let mut bench = Bench::new(&book(&[("p", None, 1_000)]));
    let (sick, well, mixed) = (at("sick.org:443"), at("well.org:443"), lane(&[("p", 1)]));
    stop(&mut bench, Some(StopTarget::host("sick.org").expect("a host")), None);
    fill(&mut bench, &sick, &["sick.org"], 10);
    fill(&mut bench, &well, &["well.org"], 10);
    fill(&mut bench, &mixed, &["sick.org", "well.org"], 20);
    bench.pass(ms(100));
    assert_eq!((bench.sent_of(&sick), bench.sent_of(&well)), (0, 10));
    assert_eq!((sent_to(&bench, &mixed, 0, 2), sent_to(&bench, &mixed, 1, 2)), (0, 10));
    let held = bench.planner.figures(bench.now).held;
    assert_eq!(held.len(), 2, "{held:?}");
    assert!(held.iter().all(|(_, hold)| hold.reason == HoldReason::Stopped));
    let is_partial = |(lane, hold): &(Lane, Hold)| (*lane.key() == mixed) == hold.is_partial;
    assert!(held.iter().all(is_partial), "others of the shared lane go on: {held:?}");
    stop(&mut bench, None, None);
    bench.pass(ms(100));
    assert_eq!((bench.sent_of(&sick), bench.sent_of(&mixed)), (10, 20));
    assert!(bench.planner.figures(bench.now).held.is_empty());
}

#[test]
fn a_stopped_organisation_holds_its_events_wherever_they_stand() {
    let mut bench = Bench::new(&book(&[("p", None, 1_000)]));
    let mixed = lane(&[("p", 1)]);
    let part = Lane::parse(&mixed).expect("a lane").policies().to_vec();
    let labels = |name: &str| Labels::new([("org".to_owned(), name.to_owned())]).expect("valid");
    let own = |name: &str| Lane::scoped(part.clone(), &labels(name), &["org"]).expect("short").key().clone();
    let (acme, other) = (own("ACME"), own("OTHER"));
    stop(&mut bench, Some(StopTarget::organisation("ACME").expect("a name")), None);
    for (lane, names) in [(&acme, &["ACME"][..]), (&other, &["OTHER"]), (&mixed, &["ACME", "OTHER"])] {
        bench.fill(lane, 0..10);
        for (entry, name) in bench.waiting.get_mut(lane).expect("filled").iter_mut().zip(names.iter().cycle())
        {
            entry.event.labels = labels(name);
        }
        bench.announce(lane);
    }
    bench.pass(ms(100));
    assert_eq!((bench.sent_of(&acme), bench.sent_of(&other)), (0, 10));
    assert_eq!((sent_to(&bench, &mixed, 0, 2), sent_to(&bench, &mixed, 1, 2)), (0, 5));
}

#[test]
fn a_start_that_has_its_permit_is_put_back_when_a_stop_comes_in_between() {
    let mut bench = Bench::new(&book(&[("p", Some(100.0), 1)]));
    let p = lane(&[("p", 1)]);
    bench.fill(&p, 0..5);
    bench.hold = Some(Vec::new());
    bench.announce(&p);
    bench.pass(ms(1));
    let ticket = bench.hold.take().expect("held")[0];
    stop(&mut bench, Some(StopTarget::Everything), None);
    let mut effects = Vec::new();
    assert!(!bench.confirm(ticket, &mut effects), "nothing starts after the stop");
    bench.carry_out(effects);
    assert_eq!(bench.inflight(), 0, "its slot and its start are free again");
    assert_eq!(bench.planner.figures(bench.now).stale_permits, 0, "it was not stale");
    stop(&mut bench, None, None);
    bench.pass(ms(50));
    assert_eq!(bench.sent_ids(), [0], "it kept its place");
}

#[test]
fn lives_go_on_while_events_are_stopped() {
    let mut bench = Bench::new(&book(&[("p", None, 100)]));
    let (sick, mixed) = (at("sick.org:443"), lane(&[("p", 1)]));
    stop(&mut bench, Some(StopTarget::host("sick.org").expect("a host")), None);
    for lane in [&sick, &mixed] {
        bench.fill(lane, 0..3);
        for entry in bench.waiting.get_mut(lane).expect("filled") {
            entry.event.url = testing::url("https://sick.org/");
            entry.event.expires_at = START + ms(2_000);
        }
        bench.announce(lane);
    }
    bench.pass(ms(1_900));
    assert_eq!((bench.sent.len(), bench.settled.len()), (0, 0));
    bench.pass(ms(1_500));
    assert_eq!(bench.settled.len(), 6);
    assert!(bench.settled.iter().all(|(_, how)| *how == Settlement::Expired));
}

#[test]
fn a_record_that_cannot_be_read_holds_everything() {
    let mut bench = Bench::new(&book(&[("p", None, 100)]));
    bench.step(Input::Stops(Arc::new(Stops::unreadable("it is damaged".to_owned()))));
    let p = lane(&[("p", 1)]);
    bench.fill(&p, 0..10);
    bench.announce(&p);
    bench.pass(Duration::from_secs(3_600));
    assert_eq!(bench.sent.len(), 0);
    let now: Timestamp = bench.now;
    assert_eq!(bench.planner.figures(now).held.len(), 1);
}
