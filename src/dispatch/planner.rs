//! The planner: what is sent next, and what follows. A pure state machine: it is told what happened and
//! when, and answers with what is to be done. No I/O, no clock, no task.
//!
//! - First attempts leave a lane in the order in which they were made durable; what has become due (retries,
//!   delayed events) goes ahead of them, in due order.
//! - Nothing starts without a permit, before its due time, or at or after its expiry.
//! - One step starts a bounded number of calls; [`Planner::next_wake`] tells when it wants to go on.
//!
//! Must not know: sockets, files, how limits count.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::dispatch::ahead::{Ahead, Window};
use crate::dispatch::buffer::{Buffer, Dues};
use crate::dispatch::groups::{Groups, Joins};
use crate::dispatch::hold::Holds;
use crate::dispatch::input::{Effect, Figures, Input, Options, Settled, Ticket};
use crate::dispatch::lanes::{Fate, LaneId, LaneState, Lanes, Place, Ruled};
use crate::dispatch::looks::{Looks, Watch};
use crate::dispatch::purge::Purges;
use crate::dispatch::shares::{Share, Shares};
use crate::dispatch::starts::Flight;
use crate::dispatch::turns::Turns;
use crate::dispatch::unread::UnreadTime;
use crate::event::{Entry, Lane, LaneKey, PolicyId, Settlement};
use crate::limit::{Gate, Reservation, Rules, UsageToState, Worked};
use crate::policy::{PolicyChange, Runtime};
use crate::queue::Loaded;
use crate::telemetry::{defect, policy_names};

/// A step stops starting and expiring once it has asked for this much.
pub(super) const EFFECTS_PER_STEP: usize = 2048;

/// Decides what is sent next. See the head of this file.
pub struct Planner {
    pub(super) gate: Gate,
    pub(super) runtime: Arc<Runtime>,
    pub(super) options: Options,
    pub(super) dice: fastrand::Rng,
    pub(super) lanes: Lanes,
    pub(super) groups: Groups,
    pub(super) turns: Turns,
    pub(super) shares: Shares,
    pub(super) ahead: Ahead,
    pub(super) timers: BTreeSet<(Timestamp, LaneId)>,
    pub(super) flights: HashMap<Ticket, Flight>,
    pub(super) purges: Purges,
    pub(super) next_ticket: u64,
    /// Unconfirmed tickets below this one are put back: a call before theirs was.
    pub(super) stale_below: u64,
    pub(super) stale_permits: u64,
    pub(super) draining: bool,
    pub(super) is_time_trusted: bool,
    /// The time of the last step.
    stepped_at: Timestamp,
}

impl Planner {
    /// A planner over `gate`, which must be without policies yet; `dice` is for the jitter of retries.
    #[must_use]
    pub fn new(
        gate: Gate,
        runtime: &Arc<Runtime>,
        options: Options,
        dice: fastrand::Rng,
        now: Timestamp,
    ) -> Self {
        let mut planner = Self {
            gate,
            runtime: Arc::clone(runtime),
            options,
            dice,
            lanes: Lanes::default(),
            groups: Groups::default(),
            turns: Turns::default(),
            shares: Shares::new(options.max_inflight),
            ahead: Ahead::new(options.read_ahead_bytes),
            timers: BTreeSet::new(),
            flights: HashMap::new(),
            purges: Purges::default(),
            next_ticket: 0,
            stale_below: 0,
            stale_permits: 0,
            draining: false,
            is_time_trusted: true,
            stepped_at: now,
        };
        for policy in runtime.policies() {
            planner.gate.set(&policy.id, Rules::from(policy), now);
        }
        planner
    }

    /// Takes in what happened at `now` and appends what is to be done. `now` never decreases.
    pub fn step(&mut self, input: Input, now: Timestamp, effects: &mut Vec<Effect>) {
        defect!(unless self.stepped_at <= now, "a step that lies before the one before");
        self.stepped_at = now;
        match input {
            Input::Policies(runtime) => self.rule(runtime, now, effects),
            Input::LaneReady(key) => self.announce(key, now, effects),
            Input::PutOff(key, due_at) => self.put_off(key, due_at, now, effects),
            Input::GivenUp(key, entries) => self.let_go(&key, &entries, now, effects),
            Input::ReadAgain => self.read_again(now, effects),
            Input::Loaded(key, loaded) => self.take_in(&key, loaded, now, effects),
            Input::LoadFailed(key) => self.load_failed(&key, now, effects),
            Input::Finished { ticket, outcome, took } => {
                self.finish(ticket, &outcome, took, now, effects);
            }
            Input::UsageStated(stated) => self.usage_stated(&stated, now, effects),
            Input::Recorded { reservations, is_recorded } => self.recorded(&reservations, is_recorded, now),
            Input::TimeTrusted(leap) => self.trust(&leap, now, effects),
            Input::Tick => {}
            Input::Drain => self.draining = true,
        }
        if !self.draining && !self.options.held {
            self.turns.wake(now);
            self.fire_timers(now, effects);
            self.serve(now, effects);
            self.read_on(now, effects);
            self.gate.forget_idle(now);
        }
        let reservations = self.gate.take_reservations();
        if !reservations.is_empty() && !self.options.held {
            effects.push(Effect::Record(reservations));
        }
    }

    /// When [`Planner::step`] is to be called although nothing happened: [`Timestamp::ZERO`] for at once,
    /// `None` for never.
    #[must_use]
    pub fn next_wake(&self) -> Option<Timestamp> {
        if self.draining || self.options.held {
            return None;
        }
        let may_start = !self.shares.is_full() && self.turns.has_next();
        if may_start || self.shares.next().is_some() || self.ahead.has_next() {
            return Some(Timestamp::ZERO);
        }
        let timer = self.timers.first().map(|(at, _)| *at);
        self.turns.next_wake().into_iter().chain(timer).chain(self.gate.next_idle()).min()
    }

    /// Calls that have a permit.
    #[must_use]
    pub fn inflight(&self) -> usize {
        self.flights.len()
    }

    /// Whether nothing is in flight, loaded, or being loaded.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.flights.is_empty() && self.ahead.is_empty()
    }

    /// Whether the store is held as a whole.
    #[must_use]
    pub const fn is_held(&self) -> bool {
        self.options.held
    }

    /// The limiters.
    pub fn gate(&mut self) -> &mut Gate {
        &mut self.gate
    }

    /// What is going on.
    #[must_use]
    pub fn figures(&self, now: Timestamp) -> Figures {
        let mut calls: BTreeMap<String, u64> = BTreeMap::new();
        for lane in self.lanes.iter().filter(|lane| lane.inflight > 0) {
            for policy in policy_names(&lane.lane) {
                *calls.entry(policy.to_owned()).or_default() += lane.inflight as u64;
            }
        }
        Figures {
            now,
            inflight: self.flights.len(),
            lanes: self.lanes.len(),
            read_ahead: self.lanes.iter().map(|lane| lane.buffer.len()).sum(),
            stale_permits: self.stale_permits,
            calls,
            violations: self.gate.violations().clone(),
            worked: Vec::new(),
            looks: Looks::default(),
            spent_until: self.gate.spent_until(now),
            held: self.lanes.iter().filter_map(|lane| Some((lane.lane.clone(), lane.hold(now)?))).collect(),
            cautious: self
                .lanes
                .iter()
                .filter(|lane| lane.holds.is_cautious())
                .map(|lane| lane.lane.key().clone())
                .collect(),
        }
    }

    /// What limits did since the process began.
    pub fn worked(&mut self, now: Timestamp) -> Vec<(PolicyId, Worked)> {
        let (turns, groups, lanes) = (&self.turns, &self.groups, &self.lanes);
        let is_ready = |lane| lanes.get(lane).is_some_and(|lane| !lane.buffer.is_empty());
        self.gate.worked(now, |limiter| {
            turns.waiting_for(limiter).any(|group| groups.ready_lanes(group).any(is_ready))
        })
    }

    fn rule(&mut self, runtime: Arc<Runtime>, now: Timestamp, effects: &mut Vec<Effect>) {
        for change in runtime.diff(&self.runtime) {
            match change {
                PolicyChange::Set(id) => {
                    if let Some(policy) = runtime.get(&id) {
                        self.gate.set(&id, Rules::from(policy), now);
                    }
                }
                PolicyChange::Removed(id) => self.gate.remove(&id),
            }
        }
        self.runtime = runtime;
        let certain = self.certain(now);
        // What limiters said before may no longer hold.
        self.turns.dissolve();
        self.groups.forget_homes();
        for id in self.lanes.ids() {
            if let Some(lane) = self.lanes.get_mut(id) {
                let binding = self.gate.bind(&lane.lane, now);
                self.gate.owe(&binding, lane.promises);
                let before = std::mem::replace(&mut lane.binding, binding);
                self.gate.redeem(&before, lane.promises);
                self.gate.unbind(&before);
                lane.rule(&self.runtime, certain);
            }
            self.tend(id, now, effects);
        }
    }

    fn usage_stated(&mut self, stated: &UsageToState, now: Timestamp, effects: &mut Vec<Effect>) {
        self.gate.state_usage(stated, now);
        // What limiters said before no longer holds.
        self.turns.dissolve();
        for id in self.lanes.ids() {
            self.tend(id, now, effects);
        }
    }

    fn recorded(&mut self, reservations: &[Reservation], is_recorded: bool, now: Timestamp) {
        for reservation in reservations {
            for limiter in self.gate.confirmed(reservation, is_recorded, now) {
                self.turns.released(limiter);
            }
        }
    }

    pub(super) fn add(&mut self, key: LaneKey, lane: Lane, now: Timestamp) -> LaneId {
        let Ruled { fate, timeout, paused } = Ruled::by(&lane, &self.runtime, self.certain(now));
        let mut holds = Holds::default();
        holds.doubt(fate == Fate::Unknown);
        holds.pause(paused);
        let binding = self.gate.bind(&lane, now);
        let group = self.groups.admit(&key);
        let state = LaneState {
            lane,
            binding,
            fate,
            timeout,
            place: Place::Out,
            group,
            rank: None,
            inflight: 0,
            share: Share::default(),
            keeps_turn: false,
            holds,
            promises: 0,
            purge: None,
            window: Window::new(),
            unread: UnreadTime::default(),
            watch: Watch::default(),
            buffer: Buffer::default(),
            dues: Dues::default(),
            armed: None,
            expiry_check: None,
        };
        self.lanes.insert(key, state)
    }

    fn take_in(&mut self, key: &LaneKey, loaded: Loaded, now: Timestamp, effects: &mut Vec<Effect>) {
        let certain = self.certain(now);
        let Some(id) = self.lanes.find(key) else { return };
        let Some(lane) = self.lanes.get_mut(id) else { return };
        self.ahead.ended(&lane.window);
        let starved = lane.buffer.is_empty();
        lane.window.loaded(loaded.entries.len(), loaded.more, starved);
        lane.unread.came(now);
        lane.dues.loaded(&loaded.entries, loaded.next_due, lane.purge.is_some(), now);
        let before = (lane.buffer.len(), lane.buffer.bytes());
        for entry in loaded.entries {
            lane.buffer.push(Box::new(entry));
        }
        lane.plan_expiry(certain, false);
        self.ahead.took(lane.buffer.len() - before.0, lane.buffer.bytes() - before.1);
        self.drop_purged(id, effects);
        self.tend(id, now, effects);
        self.end_purge(id);
        self.tend(id, now, effects);
    }

    fn load_failed(&mut self, key: &LaneKey, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(id) = self.lanes.find(key) else { return };
        if let Some(lane) = self.lanes.get_mut(id) {
            self.ahead.ended(&lane.window);
            lane.window.failed(now);
            lane.unread.failed(now);
        }
        self.tend(id, now, effects);
    }

    fn fire_timers(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        while effects.len() < EFFECTS_PER_STEP {
            let Some((at, id)) = self.timers.first().copied().filter(|(at, _)| *at <= now) else { return };
            self.timers.remove(&(at, id));
            let Some(lane) = self.lanes.get_mut(id) else { continue };
            lane.armed = None;
            if lane.expiry_check.is_some_and(|at| at <= now) {
                let before = (lane.buffer.len(), lane.buffer.bytes());
                let (name, doubt) = (&lane.lane, lane.doubt());
                let promised = lane.buffer.take_if(
                    |entry| entry.event.expires_at <= now,
                    |entry| {
                        let how = doubt.expiry(&entry);
                        effects.push(settled(entry, name.clone(), how));
                    },
                );
                self.ahead.gave(before.0 - lane.buffer.len(), before.1 - lane.buffer.bytes());
                lane.plan_expiry(Some(now), true);
                self.redeem(id, promised);
            }
            self.tend(id, now, effects);
        }
    }

    /// Looks after a lane to which something happened: drops what is over, puts it in line, has it read on,
    /// sets its timer, forgets it.
    pub(super) fn tend(&mut self, id: LaneId, now: Timestamp, effects: &mut Vec<Effect>) {
        let certain = self.certain(now);
        let Some(lane) = self.lanes.get_mut(id) else { return };
        if matches!(lane.fate, Fate::Draining(until) if certain.is_some_and(|now| until <= now)) {
            lane.fate = Fate::Over;
        }
        if lane.fate == Fate::Over && !lane.buffer.is_empty() {
            self.ahead.gave(lane.buffer.len(), lane.buffer.bytes());
            let name = &lane.lane;
            let promised = lane
                .buffer
                .take_if(|_| true, |entry| effects.push(settled(entry, name.clone(), Settlement::Drained)));
            self.redeem(id, promised);
        }
        let too_many = self.lanes.are_too_many();
        let Some(lane) = self.lanes.get_mut(id) else { return };
        self.ahead.count(&mut lane.window, !lane.buffer.is_empty());
        if self.ahead.grants(&lane.window, lane.held(now), now) > 0 {
            self.ahead.enqueue(id, &mut lane.window);
        }
        let may_go = lane.has_work(now) && lane.holds.allow(lane.inflight, now);
        if lane.place == Place::InLine || lane.place == Place::Out && may_go {
            let joins = if std::mem::take(&mut lane.keeps_turn) { Joins::First } else { Joins::Last };
            self.line_up(id, joins, now);
        }
        let Some(lane) = self.lanes.get_mut(id) else { return };
        self.shares.count(&mut lane.share, lane.place != Place::Out || lane.inflight > 0);
        let timer = lane.timer(now);
        let idle = lane.is_idle(too_many, now);
        if lane.armed != timer || idle {
            if let Some(at) = lane.armed.take() {
                self.timers.remove(&(at, id));
            }
            if let Some(at) = timer.filter(|_| !idle) {
                lane.armed = Some(at);
                self.timers.insert((at, id));
            }
        }
        self.forget_if_idle(id, now);
    }

    /// Lets go of a lane that has nothing to do.
    pub(super) fn forget_if_idle(&mut self, id: LaneId, now: Timestamp) {
        let too_many = self.lanes.are_too_many();
        if self.lanes.get(id).is_some_and(|lane| lane.is_idle(too_many, now))
            && let Some(lane) = self.lanes.remove(id)
        {
            self.groups.dismiss(lane.group, lane.lane.key());
            self.gate.unbind(&lane.binding);
        }
    }

    fn read_on(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        while let Some(id) = self.ahead.next() {
            let Some(lane) = self.lanes.get_mut(id) else { continue };
            let held = lane.held(now);
            if let Some(limit) = self.ahead.page(&mut lane.window, held, now) {
                let all_due = lane.purge.is_some();
                lane.dues.asked();
                effects.push(Effect::Load { lane: lane.lane.key().clone(), limit, all_due });
            }
            self.tend(id, now, effects);
        }
    }
}

pub(super) fn settled(entry: Box<Entry>, lane: Lane, settlement: Settlement) -> Effect {
    Effect::Settle(Settled { entry, lane, settlement, attempt: None })
}
