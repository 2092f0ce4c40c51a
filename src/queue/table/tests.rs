//! The table of lanes under loads, settlements and losses that overlap.

use super::*;
use crate::event::{Lane, PolicyId, PolicyRef, Tries};
use crate::telemetry::testing::Recorded;

const DUE: Timestamp = Timestamp::from_millis(500);
const LATER: Timestamp = Timestamp::from_millis(900);

fn table() -> (LaneTable, LaneKey, mpsc::UnboundedReceiver<LaneSignal>) {
    let (signal, signals) = mpsc::unbounded_channel();
    let policy = PolicyId::parse("p").expect("valid");
    let lane = Lane::of(vec![PolicyRef { policy, generation: 1 }]).expect("valid");
    (LaneTable::new(signal), lane.key().clone(), signals)
}

fn counts(table: &LaneTable) -> Vec<LaneCounts> {
    let (mut all, mut next) = (Vec::new(), Some(0));
    while let Some(from) = next {
        next = table.page(from, &mut all);
    }
    all
}

/// How many entries are handed out.
fn out(table: &LaneTable) -> u64 {
    table.all_out().len() as u64
}

fn id(n: u128) -> EventId {
    EventId::new(1, n)
}

fn add(table: &mut LaneTable, lane: &LaneKey, n: u128) {
    table.begin_append(lane);
    table.appended(lane, id(n), None);
}

/// Ends a load that found nothing more in plain order, and of the due entries these.
fn end_at_the_end(
    table: &mut LaneTable,
    lane: &LaneKey,
    start: &LoadStart,
    put_off: &[EventId],
) -> Option<Timestamp> {
    let next_due = start.next_due.map(|_| None);
    let end =
        LoadEnd { plain: &[], put_off, read_to: None, next_due, exhausted: true, changed: start.changed };
    table.end_load(lane, &end)
}

fn hand_out(table: &mut LaneTable, lane: &LaneKey, plain: &[EventId]) {
    let start = table.begin_load(lane).expect("holds something");
    table.end_reading(lane);
    let end = LoadEnd {
        plain,
        read_to: plain.last().copied(),
        put_off: &[],
        next_due: None,
        exhausted: false,
        changed: start.changed,
    };
    table.end_load(lane, &end);
}

fn settle(table: &mut LaneTable, lane: &LaneKey, n: u128, from: Option<Timestamp>, to: Option<Timestamp>) {
    let how = to.map_or(Settlement::Delivered, |due_at| Settlement::Reschedule {
        due_at,
        tries: Tries::of(1),
        doubted_at: None,
    });
    table.settled(lane, id(n), from, &how);
}

#[test]
fn the_oldest_is_no_younger_than_anything_that_waits_for_its_turn_or_is_out() {
    let (mut table, lane, _signals) = table();
    let aged = |n: u64| EventId::new(n, n.into());
    let oldest = |table: &LaneTable| counts(table).first().and_then(|lane| lane.oldest);
    let at = |n| Some(Timestamp::from_millis(n));
    for n in [10, 20, 30] {
        table.begin_append(&lane);
        table.appended(&lane, aged(n), None);
    }
    assert_eq!(oldest(&table), at(10));
    hand_out(&mut table, &lane, &[aged(10), aged(20)]);
    table.settled(
        &lane,
        aged(10),
        None,
        &Settlement::Reschedule { due_at: DUE, tries: Tries::of(1), doubted_at: None },
    );
    hand_out(&mut table, &lane, &[]);
    assert_eq!(oldest(&table), at(20), "what is put off does not count");
    let start = table.begin_load(&lane).expect("three are unsettled");
    let (plain, put_off, changed) = (&[aged(30)][..], &[aged(10)][..], start.changed);
    table.end_load(
        &lane,
        &LoadEnd {
            plain,
            read_to: plain.last().copied(),
            put_off,
            next_due: Some(None),
            exhausted: false,
            changed,
        },
    );
    assert_eq!(oldest(&table), at(10), "the retry is older than the plain entries out with it");
    table.settled(&lane, aged(10), Some(DUE), &Settlement::Delivered);
    hand_out(&mut table, &lane, &[]);
    assert_eq!(oldest(&table), at(20));
    for n in [20, 30] {
        table.settled(
            &lane,
            aged(n),
            None,
            &Settlement::Reschedule { due_at: LATER, tries: Tries::of(1), doubted_at: None },
        );
    }
    let start = table.begin_load(&lane).expect("two are put off");
    end_at_the_end(&mut table, &lane, &start, &[]);
    assert_eq!(oldest(&table), None);
}

#[test]
fn an_append_that_spans_the_begin_of_a_load_is_not_forgotten() {
    let (mut table, lane, _signals) = table();
    table.begin_append(&lane);
    let start = table.begin_load(&lane).expect("an append is under way");
    table.appended(&lane, id(1), None);
    end_at_the_end(&mut table, &lane, &start, &[]);
    assert_eq!(counts(&table).first().map(|lane| lane.ready), Some(1));
}

#[test]
fn a_lane_made_anew_during_a_load_is_not_taken_for_the_old_one() {
    let (mut table, lane, _signals) = table();
    add(&mut table, &lane, 1);
    hand_out(&mut table, &lane, &[id(1)]);
    let start = table.begin_load(&lane).expect("one is out");
    settle(&mut table, &lane, 1, None, None);
    assert!(table.is_empty());
    add(&mut table, &lane, 2);
    end_at_the_end(&mut table, &lane, &start, &[]);
    assert_eq!(counts(&table).first().map(|lane| lane.ready), Some(1));
}

#[test]
fn an_entry_put_off_during_a_load_keeps_its_due_time_and_its_count() {
    let (mut table, lane, _signals) = table();
    add(&mut table, &lane, 1);
    add(&mut table, &lane, 2);
    hand_out(&mut table, &lane, &[id(1), id(2)]);
    settle(&mut table, &lane, 1, None, Some(DUE));
    let start = table.begin_load(&lane).expect("two are unsettled");
    settle(&mut table, &lane, 2, None, Some(LATER));
    assert_eq!(end_at_the_end(&mut table, &lane, &start, &[id(1)]), Some(LATER));
    assert_eq!(counts(&table).first().map(|lane| (lane.delayed, out(&table))), Some((1, 1)));
}

#[test]
fn a_due_time_before_all_others_is_announced_although_the_lane_is_signalled() {
    let (mut table, lane, mut signals) = table();
    let mut announced = || {
        let mut dues = Vec::new();
        while let Ok(signal) = signals.try_recv() {
            dues.extend(if let LaneSignal::PutOff(_, due_at) = signal { Some(due_at) } else { None });
        }
        dues
    };
    add(&mut table, &lane, 1);
    assert_eq!(announced(), [], "the control: nothing is put off");
    for (n, due_at, told) in [(2, LATER, &[LATER][..]), (3, DUE, &[DUE]), (4, LATER, &[]), (5, DUE, &[])] {
        table.begin_append(&lane);
        table.appended(&lane, id(n), Some(due_at));
        assert_eq!(announced(), told, "{n}");
    }
    let start = table.begin_load(&lane).expect("five wait");
    let (plain, put_off) = (&[id(1)][..], &[id(3), id(5)][..]);
    let next_due = Some(Some(LATER));
    table.end_load(
        &lane,
        &LoadEnd {
            plain,
            read_to: plain.last().copied(),
            put_off,
            next_due,
            exhausted: false,
            changed: start.changed,
        },
    );
    settle(&mut table, &lane, 1, None, Some(DUE));
    assert_eq!(announced(), [DUE], "a retry is due before what is left");
}

#[test]
fn a_retry_handed_out_before_its_settlement_was_counted_is_counted_once() {
    let (mut table, lane, _signals) = table();
    add(&mut table, &lane, 1);
    add(&mut table, &lane, 2);
    hand_out(&mut table, &lane, &[id(1), id(2)]);
    settle(&mut table, &lane, 1, None, Some(DUE));
    let start = table.begin_load(&lane).expect("two are unsettled");
    // The store shows the retry of 2 already.
    end_at_the_end(&mut table, &lane, &start, &[id(1), id(2)]);
    assert_eq!(terms(&table), [2, 0, 0, 2, 0]);
    settle(&mut table, &lane, 2, None, Some(DUE));
    assert_eq!(terms(&table), [2, 0, 0, 2, 0]);
    settle(&mut table, &lane, 1, Some(DUE), None);
    settle(&mut table, &lane, 2, Some(DUE), None);
    assert!(table.is_empty());
}

#[test]
fn what_was_lost_during_a_load_is_not_handed_out_and_counts_once() {
    let (mut table, lane, _signals) = table();
    (1..=3).for_each(|n| add(&mut table, &lane, n));
    hand_out(&mut table, &lane, &[id(1)]);
    let start = table.begin_load(&lane).expect("two wait");
    let loss = |n| Loss { lane: lane.clone(), id: id(n), due_at: None };
    assert!(table.lost(&loss(1)), "it is handed out");
    assert!(!table.lost(&loss(2)));
    assert_eq!(table.end_reading(&lane), HashSet::from([id(2)]));
    let (plain, changed) = (&[id(3)][..], start.changed);
    table.end_load(
        &lane,
        &LoadEnd {
            plain,
            read_to: plain.last().copied(),
            put_off: &[],
            next_due: None,
            exhausted: false,
            changed,
        },
    );
    assert_eq!(
        counts(&table).first().map(|lane| (lane.ready, out(&table))),
        Some((1, 1)),
        "it is the one that is read ahead"
    );
    settle(&mut table, &lane, 3, None, None);
    assert!(table.is_empty());
}

#[test]
fn a_lane_that_is_lost_as_a_whole_during_a_load_is_forgotten_after_it() {
    let (mut table, lane, _signals) = table();
    add(&mut table, &lane, 1);
    table.begin_load(&lane).expect("one waits");
    table.lost(&Loss { lane: lane.clone(), id: id(1), due_at: None });
    assert!(!table.is_empty(), "the load may bring it");
    assert_eq!(table.end_reading(&lane).len(), 1);
    assert!(table.is_empty());
}

#[test]
fn beyond_a_bound_hosts_have_no_lane_of_their_own_until_others_are_empty() {
    let (mut table, _, _signals) = table();
    let at = |policy: u32, host: u32| {
        let policy = PolicyId::parse(&format!("p{policy}")).expect("valid");
        let governed = Lane::of(vec![PolicyRef { policy, generation: 1 }]).expect("valid");
        governed.at(&format!("h{host}.org:443")).key().clone()
    };
    for policy in 0..4 {
        for host in 0..4096 {
            assert!(table.takes(&at(policy, host)));
            add(&mut table, &at(policy, host), host.into());
        }
        assert!(!table.takes(&at(policy, 5_000)), "of one set of limits");
        assert!(table.takes(&at(policy, 7)), "it is there");
    }
    assert!(!table.takes(&at(9, 0)), "of all together");
    hand_out(&mut table, &at(2, 7), &[id(7)]);
    settle(&mut table, &at(2, 7), 7, None, None);
    assert!(table.takes(&at(2, 5_000)) && table.takes(&at(9, 0)) && !table.takes(&at(3, 5_000)));
}

#[test]
fn sums_that_do_not_add_up_are_counted_as_defects() {
    let recorded = Recorded::new();
    let _local = recorded.set();
    let defects = || recorded.sum("tidegate_defects_total", "");
    let (mut table, lane, _signals) = table();
    add(&mut table, &lane, 1);
    hand_out(&mut table, &lane, &[id(1)]);
    let start = table.begin_load(&lane).expect("holds something");
    end_at_the_end(&mut table, &lane, &start, &[]);
    assert_eq!(defects(), 0.0, "the control: all is well");
    table.end_append(&lane);
    assert_eq!(defects(), 1.0, "an end without a begin");
    settle(&mut table, &lane, 1, None, None);
    settle(&mut table, &lane, 1, None, None);
    assert_eq!(defects(), 2.0, "settled where no lane is left");
    table.appended(&lane, id(2), None);
    assert_eq!(defects(), 3.0, "appended to no lane");
    add(&mut table, &lane, 3);
    let start = table.begin_load(&lane).expect("holds something");
    end_at_the_end(&mut table, &lane, &start, &[]);
    assert_eq!(defects(), 4.0, "what was counted is not there");
}

/// What came in, waits for its turn and is not handed out, waits for its due time, is handed out, or has ended. Nothing
/// starts here.
fn terms(table: &LaneTable) -> [u64; 5] {
    let ledger = table.ledger();
    assert_eq!(ledger.inflight, 0, "{ledger:?}");
    let unread = ledger.ready - out(table);
    [ledger.accepted, unread, ledger.delayed, out(table), ledger.delivered + ledger.lost]
}

#[test]
fn what_is_handed_out_before_its_append_is_booked_counts_then_and_once() {
    let recorded = Recorded::new();
    let _local = recorded.set();
    let (mut table, lane, _signals) = table();
    for _ in 0..4 {
        table.begin_append(&lane);
    }
    let start = table.begin_load(&lane).expect("appends are under way");
    let (plain, put_off, changed) = (&[id(1)][..], &[id(3)][..], start.changed);
    table.end_load(
        &lane,
        &LoadEnd {
            plain,
            read_to: plain.last().copied(),
            put_off,
            next_due: None,
            exhausted: false,
            changed,
        },
    );
    assert_eq!(terms(&table), [2, 0, 0, 2, 0]);
    // The other ones of each order are booked first: the sums are the same.
    table.appended(&lane, id(2), None);
    table.appended(&lane, id(4), Some(DUE));
    assert_eq!(terms(&table), [2, 0, 0, 2, 0]);
    table.appended(&lane, id(3), Some(DUE));
    settle(&mut table, &lane, 1, None, None);
    assert_eq!(terms(&table), [3, 0, 1, 1, 1], "it has ended before it was booked");
    table.appended(&lane, id(1), None);
    assert_eq!(terms(&table), [4, 1, 1, 1, 1]);
    assert_eq!(recorded.sum("tidegate_defects_total", ""), 0.0);
}

#[test]
fn an_append_that_fails_although_its_entry_is_kept_leaves_no_difference() {
    let recorded = Recorded::new();
    let _local = recorded.set();
    let (mut table, lane, _signals) = table();
    table.begin_append(&lane);
    hand_out(&mut table, &lane, &[id(1)]);
    table.end_append(&lane);
    add(&mut table, &lane, 2);
    assert_eq!(terms(&table), [2, 1, 0, 1, 0], "the next append is not taken for the one that failed");
    hand_out(&mut table, &lane, &[id(2), id(3)]);
    assert_eq!(terms(&table), [3, 0, 0, 3, 0], "nor is one missed that shows up later");
    assert_eq!(recorded.sum("tidegate_defects_total", ""), 1.0, "which nobody had announced");
}

#[test]
fn what_is_lost_before_it_is_booked_counts_once() {
    let (mut table, lane, _signals) = table();
    let loss = |n, due_at| Loss { lane: lane.clone(), id: id(n), due_at };
    table.begin_append(&lane);
    assert!(!table.lost(&loss(1, None)), "its append is not booked yet");
    assert_eq!(terms(&table), [1, 0, 0, 0, 1]);
    table.appended(&lane, id(1), None);
    assert_eq!(terms(&table), [1, 0, 0, 0, 1]);
    assert!(table.is_empty());
    add(&mut table, &lane, 2);
    hand_out(&mut table, &lane, &[id(2)]);
    assert!(!table.lost(&loss(2, Some(DUE))), "its retry is not booked yet");
    assert_eq!(terms(&table), [2, 0, 0, 0, 2]);
    settle(&mut table, &lane, 2, None, Some(DUE));
    assert_eq!(terms(&table), [2, 0, 0, 0, 2]);
    assert!(table.is_empty());
}

#[test]
fn what_is_lost_after_it_was_missed_closes_the_difference() {
    let recorded = Recorded::new();
    let _local = recorded.set();
    let (mut table, lane, _signals) = table();
    add(&mut table, &lane, 1);
    let start = table.begin_load(&lane).expect("one waits");
    end_at_the_end(&mut table, &lane, &start, &[]);
    assert_eq!(terms(&table), [1, 0, 0, 0, 0], "a difference of one");
    assert_eq!(recorded.sum("tidegate_defects_total", ""), 1.0);
    table.lost(&Loss { lane: lane.clone(), id: id(1), due_at: None });
    assert_eq!(terms(&table), [1, 0, 0, 0, 1]);
}

/// However many lanes there are, few are counted under one lock, and each once.
#[test]
fn a_pass_over_all_lanes_is_made_in_parts() {
    let (mut table, _, _signals) = table();
    let key = |n: usize| LaneKey::new(&format!("p{n}@1")).expect("short");
    (0..1_000).for_each(|n| add(&mut table, &key(n), n as u128));
    let mut page = Vec::new();
    let next = table.page(0, &mut page);
    assert_eq!((page.len(), next), (LANES_AT_ONCE, Some(LANES_AT_ONCE)));
    // What changes meanwhile elsewhere leaves the others where they are.
    for n in (0..1_000).filter(|n| n % 3 == 0) {
        table.lost(&Loss { lane: key(n), id: id(n as u128), due_at: None });
    }
    add(&mut table, &key(5_000), 5_000);
    let mut next = next;
    while let Some(from) = next {
        let before = page.len();
        next = table.page(from, &mut page);
        assert!(page.len() - before <= LANES_AT_ONCE);
    }
    let seen: HashSet<_> = page.iter().map(|lane| lane.lane.clone()).collect();
    assert_eq!(seen.len(), page.len(), "none twice");
    assert!((0..1_000).filter(|n| n % 3 > 0).all(|n| seen.contains(&key(n))), "none is left out");
    let (all, left) = (counts(&table), table.ledger());
    assert_eq!((all.len() as u64, all.iter().map(LaneCounts::owed).sum::<u64>()), (left.ready, left.owed()));
}
