//! Whose turn it is: lanes that may go, and lines of lanes in front of limiters that have no room.
//!
//! A lane stands in at most one place. A line is asked only when its limiter may have room again (its time
//! has come, or a slot became free), so that a moment costs what it grants, however many lanes wait. Within
//! a line lanes take turns; those of draining generations go first. Lines and lanes that are not in a line
//! take turns as well.
//!
//! Invariant: a line with a lane in it is open, or has a wake-up time, or waits for a slot that is in use.
//!
//! Must not know: entries, policies, what a limiter counts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::clock::Timestamp;
use crate::dispatch::lanes::LaneId;
use crate::limit::LimiterId;

/// When a limiter that said no is asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AskAgain {
    /// At this moment.
    At(Timestamp),
    /// When a slot becomes free, or more is on record.
    WhenReleased,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Shut(AskAgain),
}

#[derive(Debug)]
struct Line {
    draining: VecDeque<LaneId>,
    active: VecDeque<LaneId>,
    state: State,
    /// Stands in `Turns::open`, perhaps with a state that says otherwise by now.
    listed: bool,
}

impl Line {
    fn queue(&mut self, draining: bool) -> &mut VecDeque<LaneId> {
        if draining { &mut self.draining } else { &mut self.active }
    }
}

/// The next one to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) lane: LaneId,
    /// The line from which it comes.
    pub(super) from: Option<LimiterId>,
}

#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Lanes that no limiter has stopped yet.
    free: VecDeque<LaneId>,
    lines: BTreeMap<LimiterId, Line>,
    open: VecDeque<LimiterId>,
    wakes: BTreeSet<(Timestamp, LimiterId)>,
    free_was_last: bool,
}

impl Turns {
    /// Puts a lane that has something to send behind those that wait for its `home`, the limiter that
    /// stopped it last; without a line there it may go at once.
    pub(super) fn join(&mut self, lane: LaneId, home: Option<LimiterId>, draining: bool) {
        match home.and_then(|home| self.lines.get_mut(&home)) {
            Some(line) => line.queue(draining).push_back(lane),
            None => self.free.push_back(lane),
        }
    }

    /// Puts a lane back that keeps its turn: its start could not be used.
    pub(super) fn rejoin_first(&mut self, lane: LaneId) {
        self.free.push_front(lane);
    }

    /// Shuts a limiter; the lane that met it waits first in its line when it came from there, else last.
    pub(super) fn shut(&mut self, turn: Turn, limiter: LimiterId, draining: bool, again: AskAgain) {
        let line = self.lines.entry(limiter).or_insert_with(|| Line {
            draining: VecDeque::new(),
            active: VecDeque::new(),
            state: State::Open,
            listed: false,
        });
        let queue = line.queue(draining);
        if turn.from == Some(limiter) {
            queue.push_front(turn.lane)
        } else {
            queue.push_back(turn.lane)
        }
        if let State::Shut(AskAgain::At(at)) = line.state {
            self.wakes.remove(&(at, limiter));
        }
        line.state = State::Shut(again);
        if let AskAgain::At(at) = again {
            self.wakes.insert((at, limiter));
        }
    }

    /// A slot of the limiter became free, or more is on record.
    pub(super) fn released(&mut self, limiter: LimiterId) {
        if self.lines.get(&limiter).is_some_and(|line| line.state == State::Shut(AskAgain::WhenReleased)) {
            self.reopen(limiter);
        }
    }

    /// What the limiter said last no longer holds.
    pub(super) fn reopen(&mut self, limiter: LimiterId) {
        let Some(line) = self.lines.get_mut(&limiter) else { return };
        if let State::Shut(AskAgain::At(at)) = line.state {
            self.wakes.remove(&(at, limiter));
        }
        line.state = State::Open;
        if !line.listed {
            line.listed = true;
            self.open.push_back(limiter);
        }
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
        self.free_was_last = !self.free_was_last;
        let free = |turns: &mut Self| Some(Turn { lane: turns.free.pop_front()?, from: None });
        if self.free_was_last {
            free(self).or_else(|| self.next_in_line())
        } else {
            self.next_in_line().or_else(|| free(self))
        }
    }

    fn next_in_line(&mut self) -> Option<Turn> {
        while let Some(limiter) = self.open.pop_front() {
            let Some(line) = self.lines.get_mut(&limiter) else { continue };
            if line.state != State::Open {
                line.listed = false;
                continue;
            }
            match line.draining.pop_front().or_else(|| line.active.pop_front()) {
                Some(lane) => {
                    self.open.push_back(limiter);
                    return Some(Turn { lane, from: Some(limiter) });
                }
                None => {
                    self.lines.remove(&limiter);
                }
            }
        }
        None
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
    pub(super) fn dissolve(&mut self) {
        let mut lines = std::mem::take(&mut self.lines);
        self.open.clear();
        self.wakes.clear();
        for line in lines.values_mut() {
            self.free.append(&mut line.draining);
        }
        for line in lines.values_mut() {
            self.free.append(&mut line.active);
        }
    }
}
