//! The lanes that are present, each bound to its limits, in its place in the order, with its part of the read-ahead and
//! with its timer. [`Roster::tend`] brings all of that up to date after something happened to a lane, and lets go of
//! lanes that have nothing to do.
//!
//! Must not know: calls under way, purges, what policies say.

use crate::clock::{Leap, Timestamp};
use crate::dispatch::ahead::Ahead;
use crate::dispatch::input::{Effect, PlannerOptions, SettledEntry};
use crate::dispatch::lanes::{DispatchLane, LaneId, Lanes, TurnPlace};
use crate::dispatch::mix::DueShare;
use crate::dispatch::planner::EFFECTS_PER_STEP;
use crate::dispatch::planner::order::{Joins, Order};
use crate::dispatch::planner::timers::Timers;
use crate::dispatch::ruled::{Fate, LanePolicies};
use crate::event::{Entry, Lane, PolicyId, Settlement};
use crate::limit::Gate;
use crate::queue::PageMix;
use crate::telemetry::defect;

/// The lanes that are present. See the head of this file.
pub(in crate::dispatch) struct Roster {
    gate: Gate,
    lanes: Lanes,
    order: Order,
    ahead: Ahead,
    timers: Timers,
    due_share: DueShare,
    is_time_trusted: bool,
}

/// One lane with all that a start of its calls concerns.
pub(super) struct Spot<'r> {
    pub(super) lane: &'r mut DispatchLane,
    pub(super) gate: &'r mut Gate,
    pub(super) order: &'r mut Order,
    pub(super) ahead: &'r mut Ahead,
}

impl Roster {
    /// Without lanes, which keep to these bounds together.
    pub(super) fn new(gate: Gate, options: &PlannerOptions) -> Self {
        Self {
            gate,
            lanes: Lanes::default(),
            order: Order::new(options.max_inflight, options.due_share),
            ahead: Ahead::new(options.read_ahead_bytes),
            timers: Timers::default(),
            due_share: options.due_share,
            is_time_trusted: true,
        }
    }

    /// The gate with the limits of all lanes.
    pub(super) fn gate(&mut self) -> &mut Gate {
        &mut self.gate
    }

    pub(super) fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    pub(super) fn lane_mut(&mut self, id: LaneId) -> Option<&mut DispatchLane> {
        self.lanes.get_mut(id)
    }

    pub(super) fn order(&mut self) -> &mut Order {
        &mut self.order
    }

    /// Whether no lane may start anything, because all slots are in use.
    pub(super) fn is_full(&self) -> bool {
        self.order.shares.is_full()
    }

    /// Whether nothing is read ahead, being read, or waits for that.
    pub(super) fn has_read_nothing(&self) -> bool {
        self.ahead.is_empty()
    }

    /// Entries that are read ahead and not started.
    pub(super) fn read_ahead(&self) -> usize {
        self.ahead.loaded()
    }

    /// A lane with what a start of its calls concerns.
    pub(super) fn spot(&mut self, id: LaneId) -> Option<Spot<'_>> {
        let Self { gate, lanes, order, ahead, .. } = self;
        Some(Spot { lane: lanes.get_mut(id)?, gate, order, ahead })
    }

    /// The lanes and their limits, for a walk over some of them.
    pub(super) fn walk(&mut self) -> (&mut Lanes, &mut Gate, &Order) {
        (&mut self.lanes, &mut self.gate, &self.order)
    }

    /// From now on time is in doubt.
    pub(super) fn doubt_time(&mut self) {
        self.is_time_trusted = false;
    }

    pub(super) fn is_time_trusted(&self) -> bool {
        self.is_time_trusted
    }

    /// The doubt about time has ended with a leap of the line to `now`.
    pub(super) fn trust_time(&mut self, leap: &Leap, now: Timestamp) {
        self.is_time_trusted = true;
        self.gate.leap(leap, now);
    }

    /// The time by which things end: none while it is in doubt.
    pub(super) fn certain(&self, now: Timestamp) -> Option<Timestamp> {
        self.is_time_trusted.then_some(now)
    }

    /// A lane comes: it is bound to its limits and joins its group.
    pub(super) fn add(&mut self, lane: Lane, ruled: LanePolicies, now: Timestamp) -> LaneId {
        defect!(unless self.lanes.find(lane.key()).is_none(), "a lane that comes although it is there");
        let binding = self.gate.bind(&lane, now);
        let group = self.order.groups.admit(lane.key());
        self.lanes.insert(DispatchLane::new(lane, binding, ruled, group, self.due_share))
    }

    /// Resolves the limits of a lane anew, which policies may have changed.
    pub(super) fn rebind(&mut self, id: LaneId, now: Timestamp) {
        let Some(lane) = self.lanes.get_mut(id) else { return };
        // Bound anew before it is unbound: a limiter that stays must not be forgotten between the two, nor what it has
        // promised.
        let binding = self.gate.bind(&lane.lane, now);
        self.gate.owe(&binding, lane.promises);
        let before = std::mem::replace(&mut lane.binding, binding);
        self.gate.redeem(&before, lane.promises);
        self.gate.unbind(&before);
        self.order.groups.keep_home_if(lane.group, |home| lane.binding.limiters().contains(&home));
    }

    /// Applies to a lane what policies say.
    pub(super) fn rule(&mut self, id: LaneId, ruled: impl FnOnce(&Lane) -> LanePolicies) {
        let Some(lane) = self.lanes.get_mut(id) else { return };
        let ruled = ruled(&lane.lane);
        lane.rule(&ruled);
    }

    /// What the limiters of all policies said before no longer holds: the groups that wait for one are asked again.
    pub(super) fn ask_all_again(&mut self) {
        self.order.turns.dissolve_all();
        self.order.groups.forget_homes();
    }

    /// What the limiters of a policy said before no longer holds: the groups that wait for one of them are asked again.
    pub(super) fn ask_again(&mut self, policy: &PolicyId) {
        self.order.turns.dissolve(self.gate.limiters_of(policy));
    }

    /// This many calls of a lane have started, or have come to nothing: as many of its promises are kept.
    pub(super) fn redeem(&mut self, id: LaneId, count: usize) {
        if let Some(lane) = self.lanes.get_mut(id).filter(|lane| lane.promises > 0 && count > 0) {
            // More entries may look promised than were: any that was never tried nor put off does.
            let kept = lane.promises.min(u32::try_from(count).unwrap_or(u32::MAX));
            lane.promises -= kept;
            self.gate.redeem(&lane.binding, kept);
        }
    }

    /// Drops what a lane has read ahead and is `over`, and says how each entry ends; returns how many those are.
    pub(super) fn drop_if(
        &mut self,
        id: LaneId,
        over: impl Fn(&Entry) -> bool,
        how: impl Fn(&Entry) -> Settlement,
        effects: &mut Vec<Effect>,
    ) -> usize {
        self.take_if(id, over, |lane, entry| {
            let settlement = how(&entry);
            effects.push(settled(entry, lane.clone(), settlement));
        })
    }

    /// Takes out what a lane has read ahead and is `meant`; returns how many entries those are.
    pub(super) fn take_if(
        &mut self,
        id: LaneId,
        meant: impl Fn(&Entry) -> bool,
        mut out: impl FnMut(&Lane, Box<Entry>),
    ) -> usize {
        let Some(lane) = self.lanes.get_mut(id) else { return 0 };
        let before = (lane.buffer.len(), lane.buffer.bytes());
        let name = &lane.lane;
        let promised = lane.buffer.take_if(meant, |entry| out(name, entry));
        let dropped = before.0 - lane.buffer.len();
        self.ahead.gave(dropped, before.1 - lane.buffer.bytes());
        self.redeem(id, promised);
        dropped
    }

    /// Looks after the lanes whose timers have come.
    pub(super) fn fire_timers(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        while effects.len() < EFFECTS_PER_STEP {
            let Some(id) = self.timers.pop(now) else { return };
            let Some(lane) = self.lanes.get_mut(id) else { continue };
            lane.armed = None;
            if lane.expiry_check.is_some_and(|at| at <= now) {
                let doubt = lane.doubt();
                self.drop_if(id, |entry| entry.event.expires_at <= now, |entry| doubt.expiry(entry), effects);
                if let Some(lane) = self.lanes.get_mut(id) {
                    lane.plan_expiry(Some(now), true);
                }
            }
            self.tend(id, now, effects);
        }
    }

    /// Has pages read for the lanes that are next to get one.
    pub(super) fn read_on(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        while let Some(id) = self.ahead.next() {
            let Some(lane) = self.lanes.get_mut(id) else { continue };
            let held = lane.held(now);
            if let Some(limit) = self.ahead.page(&mut lane.window, held, now) {
                let mix = if lane.purge.is_some() {
                    lane.window.asks_for_all_due();
                    PageMix::AllPutOff
                } else {
                    lane.window.mix(held, limit.entries)
                };
                lane.dues.asked();
                effects.push(Effect::Load { lane: lane.lane.key().clone(), limit, mix });
            }
            self.tend(id, now, effects);
        }
    }

    /// When something is to be done although nothing happens: [`Timestamp::ZERO`] for at once, `None` for never.
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        if self.order.has_next() || self.ahead.has_next() {
            return Some(Timestamp::ZERO);
        }
        let timer = self.timers.first();
        self.order.turns.next_wake().into_iter().chain(timer).chain(self.gate.next_idle()).min()
    }

    /// Looks after a lane to which something happened: drops what is over, puts it in line, has it read on,
    /// sets its timer, forgets it.
    pub(super) fn tend(&mut self, id: LaneId, now: Timestamp, effects: &mut Vec<Effect>) {
        let certain = self.certain(now);
        let Some(lane) = self.lanes.get_mut(id) else { return };
        // By the certain time: in doubt no drain is over.
        if matches!(lane.fate, Fate::Draining(until) if certain.is_some_and(|now| until <= now)) {
            lane.fate = Fate::Over;
        }
        if lane.fate == Fate::Over && !lane.buffer.is_empty() {
            self.drop_if(id, |_| true, |_| Settlement::Drained, effects);
        }
        let too_many = self.lanes.are_too_many();
        let Some(lane) = self.lanes.get_mut(id) else { return };
        self.ahead.count(&mut lane.window, !lane.buffer.is_empty());
        if self.ahead.grants(&lane.window, lane.held(now), now) > 0 {
            self.ahead.enqueue(id, &mut lane.window);
        }
        lane.slowdown.take_if(|slowdown| slowdown.over_at() <= now);
        let may_go = lane.has_work(now) && lane.may_start(now);
        // One that is in line stays there also while it is held: `ask` finds that out, and its rank has to be right
        // until then.
        if lane.place == TurnPlace::InLine || lane.place == TurnPlace::Out && may_go {
            let joins = if std::mem::take(&mut lane.keeps_turn) { Joins::First } else { Joins::Last };
            self.order.line_up(id, lane, joins, now);
        }
        // Lanes that wait and lanes that send share the slots; idle ones must not make the shares smaller.
        self.order.shares.count(&mut lane.share, lane.place != TurnPlace::Out || lane.inflight > 0);
        let timer = lane.timer(now);
        let idle = lane.is_idle(too_many, now);
        // Most rounds change no timer, and each change costs two steps in a tree.
        if lane.armed != timer || idle {
            self.timers.set(id, &mut lane.armed, timer.filter(|_| !idle));
        }
        self.let_go_if_idle(id, now);
    }

    /// The siblings of a lane learn something that concerns their endpoint, and are looked after.
    pub(super) fn tell_siblings(
        &mut self,
        id: LaneId,
        now: Timestamp,
        effects: &mut Vec<Effect>,
        told: impl Fn(&mut DispatchLane),
    ) {
        let Some(siblings) = self.lanes.get(id).map(|lane| lane.siblings) else { return };
        for sibling in siblings.ids() {
            if let Some(lane) = self.lanes.get_mut(sibling) {
                told(lane);
                self.tend(sibling, now, effects);
            }
        }
    }

    /// Lets go of a lane that has nothing to do, perhaps later: one that nothing has happened to yet has no timer, and may
    /// be held as its siblings are.
    pub(super) fn forget_if_idle(&mut self, id: LaneId, now: Timestamp) {
        let too_many = self.lanes.are_too_many();
        if let Some(lane) = self.lanes.get_mut(id)
            && lane.armed.is_none()
            && !lane.is_idle(too_many, now)
        {
            let at = lane.timer(now);
            self.timers.set(id, &mut lane.armed, at);
        }
        self.let_go_if_idle(id, now);
    }

    fn let_go_if_idle(&mut self, id: LaneId, now: Timestamp) {
        let too_many = self.lanes.are_too_many();
        if self.lanes.get(id).is_some_and(|lane| lane.is_idle(too_many, now))
            && let Some(mut lane) = self.lanes.remove(id)
        {
            // Its number is used again.
            self.timers.set(id, &mut lane.armed, None);
            self.order.groups.dismiss(lane.group, lane.lane.key());
            self.gate.unbind(&lane.binding);
        }
    }
}

/// For tests that stage what the planner would meet after a long time.
#[cfg(test)]
impl Roster {
    pub(in crate::dispatch) fn order_mut(&mut self) -> &mut Order {
        &mut self.order
    }

    pub(in crate::dispatch) fn present(&self) -> &Lanes {
        &self.lanes
    }
}

pub(super) fn settled(entry: Box<Entry>, lane: Lane, settlement: Settlement) -> Effect {
    Effect::Settle(SettledEntry { entry, lane, settlement, attempt: None, limited: None })
}
