//! The queue over the in-memory model.

mod change;
mod clock;
mod halves;
mod ledger;
mod search;
mod slow;
mod standing;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::*;
use crate::event::{CanonicalUrl, Entry, Labels, PolicyId, PolicyRef, Settlement, Tries};
use crate::queue::testing::TakenUp;
use crate::store::memory::{FailPoint, MemoryStore};
use crate::store::{GiveUp, ReadLimit};
use crate::telemetry::testing::Recorded;

const START: Timestamp = Timestamp::from_millis(1_000_000);
const PAGE: ReadLimit = ReadLimit { entries: 100, bytes: 1 << 20 };

struct World {
    clock: Clock,
    store: MemoryStore,
    queue: Queue,
    signals: LaneSignals,
}

impl World {
    async fn start() -> Self {
        let clock = Clock::manual(START);
        Self::over(MemoryStore::new(clock.clone()), clock).await
    }

    async fn over(store: MemoryStore, clock: Clock) -> Self {
        let (queue, signals) = Queue::open(Arc::new(store.clone()), clock.clone()).await.expect("opens");
        Self { clock, store, queue, signals }
    }

    /// Where an event stands while nobody says which place it has.
    async fn standing(&self, id: EventId) -> Result<Standing, QueueError> {
        self.queue.standing(id, &TakenUp(None)).await
    }

    /// As after a crash: what was not durable is gone, what was handed out is not remembered.
    async fn crash(self) -> Self {
        Self::over(self.store.crash(), self.clock.clone()).await
    }

    async fn accept(&self, numbers: std::ops::Range<u64>, delay: Option<Duration>) -> Vec<EventId> {
        let batch = numbers
            .map(|n| NewEvent {
                lane: lane(),
                event: event(n, delay),
                dedup: None,
                source: EventSource::Http,
            })
            .collect();
        let appended = self.queue.accept(batch).await.expect("accepted");
        appended
            .into_iter()
            .map(|one| match one {
                Appended::New(id) => id,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    async fn load(&self) -> LoadedPage {
        self.queue.load(lane().key(), PAGE, false).await.expect("loads")
    }

    async fn signalled(&mut self) -> Vec<LaneKey> {
        let mut signals = Vec::new();
        tokio::time::timeout(Duration::from_millis(50), self.signals.recv_many(&mut signals, 10)).await.ok();
        let ready = |signal| if let LaneSignal::Ready(lane) = signal { Some(lane) } else { None };
        signals.into_iter().filter_map(ready).collect()
    }
}

fn lane() -> Lane {
    let policy = PolicyId::parse("p").expect("valid");
    Lane::of(vec![PolicyRef { policy, generation: 1 }]).expect("valid")
}

fn event(n: u64, delay: Option<Duration>) -> Event {
    Event {
        method: Method::POST,
        url: CanonicalUrl::parse(&format!("http://h.org/{n}")).expect("valid"),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        labels: Labels::default(),
        due_at: delay.map(|delay| START + delay),
        is_dated: false,
        expires_at: START + Duration::from_secs(3600),
        redriven: None,
    }
}

fn ids(entries: &[Entry]) -> Vec<EventId> {
    entries.iter().map(|entry| entry.id).collect()
}

#[tokio::test]
async fn entries_are_handed_out_once_and_in_order() {
    let mut world = World::start().await;
    let accepted = world.accept(0..5, None).await;
    assert_eq!(world.signalled().await, [lane().key().clone()]);
    let loaded = world.load().await;
    assert_eq!(ids(&loaded.entries), accepted);
    assert_eq!(world.load().await.entries, []);

    let later = world.accept(5..7, None).await;
    assert_eq!(world.signalled().await, [lane().key().clone()]);
    assert_eq!(ids(&world.load().await.entries), later);
}

#[tokio::test]
async fn a_lane_is_signalled_once_until_it_is_loaded() {
    let mut world = World::start().await;
    world.accept(0..2, None).await;
    world.accept(2..4, None).await;
    assert_eq!(world.signalled().await.len(), 1);
    world.accept(4..5, None).await;
    assert_eq!(world.signalled().await.len(), 0);
    assert_eq!(world.load().await.entries.len(), 5);
    world.accept(5..6, None).await;
    assert_eq!(world.signalled().await.len(), 1);
}

#[tokio::test]
async fn a_settled_lane_is_forgotten_and_can_come_back() {
    let world = World::start().await;
    world.accept(0..3, None).await;
    for entry in world.load().await.entries {
        world.queue.settle(&entry, Settlement::Delivered);
    }
    world.queue.flush().await;
    assert_eq!(world.queue.completed(), Completed { delivered: 3, ..Completed::default() });
    assert!(world.queue.is_empty());
    assert_eq!(world.queue.counts(), []);
    let again = world.accept(3..4, None).await;
    assert_eq!(ids(&world.load().await.entries), again);
}

#[tokio::test]
async fn nothing_is_handed_out_before_it_is_due_and_due_entries_go_first() {
    let world = World::start().await;
    let delayed = world.accept(0..1, Some(Duration::from_secs(10))).await;
    let loaded = world.load().await;
    assert_eq!(loaded.entries, []);
    assert_eq!(loaded.next_due, Some(START + Duration::from_secs(10)));
    let plain = world.accept(1..3, None).await;
    world.clock.advance(Duration::from_secs(10));
    let loaded = world.load().await;
    assert_eq!(ids(&loaded.entries), [delayed, plain].concat());
    assert_eq!(loaded.next_due, None);
}

#[tokio::test]
async fn a_rescheduled_entry_comes_back_at_its_time_with_its_attempts() {
    let world = World::start().await;
    world.accept(0..1, None).await;
    let entry = world.load().await.entries.remove(0);
    let due_at = START + Duration::from_secs(5);
    world.queue.settle(&entry, Settlement::Reschedule { due_at, tries: Tries::of(1), doubted_at: None });
    world.queue.flush().await;
    assert_eq!(world.load().await.next_due, Some(due_at));
    world.clock.advance(Duration::from_secs(5));
    let again = world.load().await.entries.remove(0);
    assert_eq!((again.id, again.tries, again.due_at), (entry.id, Tries::of(1), Some(due_at)));
    assert_eq!(world.load().await.entries, [], "handed out once");
    world.queue.settle(&again, Settlement::Delivered);
    world.queue.flush().await;
    assert!(world.queue.is_empty());
}

#[tokio::test]
async fn counts_and_what_was_taken_up_survive_a_crash() {
    let mut world = World::start().await;
    let accepted = world.accept(0..4, None).await;
    world.accept(4..6, Some(Duration::from_secs(60))).await;
    let loaded = world.load().await;
    world.queue.started(&loaded.entries[0]);
    world.queue.settle(&loaded.entries[0], Settlement::Delivered);
    world.queue.flush().await;
    let counts = world.queue.counts().remove(0);
    assert_eq!((counts.ready, counts.delayed, counts.inflight), (3, 2, 0), "read ahead is not in flight");
    loaded.entries[1..].iter().for_each(|entry| world.queue.started(entry));
    let counts = world.queue.counts().remove(0);
    assert_eq!((counts.ready, counts.delayed, counts.inflight), (0, 2, 3));

    world = world.crash().await;
    let counts = world.queue.counts().remove(0);
    assert_eq!((counts.ready, counts.delayed, counts.inflight), (3, 2, 0));
    assert_eq!(world.signalled().await, [lane().key().clone()]);
    assert_eq!(ids(&world.load().await.entries), accepted[1..]);
}

#[tokio::test]
async fn a_repeated_key_adds_nothing() {
    let world = World::start().await;
    let dedup = Some(Dedup { key: [7; 16], fingerprint: 1 });
    let accept = |n| NewEvent { lane: lane(), event: event(n, None), dedup, source: EventSource::Http };
    let first = world.queue.accept(vec![accept(0)]).await.expect("accepted");
    let second = world.queue.accept(vec![accept(0)]).await.expect("accepted");
    let (Appended::New(id), Appended::Duplicate(same)) = (first[0], second[0]) else { panic!("{second:?}") };
    assert_eq!(id, same);
    assert_eq!(world.queue.counts()[0].ready, 1);
}

#[tokio::test]
async fn an_undecodable_record_is_parked_and_the_rest_goes_on() {
    let recorded = Recorded::new();
    let _local = recorded.set();
    let world = World::start().await;
    let bad = crate::store::NewEntry {
        lane: lane().key().clone(),
        due_at: None,
        record: Bytes::from_static(b"\xff"),
        dedup: None,
    };
    world.store.append(vec![bad]).await.expect("stored");
    let good = world.accept(0..1, None).await;
    assert_eq!(ids(&world.load().await.entries), good);
    world.queue.flush().await;
    let dead = world.store.dead_letters();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].reason, "undecodable");
    assert_eq!(recorded.sum("tidegate_defects_total", ""), 2.0, "the queue was not told of it either");
    assert_eq!(recorded.sum("tidegate_events_completed_total", "outcome=\"dead\""), 1.0);
}

#[tokio::test]
async fn a_panic_while_settling_leaves_nobody_waiting() {
    let recorded = Recorded::new();
    let _local = recorded.set();
    let world = World::start().await;
    world.accept(0..2, None).await;
    let mut entries = world.load().await.entries;
    world.store.fail_next(FailPoint::SettlePanic);
    world.queue.settle(&entries.remove(0), Settlement::Delivered);
    tokio::time::timeout(Duration::from_secs(10), world.queue.flush()).await.expect("nobody waits for ever");
    assert_eq!(world.queue.completed(), Completed::default(), "the panic came before the effect");
    // It was made without a panic that a hook sees, which is where panics count.
    assert_eq!(recorded.sum("tidegate_defects_total", ""), 0.0, "who notices it counts nothing");
    world.queue.settle(&entries.remove(0), Settlement::Delivered);
    tokio::time::timeout(Duration::from_secs(10), world.queue.flush()).await.expect("and later ones go on");
    assert_eq!(world.queue.completed().delivered, 1);
}

#[tokio::test(start_paused = true)]
async fn an_end_waits_once_for_settlements_that_do_not_become_durable() {
    let world = World::start().await;
    world.accept(0..2, None).await;
    let mut entries = world.load().await.entries;
    world.store.hold_settlements(true);
    world.queue.settle(&entries.remove(0), Settlement::Delivered);
    for expected_s in [30, 0, 0] {
        let begun = tokio::time::Instant::now();
        world.queue.flush().await;
        assert_eq!(begun.elapsed().as_secs(), expected_s);
    }
    world.store.hold_settlements(false);
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.queue.settle(&entries.remove(0), Settlement::Delivered);
    world.queue.flush().await;
    assert_eq!(world.queue.completed().delivered, 2, "later ones are waited for again");
}

#[tokio::test]
async fn an_acceptance_whose_caller_goes_away_is_finished_and_counted() {
    let mut world = World::start().await;
    world.store.hold_appends(true);
    let queue = world.queue.clone();
    {
        let batch =
            vec![NewEvent { lane: lane(), event: event(0, None), dedup: None, source: EventSource::Http }];
        let mut accepting = Box::pin(queue.accept(batch));
        assert!(futures_util::poll!(&mut accepting).is_pending());
    }
    world.store.hold_appends(false);
    assert_eq!(world.signalled().await, [lane().key().clone()]);
    assert_eq!(world.queue.counts().first().map(|lane| lane.ready), Some(1));
    assert_eq!(world.load().await.entries.len(), 1);
}

#[tokio::test]
async fn a_lane_that_is_given_up_is_counted_once_and_nothing_of_it_is_owed() {
    let mut world = World::start().await;
    let accepted = world.accept(0..5, None).await;
    world.accept(5..7, Some(Duration::from_secs(60))).await;
    let mut out =
        world.queue.load(lane().key(), ReadLimit { entries: 2, ..PAGE }, false).await.expect("loads");
    world.signalled().await;
    let lane_key = lane().key().clone();
    assert_eq!(world.queue.give_up(GiveUp::Lane(lane_key.clone())).await.expect("gives up"), 7);
    assert_eq!(world.queue.completed(), Completed { lost: 7, ..Completed::default() });
    assert!(world.queue.is_empty());
    let mut signals = Vec::new();
    world.signals.take_all(&mut signals);
    let handed_out = accepted[..2].iter().copied().collect();
    assert_eq!(signals, [LaneSignal::GivenUp(lane_key, handed_out)]);
    assert!(!world.queue.settle(&out.entries.remove(0), Settlement::Delivered), "it is lost already");
    world.queue.flush().await;
    assert_eq!(world.queue.completed(), Completed { lost: 7, ..Completed::default() });
    assert!(
        matches!(world.standing(accepted[4]).await, Ok(Standing::Settled(Some(known))) if known.end == End::Lost)
    );
    let again = world.accept(7..8, None).await;
    let entry = world.load().await.entries.remove(0);
    assert_eq!(entry.id, again[0]);
    assert!(world.queue.settle(&entry, Settlement::Delivered), "the control");
    world.queue.flush().await;
    assert_eq!(world.queue.completed(), Completed { delivered: 1, lost: 7, ..Completed::default() });
    assert!(world.queue.is_empty());
}

#[tokio::test]
async fn a_settlement_on_its_way_when_its_lane_is_given_up_counts_once() {
    let recorded = Recorded::new();
    let _local = recorded.set();
    let world = World::start().await;
    world.accept(0..2, None).await;
    let entries = world.load().await.entries;
    world.store.hold_settlements(true);
    entries.iter().for_each(|entry| assert!(world.queue.settle(entry, Settlement::Delivered)));
    // The gatherer takes them to the store, where they wait.
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(world.queue.give_up(GiveUp::Lane(lane().key().clone())).await.expect("gives up"), 2);
    world.store.hold_settlements(false);
    world.queue.flush().await;
    assert_eq!(world.queue.completed(), Completed { lost: 2, ..Completed::default() });
    let completed = |outcome: &str| recorded.sum("tidegate_events_completed_total", outcome);
    assert_eq!((completed("\"lost\""), completed("")), (2.0, 2.0), "not as delivered, too");
    assert!(world.queue.is_empty());
}

#[tokio::test]
async fn reads_are_tried_again_when_an_operator_asks() {
    let mut world = World::start().await;
    world.queue.read_again();
    let mut signals = Vec::new();
    world.signals.take_all(&mut signals);
    assert_eq!(signals, [LaneSignal::ReadAgain]);
}

/// A delay that was asked for while the clock was in doubt lasts as long after the correction as it was to last.
#[tokio::test(start_paused = true)]
async fn an_entry_that_cannot_be_parked_at_once_is_parked_later_and_holds_up_nothing() {
    let world = World::start().await;
    world.accept(0..3, None).await;
    let entries = world.load().await.entries;
    let dead = || Settlement::Dead { reason: "http_404".to_owned(), attempts: 1 };
    world.store.fail_parking(3);
    world.queue.settle(&entries[0], dead());
    world.queue.settle(&entries[1], dead());
    world.queue.settle(&entries[2], Settlement::Delivered);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(world.queue.completed().delivered, 1, "what needs no record is not held up");
    world.queue.flush().await;
    assert_eq!(world.queue.completed(), Completed { delivered: 1, dead: 2, ..Completed::default() });
    assert_eq!(world.store.dead_letters().len(), 2);
}

#[tokio::test]
async fn calls_stand_in_the_lane_of_their_host_and_port() {
    let world = World::start().await;
    for (url, host) in [
        ("HTTPS://API.Example.org./x?y=1", "api.example.org:443"),
        ("http://api.example.org:443/x", "api.example.org:443"),
        ("http://h.org", "h.org:80"),
        ("http://h.org:8080/", "h.org:8080"),
        ("http://0x7f.1/", "127.0.0.1:80"),
        ("https://[2001:DB8:0::1]/", "[2001:db8::1]:443"),
        ("https://b\u{fc}cher.example/", "xn--bcher-kva.example:443"),
    ] {
        let url = CanonicalUrl::parse(url).expect("valid");
        assert_eq!(world.queue.lane_at(&lane(), &url).key().as_str(), format!("p@1;~host={host}"));
    }
}
