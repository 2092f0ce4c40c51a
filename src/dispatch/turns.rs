//! Whose turn it is: lanes that may go, and lines of lanes in front of limiters that have no room. Lanes that differ in
//! their host alone take turns as one: what is called a lane here is a group of those.
//!
//! A lane stands in at most one place. A line is asked only when its limiter may have room again (its time
//! has come, or a slot became free), so that a moment costs what it grants, however many lanes wait.
//!
//! Turns are taken over all lanes, wherever they stand: a lane that joins gets the next number and keeps it until it
//! is served, and of all lanes that may be asked the one with the lowest number is. So a limiter that many lanes wait
//! for is shared evenly among them although some of them were stopped by another one last. Within a line those of
//! draining generations go first, and among those the starts are divided by priority: the order of numbers is that of
//! the lanes of one priority. Starts of lanes that did not wait in a line count there too.
//!
//! Invariant: a line with a lane in it is open, or has a wake-up time, or waits for a slot that is in use.
//!
//! Must not know: entries, policies, what a limiter counts.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Timestamp;
use crate::dispatch::groups::GroupId;
use crate::dispatch::weights::Weights;
use crate::event::Priority;
use crate::limit::LimiterId;
use crate::telemetry::defect;

/// When a limiter that said no is asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AskAgain {
    /// At this moment, unless it is reopened before.
    At(Timestamp),
    /// When a slot becomes free, or more is on record.
    WhenReleased,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TurnState {
    Open,
    Shut(AskAgain),
}

/// A lane's place in the order: the lowest is the next. Lanes that keep their turn count down from the middle,
/// others up.
type Number = u64;
const MIDDLE: Number = u64::MAX / 2;

type WaitingGroups = BTreeSet<(Number, GroupId)>;

/// Among which of those in a line a lane waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TurnClass {
    /// False, and so first, for those of draining generations.
    is_active: bool,
    priority: Priority,
}

impl TurnClass {
    pub(super) const fn new(is_draining: bool, priority: Priority) -> Self {
        Self { is_active: !is_draining, priority }
    }
}

/// A place in a line.
type Place = (TurnClass, Number, GroupId);

#[derive(Debug)]
struct TurnLine {
    waiting: BTreeSet<Place>,
    draining: Weights,
    active: Weights,
    state: TurnState,
    /// The number under which it stands in `Turns::open`.
    listed: Option<Number>,
}

impl TurnLine {
    fn new() -> Self {
        Self {
            waiting: BTreeSet::new(),
            draining: Weights::default(),
            active: Weights::default(),
            state: TurnState::Open,
            listed: None,
        }
    }

    fn weights(&mut self, class: TurnClass) -> &mut Weights {
        if class.is_active { &mut self.active } else { &mut self.draining }
    }

    /// Returns whether it stood nowhere with this number.
    fn add(&mut self, place: Place) -> bool {
        self.weights(place.0).joined(place.0.priority);
        self.waiting.insert(place)
    }

    /// The next one: of the priority whose turn it is, the one that came first.
    fn first(&self) -> Option<Place> {
        let (first, last) = (self.waiting.first()?, self.waiting.last()?);
        // Nearly always all are of one class.
        if first.0 == last.0 {
            return Some(*first);
        }
        let is_active = first.0.is_active;
        let weights = if is_active { &self.active } else { &self.draining };
        let first_of = |priority| {
            let class = TurnClass { is_active, priority };
            let mut from_there = self.waiting.range((class, 0, GroupId::LOWEST)..);
            from_there.next().copied().filter(|place| place.0 == class)
        };
        let firsts = Priority::ALL.into_iter().filter_map(first_of);
        firsts.min_by_key(|(class, ..)| weights.rank(class.priority))
    }
}

/// The next one to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) group: GroupId,
    number: Number,
    /// The limiter in whose line it waited.
    waited_for: Option<LimiterId>,
}

#[derive(Debug)]
pub(super) struct Turns {
    /// Lanes that no limiter has stopped yet.
    free: WaitingGroups,
    lines: BTreeMap<LimiterId, TurnLine>,
    /// The open lines with lanes in them, by the number of their first lane.
    open: BTreeSet<(Number, LimiterId)>,
    wakes: BTreeSet<(Timestamp, LimiterId)>,
    next_number: Number,
    /// Below all numbers given to lanes that keep their turn.
    next_first: Number,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            free: WaitingGroups::new(),
            lines: BTreeMap::new(),
            open: BTreeSet::new(),
            wakes: BTreeSet::new(),
            next_number: MIDDLE,
            next_first: MIDDLE - 1,
        }
    }
}

impl Turns {
    /// Puts a lane that has something to send behind all others: among those that wait for its `home`, the limiter
    /// that stopped it last, when there are any.
    pub(super) fn join(&mut self, lane: GroupId, home: Option<LimiterId>, class: TurnClass) {
        let number = self.next_number;
        self.next_number += 1;
        match home.and_then(|home| Some((home, self.lines.get_mut(&home)?))) {
            // Asked at once it would nearly always be stopped by the same limiter again.
            Some((home, line)) => {
                line.add((class, number, lane));
                self.list(home);
            }
            None => {
                self.free.insert((number, lane));
            }
        }
    }

    /// Puts a lane back that keeps its turn: its start could not be used.
    pub(super) fn rejoin_first(&mut self, lane: GroupId) {
        defect!(unless self.next_first > 0, "no number left before all others");
        self.free.insert((self.next_first, lane));
        self.next_first -= 1;
    }

    /// Shuts a limiter; the lane that met it waits in its line, in the order of numbers.
    pub(super) fn shut(&mut self, turn: Turn, limiter: LimiterId, class: TurnClass, again: AskAgain) {
        let line = self.lines.entry(limiter).or_insert_with(TurnLine::new);
        let is_new = line.add((class, turn.number, turn.group));
        defect!(unless is_new, "a group that waits twice with one number");
        if let TurnState::Shut(AskAgain::At(at)) = line.state {
            self.wakes.remove(&(at, limiter));
        }
        line.state = TurnState::Shut(again);
        if let AskAgain::At(at) = again {
            self.wakes.insert((at, limiter));
        }
        self.list(limiter);
    }

    /// A call started that took its turn, or was next for another reason; it counts in the lines of all these limiters.
    pub(super) fn started(&mut self, turn: Turn, class: TurnClass, limiters: &[LimiterId]) {
        // Without contention there are no lines.
        if self.lines.is_empty() {
            return;
        }
        for limiter in limiters {
            if let Some(line) = self.lines.get_mut(limiter) {
                line.weights(class).started(class.priority, turn.waited_for == Some(*limiter));
                self.list(*limiter);
            }
        }
    }

    /// A slot of the limiter became free, or more is on record.
    pub(super) fn released(&mut self, limiter: LimiterId) {
        // A line that waits for a time does not lack a slot: it stays shut until then.
        if self.lines.get(&limiter).is_some_and(|line| line.state == TurnState::Shut(AskAgain::WhenReleased))
        {
            self.reopen(limiter);
        }
    }

    /// What the limiter said last no longer holds.
    pub(super) fn reopen(&mut self, limiter: LimiterId) {
        let Some(line) = self.lines.get_mut(&limiter) else { return };
        if let TurnState::Shut(AskAgain::At(at)) = line.state {
            self.wakes.remove(&(at, limiter));
        }
        line.state = TurnState::Open;
        self.list(limiter);
    }

    /// Opens the lines whose time has come; returns the earliest of those times.
    pub(super) fn wake(&mut self, now: Timestamp) -> Option<Timestamp> {
        let first = self.wakes.first().map(|(at, _)| *at).filter(|at| *at <= now);
        while let Some((at, limiter)) = self.wakes.first().copied() {
            if at > now {
                break;
            }
            self.reopen(limiter);
        }
        first
    }

    /// Takes out the next lane to be asked.
    pub(super) fn next(&mut self) -> Option<Turn> {
        let first_open = self.open.first().copied();
        let is_free = |(number, _): &(Number, GroupId)| first_open.is_none_or(|(open, _)| *number < open);
        if let Some((number, group)) = self.free.first().copied().filter(is_free) {
            self.free.remove(&(number, group));
            return Some(Turn { group, number, waited_for: None });
        }

        let (_, limiter) = first_open?;
        let line = self.lines.get_mut(&limiter)?;
        let first = line.first()?;
        defect!(unless line.state == TurnState::Open, "a turn in the line of a limiter that is shut");
        line.waiting.remove(&first);
        self.list(limiter);
        let (_, number, group) = first;
        Some(Turn { group, number, waited_for: Some(limiter) })
    }

    /// Brings `open` up to date after something happened to a line; an open one without lanes is given up.
    fn list(&mut self, limiter: LimiterId) {
        let Some(line) = self.lines.get_mut(&limiter) else { return };
        let is_open = line.state == TurnState::Open;
        let first = line.first();
        let number = first.map(|(_, number, _)| number).filter(|_| is_open);
        if line.listed != number {
            if let Some(before) = line.listed {
                self.open.remove(&(before, limiter));
            }
            if let Some(number) = number {
                self.open.insert((number, limiter));
            }
            line.listed = number;
        }
        if is_open && first.is_none() {
            self.lines.remove(&limiter);
        }
    }

    /// Those that wait in the line of a limiter.
    pub(super) fn waiting_for(&self, limiter: LimiterId) -> impl Iterator<Item = GroupId> {
        let line = self.lines.get(&limiter).into_iter();
        line.flat_map(|line| &line.waiting).map(|(.., group)| *group)
    }

    /// Whether somebody may be asked now.
    pub(super) fn has_next(&self) -> bool {
        !self.free.is_empty() || !self.open.is_empty()
    }

    /// When the next line opens by itself.
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// Dissolves all lines: everybody may be asked again, in the order in which they stood, draining first.
    pub(super) fn dissolve_all(&mut self) {
        let limiters: Vec<LimiterId> = self.lines.keys().copied().collect();
        self.dissolve(limiters);
    }

    /// Dissolves the lines of these limiters: those that stood there may be asked again, in the order in which they
    /// stood, draining first.
    pub(super) fn dissolve(&mut self, limiters: impl IntoIterator<Item = LimiterId>) {
        let mut waiting = BTreeSet::new();
        for limiter in limiters {
            let Some(mut line) = self.lines.remove(&limiter) else { continue };
            if let Some(listed) = line.listed {
                self.open.remove(&(listed, limiter));
            }
            if let TurnState::Shut(AskAgain::At(at)) = line.state {
                self.wakes.remove(&(at, limiter));
            }
            let places = std::mem::take(&mut line.waiting).into_iter();
            waiting.extend(places.map(|(class, number, group)| ((class.is_active, number, group), class)));
        }
        for ((.., lane), class) in waiting {
            self.join(lane, None, class);
        }
    }

    /// Takes these lanes out of the line of a limiter: they may be asked again.
    pub(super) fn take_out(&mut self, limiter: LimiterId, lanes: &BTreeSet<GroupId>) {
        let Some(line) = self.lines.get_mut(&limiter) else { return };
        let mut out = Vec::new();
        line.waiting.retain(|place| {
            let stays = !lanes.contains(&place.2);
            out.extend((!stays).then_some(*place));
            stays
        });
        // In the order in which they stood, whatever their priorities.
        out.sort_unstable_by_key(|(class, number, _)| (class.is_active, *number));
        self.list(limiter);
        for (class, _, lane) in out {
            self.join(lane, None, class);
        }
    }
}
