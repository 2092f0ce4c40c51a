//! The clock under a script: starts, steps, suspensions, doubts and their end.

use proptest::prelude::*;

use super::*;

const BOUND: Duration = Duration::from_secs(6 * 3600);
const HOUR: Duration = Duration::from_secs(3600);
const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn script(boot: &str, wall: Timestamp) -> (Script, Clock) {
    let script = Script::new(boot, wall);
    let clock = Clock::scripted(&script);
    (script, clock)
}

/// What a process left that began at `START`, saw an hour and then went down.
fn left_behind() -> ClockMark {
    let (script, clock) = script("one", START);
    assert_eq!(clock.begin(None, Timestamp::ZERO, BOUND).suspicion, None);
    script.advance(HOUR);
    clock.mark().expect("not a manual clock")
}

fn begin(clock: &Clock, mark: &ClockMark) -> Option<Suspicion> {
    clock.begin(Some(mark), Timestamp::ZERO, BOUND).suspicion
}

#[test]
fn arithmetic_saturates_at_both_ends() {
    assert_eq!(Timestamp::MAX + Duration::from_secs(1), Timestamp::MAX);
    assert_eq!(Timestamp::ZERO - Duration::from_secs(1), Timestamp::ZERO);
    assert_eq!(Timestamp::ZERO.since(Timestamp::MAX), Duration::ZERO);
}

/// A wall clock from before an advance beside a boot clock from after it would be a step.
#[test]
fn a_reading_of_a_script_is_of_one_moment() {
    let (script, clock) = script("one", START);
    let since_boot = |reading: ClockReading| reading.wall.as_nanos() - reading.boot_ns;
    let expected = since_boot(clock.read());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                script.advance(Duration::from_millis(1));
            }
        });
        let torn = (0..100_000).filter(|_| since_boot(clock.read()) != expected).count();
        stop.store(true, Ordering::Relaxed);
        assert_eq!(torn, 0);
    });
}

#[test]
fn clones_of_a_manual_clock_share_their_hand() {
    let clock = Clock::manual(Timestamp::from_millis(5));
    clock.clone().advance(Duration::from_millis(2));
    assert_eq!(clock.now(), Timestamp::from_millis(7));
    assert_eq!(clock.now().to_string(), "1970-01-01T00:00:00.007Z");
}

#[test]
fn milliseconds_round_up_when_nothing_may_be_early() {
    assert_eq!(Timestamp::from_nanos(1_000_001).ceil_millis(), 2);
    assert_eq!(Timestamp::from_nanos(1_000_000).ceil_millis(), 1);
}

#[test]
fn the_system_s_clock_begins_at_the_wall_time_and_goes_on() {
    let clock = Clock::system();
    assert!(clock.now().since(clock.wall()) < Duration::from_secs(5));
    assert!(clock.wall().since(clock.now()) < Duration::from_secs(5));
    let mark = clock.mark().expect("marked");
    assert!(!mark.boot_id.is_empty());
    let again = Clock::system();
    assert_eq!(begin(&again, &mark), None);
    assert!(again.now().as_nanos() >= mark.line_ns);
}

#[test]
fn another_boot_within_the_bound_is_believed() {
    let mark = left_behind();
    for outage in [Duration::ZERO, HOUR, BOUND] {
        let (_, clock) = script("two", START + HOUR + outage);
        assert_eq!(begin(&clock, &mark), None, "{outage:?}");
        assert!(clock.is_trusted());
        assert_eq!(clock.now(), START + HOUR + outage);
    }
}

#[test]
fn another_boot_with_a_clock_beyond_the_bound_is_in_doubt_and_keeps_the_line() {
    let mark = left_behind();
    let (script, clock) = script("two", START + HOUR * 8);
    assert_eq!(begin(&clock, &mark), Some(Suspicion::Ahead(HOUR * 7)));
    assert!(!clock.is_trusted());
    assert_eq!(clock.now(), START + HOUR);
    script.advance(HOUR);
    assert_eq!(clock.now(), START + HOUR * 2, "it goes on from the mark");
}

#[test]
fn marks_made_in_doubt_do_not_poison() {
    let mut mark = left_behind();
    for boot in ["two", "three", "four"] {
        let (script, clock) = script(boot, START + HOUR * 9);
        assert!(matches!(begin(&clock, &mark), Some(Suspicion::Ahead(_))), "{boot}");
        script.advance(Duration::from_secs(10));
        mark = clock.mark().expect("marked");
    }
    let (_, clock) = script("five", START + HOUR + Duration::from_secs(60));
    assert_eq!(begin(&clock, &mark), None);
    assert!(clock.is_confirmed(), "the right time is believed at once");
    clock.trust().expect("in doubt");
    assert_eq!(clock.now(), START + HOUR + Duration::from_secs(60));
}

#[test]
fn a_clock_behind_the_mark_is_in_doubt() {
    let mark = left_behind();
    let (_, clock) = script("two", Timestamp::from_millis(5_000));
    assert!(matches!(begin(&clock, &mark), Some(Suspicion::Behind(_))));
    assert_eq!((clock.now(), clock.is_trusted()), (START + HOUR, false));
    let (_, clock) = script("two", START + HOUR - Duration::from_secs(1));
    assert_eq!(begin(&clock, &mark), None, "the second of a battery clock");
}

#[test]
fn in_the_same_boot_a_stepped_wall_clock_means_nothing() {
    for wall in [START + HOUR * 8, Timestamp::from_millis(5_000), START + HOUR * 100_000] {
        let (script, clock) = script("one", START);
        clock.begin(None, Timestamp::ZERO, BOUND);
        script.advance(HOUR);
        let mark = clock.mark().expect("marked");
        script.set_wall(wall);
        script.advance(HOUR * 7);
        let clock = Clock::scripted(&script);
        assert_eq!(begin(&clock, &mark), None);
        assert_eq!((clock.now(), clock.is_trusted()), (START + HOUR * 8, true), "the boot clock rules");
    }
}

#[test]
fn a_boot_clock_behind_the_mark_s_is_another_boot() {
    let mark = ClockMark { boot_ns: u64::MAX / 4, ..left_behind() };
    let (_, clock) = script("one", START + HOUR * 2);
    assert_eq!(begin(&clock, &mark), None);
    assert_eq!(clock.now(), START + HOUR * 2, "the wall clock says how long it was");
    let (_, clock) = script("one", START + HOUR * 20);
    assert!(begin(&clock, &mark).is_some());
}

/// Marks with every mixture of extreme figures, read by clocks that are as odd: nothing panics, and a clock that is
/// trusted has not moved the line by more than the bound.
#[test]
fn no_figure_of_a_mark_and_no_reading_ages_anything_without_a_doubt() {
    let start_ns = START.as_nanos();
    let figures = [0, 1, start_ns, u64::MAX / 2, u64::MAX - 1, u64::MAX];
    let walls =
        [Timestamp::ZERO, START, START + BOUND, Timestamp::from_millis(4_102_444_800_000), Timestamp::MAX];
    let doubts = [None, left_behind_in_doubt().doubt];
    let mut trusted = 0;
    for (line_ns, wall_ns) in figures.iter().flat_map(|a| figures.map(|b| (*a, b))) {
        for (boot_ns, ahead_ns) in figures.iter().flat_map(|a| figures.map(|b| (*a, b))) {
            for (boot_id, wall, doubt) in ["", "one", "two"]
                .iter()
                .flat_map(|id| walls.iter().flat_map(move |w| doubts.map(|d| (*id, *w, d))))
            {
                let boot_id = boot_id.to_owned();
                let mark = ClockMark {
                    line_ns,
                    wall_ns,
                    boot_id,
                    boot_ns,
                    doubt,
                    ahead_ns,
                    ..ClockMark::unknown(START)
                };
                let (script, clock) = script("one", wall);
                let verdict = clock.begin(Some(&mark), Timestamp::ZERO, BOUND);
                script.advance(HOUR);
                let before = clock.now();
                if clock.is_trusted() {
                    trusted += 1;
                    let had = Timestamp(line_ns.saturating_sub(ahead_ns));
                    let is_same_boot = mark.boot_id == "one" && boot_ns <= HOUR.as_nanos() as u64;
                    let allowed = if is_same_boot { HOUR } else { BOUND };
                    assert!(verdict.line.since(had) <= allowed, "{mark:?} {wall}");
                }
                clock.trust();
                assert!(clock.is_trusted() && clock.now() >= before, "{mark:?} {wall}");
                let next = clock.mark().expect("marked");
                Clock::scripted(&script).begin(Some(&next), clock.now(), BOUND);
            }
        }
    }
    assert!(trusted > 100, "the control: some are believed, {trusted}");
}

/// A process that was in doubt when it went down.
fn left_behind_in_doubt() -> ClockMark {
    let (_, clock) = script("two", START + HOUR * 30);
    begin(&clock, &left_behind()).expect("in doubt");
    clock.mark().expect("marked")
}

/// A virtual machine that is put back to a snapshot: the boot goes on under the same name, its clocks are behind.
#[test]
fn a_machine_that_was_put_back_is_judged_by_its_wall_clock() {
    let mark = ClockMark { boot_ns: HOUR.as_nanos() as u64 * 9, ..left_behind() };
    for (wall, suspicion) in [
        (START + HOUR, None),
        (START - HOUR * 2, Some(Suspicion::Behind(HOUR * 3))),
        (START + HOUR * 8, Some(Suspicion::Ahead(HOUR * 7))),
    ] {
        let (_, clock) = script("one", wall);
        assert_eq!(begin(&clock, &mark), suspicion, "{wall}");
        assert_eq!(clock.now(), START + HOUR);
    }
}

/// Without the name of the boot nothing is the same boot.
#[test]
fn a_boot_without_a_name_is_another_one() {
    let mark = ClockMark { boot_id: String::new(), ..left_behind() };
    for boot in ["", "one"] {
        let (_, clock) = script(boot, START + HOUR * 8);
        assert_eq!(begin(&clock, &mark), Some(Suspicion::Ahead(HOUR * 7)), "{boot:?}");
    }
}

#[test]
fn a_clock_that_swings_to_and_fro_is_never_proven() {
    let (script, clock) = script("one", START);
    script.set_synchronised(true);
    let mut watch = WallClockWatch::default();
    for round in 0..300_u32 {
        script.advance(Duration::from_secs(1));
        if round % 30 == 0 {
            let by = Duration::from_secs(5);
            script.set_wall(if round % 60 == 0 { clock.wall() + by } else { clock.wall() - by });
        }
        watch.look(clock.read());
        assert!(!watch.is_proven(), "{round}");
    }
    for _ in 0..61 {
        // It is slewed meanwhile.
        script.advance(Duration::from_secs(1));
        script.set_wall(clock.wall() + Duration::from_micros(500));
        watch.look(clock.read());
    }
    assert!(watch.is_proven(), "the control");
}

#[test]
fn without_a_mark_the_newest_record_stands_in() {
    let mark = ClockMark::unknown(START);
    for (wall, is_believed) in [(START + HOUR, true), (START + HOUR * 7, false), (START - HOUR, false)] {
        let (_, clock) = script("two", wall);
        assert_eq!(begin(&clock, &mark).is_none(), is_believed, "{wall}");
    }
}

#[test]
fn trust_moves_the_line_forward_and_does_not_age_what_was_accepted_in_doubt() {
    let mark = left_behind();
    let (script, clock) = script("two", Timestamp::from_millis(5_000));
    begin(&clock, &mark);
    script.advance(HOUR);
    let accepted_at = clock.now();
    script.advance(HOUR);
    script.set_wall(START + HOUR * 20);
    let leap = clock.trust().expect("was in doubt");
    assert_eq!((leap.by, leap.ahead), (HOUR * 17, Duration::ZERO));
    assert_eq!((clock.now(), clock.is_trusted()), (START + HOUR * 20, true));
    assert_eq!(clock.trust(), None);
    let expires = |accepted_at| corrected(&clock.corrections(), accepted_at, accepted_at + BOUND);
    assert_eq!(expires(accepted_at), accepted_at + BOUND + HOUR * 17);
    assert_eq!(expires(START), START + BOUND, "a real outage ages what was there before");
    assert_eq!(expires(clock.now()), clock.now() + BOUND);
    let mark = clock.mark().expect("marked");
    let again = Clock::scripted(&script);
    begin(&again, &mark);
    assert_eq!(corrected(&again.corrections(), accepted_at, accepted_at), accepted_at + HOUR * 17, "kept");
}

#[test]
fn a_line_ahead_of_a_right_clock_is_taken_back_at_the_next_start() {
    let mark = left_behind();
    let (script, clock) = script("two", START - HOUR);
    begin(&clock, &mark);
    let leap = clock.trust().expect("was in doubt");
    assert_eq!((leap.by, leap.ahead), (Duration::ZERO, HOUR * 2));
    assert_eq!(clock.now(), START + HOUR, "not while the process runs");
    let mark = clock.mark().expect("marked");
    let again = Clock::scripted(&script);
    assert_eq!(again.begin(Some(&mark), START + HOUR, BOUND).suspicion, None);
    assert_eq!(again.now(), START - HOUR);
}

#[test]
fn a_confirmed_mark_is_believed_at_the_next_start() {
    let mark = left_behind();
    let (_, clock) = script("two", START + HOUR * 30);
    begin(&clock, &mark);
    let mark = ClockMark { is_confirmed: true, ..clock.mark().expect("marked") };
    let (_, clock) = script("three", START + HOUR * 30);
    assert_eq!(begin(&clock, &mark), None);
    assert_eq!((clock.now(), clock.is_trusted(), clock.is_confirmed()), (START + HOUR, false, true));
    let interrupted = clock.mark().expect("marked");
    clock.trust().expect("in doubt");
    assert_eq!((clock.now(), clock.is_trusted()), (START + HOUR * 30, true));

    // A process that went down before it ended the doubt leaves the confirmation to the next one; one that ended it
    // does not: a clock that is wrong again is in doubt again.
    let (_, again) = script("three", START + HOUR * 30);
    assert_eq!((begin(&again, &interrupted), again.is_confirmed()), (None, true));
    let (_, later) = script("four", START + HOUR * 60);
    assert!(begin(&later, &clock.mark().expect("marked")).is_some());
    assert!(!later.is_confirmed());
}

#[test]
fn a_synchronised_clock_is_proven_after_a_minute_without_a_step() {
    let (script, clock) = script("one", START);
    let mut watch = WallClockWatch::default();
    let mut pass = |seconds: u32| {
        (0..seconds).for_each(|_| {
            script.advance(Duration::from_secs(1));
            watch.look(clock.read());
        });
        watch.is_proven()
    };
    assert!(!pass(100), "not synchronised");
    script.set_synchronised(true);
    assert!(!pass(60));
    script.set_wall(START);
    assert!(!pass(60), "a step begins the minute anew");
    assert!(pass(1));
    script.set_synchronised(false);
    assert!(!pass(1));
}

#[test]
fn steps_and_suspensions_are_told_once() {
    let (script, clock) = script("one", START);
    let mut watch = WallClockWatch::default();
    let mut look = || watch.look(clock.read());
    assert_eq!(look(), []);
    script.set_wall(START + HOUR * 7);
    assert_eq!(look(), [Anomaly::Forward(HOUR * 7)]);
    script.set_wall(START + HOUR * 6);
    assert_eq!(look(), [Anomaly::Backward(HOUR)]);
    script.suspend(HOUR);
    assert_eq!(look(), [Anomaly::Suspend(HOUR)]);
    script.set_wall(clock.wall() + Duration::from_millis(900));
    assert_eq!(look(), [], "a slewing clock is none");
}

#[test]
fn suspended_time_counts() {
    let (script, clock) = script("one", START);
    script.suspend(HOUR * 7);
    assert_eq!(clock.now(), START + HOUR * 7);
}

#[derive(Debug, Clone)]
enum Move {
    Advance(u64),
    Suspend(u64),
    SetWall(u64),
    Reboot,
    Restart,
    Trust,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    prop::collection::vec(
        prop_oneof![
            (0..u64::MAX / 1_000).prop_map(|ns| Move::Advance(ns % 100_000_000_000_000)),
            (0..50_000_000_000_000_u64).prop_map(Move::Suspend),
            any::<u64>().prop_map(Move::SetWall),
            (0..4_000_000_000_000_000_000_u64).prop_map(Move::SetWall),
            Just(Move::Reboot),
            Just(Move::Restart),
            Just(Move::Trust),
        ],
        0..40,
    )
}

proptest! {
    /// Whatever the clocks do: nothing panics, the line never goes back, and while nobody has vouched for the wall
    /// clock nothing ages by more than what has passed and what the bound allows for each boot.
    #[test]
    fn no_step_ages_anything(moves in moves()) {
        let mut script = Script::new("0", START);
        let mut clock = Clock::scripted(&script);
        let (mut passed, mut allowed, mut boots) = (Duration::ZERO, Duration::ZERO, 0_u32);
        let mut last = clock.now();
        clock.begin(None, Timestamp::ZERO, BOUND);
        for step in moves {
            match step {
                Move::Advance(ns) => {
                    script.advance(Duration::from_nanos(ns));
                    passed += Duration::from_nanos(ns);
                }
                Move::Suspend(ns) => {
                    script.suspend(Duration::from_nanos(ns));
                    passed += Duration::from_nanos(ns);
                }
                Move::SetWall(ns) => script.set_wall(Timestamp::from_nanos(ns)),
                Move::Reboot | Move::Restart => {
                    let mark = clock.mark().expect("marked");
                    if let Move::Reboot = step {
                        boots += 1;
                        allowed += BOUND;
                        script = Script::new(&boots.to_string(), clock.wall());
                    }
                    clock = Clock::scripted(&script);
                    clock.begin(Some(&mark), last, BOUND);
                }
                Move::Trust => {
                    if let Some(leap) = clock.trust() {
                        passed += leap.by;
                        prop_assert!(clock.is_trusted());
                        // Taken back at the next start: the next comparison begins there.
                        if leap.ahead > Duration::ZERO {
                            return Ok(());
                        }
                    }
                }
            }
            let now = clock.now();
            prop_assert!(now >= last, "{now} before {last}");
            prop_assert!(now <= START + passed + allowed + Duration::from_secs(1), "{now}");
            last = now;
        }
    }
}
