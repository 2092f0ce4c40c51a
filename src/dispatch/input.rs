//! What the planner takes in and what it asks for.
//!
//! Must not know: how either comes about.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Leap, Timestamp};
use crate::delivery::CallOptions;
use crate::dispatch::follows::AttemptFacts;
use crate::dispatch::hold::{BreakerPolicy, Hold};
use crate::dispatch::mix::DueShare;
use crate::dispatch::planner::looks::Looks;
use crate::dispatch::retry::RetryPolicy;
use crate::dispatch::slowdown::SlowRate;
use crate::dispatch::stops::Stops;
use crate::event::{Cause, Entry, EventId, Lane, LaneKey, Limited, Outcome, PolicyId, Settlement};
use crate::limit::{LimitKind, Reservation, UsageToState, Worked};
use crate::policy::Runtime;
use crate::queue::{LaneSignal, LoadedPage, PageMix};
use crate::store::ReadLimit;
use crate::telemetry::LaneSeries;

/// Names one attempt that has its permit; never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(pub(super) u64);

/// Something that happened, which the planner is to take in.
#[derive(Debug)]
pub(crate) enum Input {
    /// Policies were deployed, changed, undeployed or dropped.
    Policies(Arc<Runtime>),
    /// These emergency stops are in force from now on.
    Stops(Arc<Stops>),
    /// A lane has new entries, which it has not read yet.
    LaneReady(LaneKey),
    /// An entry of a lane was put off until then, earlier than all others that wait for their due time.
    PutOff(LaneKey, Timestamp),
    /// These entries of a lane are no longer owed: an operator gave them up.
    GivenUp(LaneKey, HashSet<EventId>),
    /// Lanes whose page could not be read are to be tried again now.
    ReadAgain,
    /// A page that an [`Effect::Load`] asked for.
    Loaded(LaneKey, LoadedPage),
    /// The page could not be read.
    LoadFailed(LaneKey),
    /// An attempt has ended, whatever came of it.
    Finished {
        /// The attempt that has ended, by its name.
        ticket: Ticket,
        /// What the delivery reported of it.
        outcome: Outcome,
        /// From its start to its end.
        took: Duration,
    },
    /// What an [`Effect::Record`] asked for is on record, or could not be put there.
    Recorded {
        /// The reservations, as they were asked for.
        reservations: Vec<Reservation>,
        /// Whether all of them are on record; else none counts as recorded.
        is_recorded: bool,
    },
    /// The doubt about time has ended, with a leap of the line.
    TimeTrusted(Leap),
    /// What an operator states that is used of a limit is on record.
    UsageStated(UsageToState),
    /// Time has passed; what is to be done is due by now.
    Tick,
    /// Start no further calls from now on.
    Drain,
}

impl From<LaneSignal> for Input {
    fn from(signal: LaneSignal) -> Self {
        match signal {
            LaneSignal::Ready(lane) => Self::LaneReady(lane),
            LaneSignal::PutOff(lane, due_at) => Self::PutOff(lane, due_at),
            LaneSignal::GivenUp(lane, entries) => Self::GivenUp(lane, entries),
            LaneSignal::ReadAgain => Self::ReadAgain,
        }
    }
}

/// Something to be done, in the order given.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Read a page and answer with [`Input::Loaded`] or [`Input::LoadFailed`].
    Load {
        /// The lane that is to be read.
        lane: LaneKey,
        /// The most entries and bytes of the page.
        limit: ReadLimit,
        /// How many of them may be due ones, and how many may be others.
        mix: PageMix,
    },
    /// Put this on record and answer with [`Input::Recorded`]: limits wait for it.
    Record(Vec<Reservation>),
    /// A permit is there: call [`Planner::confirm`](super::planner::Planner::confirm) at once and, if it agrees, make
    /// the call and answer with [`Input::Finished`].
    Send {
        /// The attempt that is to be confirmed.
        ticket: Ticket,
    },
    /// Record what becomes of an entry.
    Settle(SettledEntry),
}

/// The planner is done with an entry for now.
#[derive(Debug)]
pub(crate) struct SettledEntry {
    /// The entry, as the queue handed it out.
    pub entry: Box<Entry>,
    /// Where it stands: the policies that govern it and their label values.
    pub lane: Lane,
    /// What becomes of the entry, on record from now on.
    pub settlement: Settlement,
    /// The attempt that led to it, if one did.
    pub attempt: Option<AttemptReport>,
    /// The limit that turned it away, if one did.
    pub limited: Option<Limited>,
}

/// How an attempt went, for the metrics.
#[derive(Debug, Clone)]
pub(crate) struct AttemptReport {
    /// Why it failed; `None` when it succeeded. What the rules for its endpoint make of it does not change that.
    pub cause: Option<Cause>,
    /// The request was sent, at least in part, and no answer says whether the endpoint has acted on it.
    pub is_ambiguous: bool,
    /// From its start to the end of the answer, or to its failure.
    pub took: Duration,
    /// The series of its lane, in which it counts.
    pub series: LaneSeries,
    /// Whether its endpoint asked to be left alone for longer than the event lives, which was cut.
    pub asks_too_much: bool,
    /// What it came to, for those who ask later.
    pub facts: AttemptFacts,
    /// Whether the rate of its lane was halved for it.
    pub is_halved: bool,
}

/// What a call needs before it may be confirmed, beside its permit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TokenNeed {
    /// Its permit is enough.
    Nothing,
    /// A token for the endpoint that is called like this.
    Token(Arc<CallOptions>),
    /// The token for which its lane waits; it is looked again after this time.
    Waited(Duration),
}

/// A confirmed start: the call is to be made at once.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    /// The event to send, with the attempts made before this one. Its headers and its body may be taken: what follows
    /// the attempt needs neither.
    pub entry: &'a mut Entry,
    /// The lane that gave the event.
    pub lane: &'a Lane,
    /// The series of its lane, in which it counts.
    pub series: LaneSeries,
    /// The longest that the attempt may take; `None` means the configured default.
    pub timeout: Option<Duration>,
    /// How the call is made where rules are set for its endpoint.
    pub options: Option<Arc<CallOptions>>,
    /// In how many ends of a process in a row its call was under way, or may have been.
    pub ends: u8,
    /// How long it waited since it might go.
    pub waited: Duration,
}

/// The bounds within which the planner works.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlannerOptions {
    /// How failed attempts are repeated, and how often.
    pub retry: RetryPolicy,
    /// How far due entries of a lane go ahead of those that were never tried.
    pub due_share: DueShare,
    /// When lanes whose endpoint fails are held.
    pub breaker: BreakerPolicy,
    /// Whether lanes whose endpoint answers 429 or 503 are slowed down.
    pub adaptive_rate: bool,
    /// Most calls in flight over all lanes, where a call counts one more for each full 32 KiB of its body. A lane has
    /// more than its share of them only while less than half of them is in use.
    pub max_inflight: usize,
    /// Most starts per step: few enough that the permits of one step are still fresh when they are used.
    pub sends_per_step: usize,
    /// Bytes of events that all lanes together read ahead.
    pub read_ahead_bytes: usize,
    /// The store is held as a whole: nothing is read, sent, expired or dropped.
    pub held: bool,
}

impl Default for PlannerOptions {
    fn default() -> Self {
        Self {
            retry: RetryPolicy::default(),
            due_share: DueShare::HALF,
            breaker: BreakerPolicy::default(),
            adaptive_rate: true,
            max_inflight: 8192,
            sends_per_step: 64,
            read_ahead_bytes: 64 << 20,
            held: false,
        }
    }
}

/// What is going on at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct PlannerFigures {
    /// The moment at which the figures were begun.
    pub now: Timestamp,
    /// Lanes that hold entries or wait for some.
    pub lanes: usize,
    /// Entries read ahead and not started.
    pub read_ahead: usize,
    /// Starts that were put back because their permit had become stale, since the start of the process.
    pub stale_permits: u64,
    /// Calls in flight per policy label.
    pub calls: std::collections::BTreeMap<String, u64>,
    /// Starts beyond a limit since the process began, by policy and kind of limit: any is a defect.
    pub violations: std::collections::BTreeMap<(PolicyId, LimitKind), u64>,
    /// What limits did since the process began, by policy: see [`Gate::worked`](crate::limit::Gate::worked).
    pub worked: Vec<(PolicyId, Worked)>,
    /// What is wrong with lanes, or soon will be.
    pub looks: Looks,
    /// Until when limits count as spent because what was consumed under them is not known.
    pub spent_until: Option<Timestamp>,
    /// How many emergency stops are in force, by what they stop.
    pub stops: [(&'static str, u64); 3],
    /// Lanes that may not send although their limits have room.
    pub held: Vec<(Lane, Hold)>,
    /// Lanes whose endpoint has failed and is tried with few calls at a time.
    pub cautious: Vec<LaneKey>,
    /// Lanes that start less than their limits allow.
    pub slowed: Vec<(Lane, SlowRate)>,
}
