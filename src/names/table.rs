//! What is known about names and what is being asked: the cache, the joining of questions and their bounds. Pure: time is
//! an argument, and the owner of the table asks the questions that it hands out.
//!
//! A name is asked once however many want it. At most `max_questions` names are asked at the same time, further ones wait
//! in line, at most `max_waiting` of them. Names that resolved the last time go first; new names have at most three
//! quarters of the places, names that did not resolve the last time at most half of them: a zone that does not answer
//! leaves room for names that resolve, and so does a flood of new names.
//!
//! Must not know: sockets, files, clocks.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::Shared;
use tokio::sync::oneshot;

use crate::clock::Timestamp;
use crate::event::NameFailure;
use crate::telemetry::defect;

/// What a name leads to: at least one address, in the order in which they are to be tried.
pub(super) type NameAnswer = Result<Arc<[IpAddr]>, NameFailure>;

/// Completes with the answer to a question that is waiting or under way.
pub(super) type Waiter = Shared<oneshot::Receiver<NameAnswer>>;

/// The least time that an answer is kept, whatever its TTL: a name is asked at most once a second.
const KEPT_MIN: Duration = Duration::from_secs(1);
/// The longest that the absence of a name or of its addresses is kept.
const ABSENCE_MAX: Duration = Duration::from_secs(30);
/// How long the absence is kept when the answer does not say.
const ABSENCE_DEFAULT: Duration = Duration::from_secs(5);
/// How long it is kept that a name server failed or did not answer: calls for the name fail at once meanwhile, instead
/// of each waiting for a server that is silent.
const FAILURE_KEPT: Duration = Duration::from_secs(2);

/// How much the table holds at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct TableBounds {
    /// Names asked at the same time.
    pub(super) max_questions: usize,
    /// Names in line behind those that are asked.
    pub(super) max_waiting: usize,
    /// Names in all; more than the two above together.
    pub(super) max_names: usize,
    /// The longest that a name waits in line.
    pub(super) max_wait: Duration,
    /// The longest that addresses are kept, whatever their TTL.
    pub(super) max_ttl: Duration,
}

/// What a look into the table gives.
pub(super) enum LookupStep {
    /// The table has an answer whose time has not run out.
    Known(NameAnswer),
    /// It is asked or in line already: the answer to that question serves here too.
    Joined(Waiter),
    /// It stands in line now, and is asked in its turn.
    Asked(Waiter),
    /// The line is full: the name is neither asked nor remembered.
    Full,
}

/// A question to ask now. It has to be [settled](NameTable::settle).
pub(super) struct Question {
    /// The name to ask for, as an application gives it.
    pub(super) name: Arc<str>,
    /// Answers all who wait for this name at once.
    tell: oneshot::Sender<NameAnswer>,
    /// [`NameTable::epoch`] at the time when the question began.
    epoch: u64,
    /// Whose place the question takes until it is settled.
    rank: NameRank,
}

/// What the last answer about a name makes of it; the first goes first.
#[derive(Debug, Clone, Copy)]
enum NameRank {
    /// The name resolved the last time.
    Resolved,
    /// Nothing is known of the name.
    New,
    /// The name did not resolve the last time.
    Failed,
}

enum NameState {
    Known { answer: NameAnswer, until: Timestamp },
    InLine { tell: oneshot::Sender<NameAnswer>, waiter: Waiter, since: Timestamp },
    UnderWay { waiter: Waiter },
}

/// The names of one rank that wait or are asked.
#[derive(Default)]
struct RankLine {
    /// Most questions under way of this rank and the worse ones together.
    rank_places: usize,
    /// The line, the name that waits longest in front.
    waiting: VecDeque<Arc<str>>,
    /// Questions of this rank that were handed out and are not settled.
    under_way: usize,
}

/// All names that are known, in line or under way. Never asks by itself: its owner asks the questions that it hands
/// out, and settles each of them.
pub(super) struct NameTable {
    bounds: TableBounds,
    names: HashMap<Arc<str>, NameState>,
    /// Names that wait for a place, the rank that goes first in front.
    lines: [RankLine; 3],
    /// Counts [`NameTable::forget`]: the answer to an older question is not kept.
    epoch: u64,
}

impl NameTable {
    pub(super) fn new(bounds: TableBounds) -> Self {
        defect!(
            unless bounds.max_questions + bounds.max_waiting < bounds.max_names,
            "a table of names that questions alone can fill"
        );
        let all = bounds.max_questions;
        // At least one place for each rank.
        let places = [all, all - all / 4, all.div_ceil(2)];
        let lines = places.map(|rank_places| RankLine { rank_places, ..RankLine::default() });
        Self { bounds, names: HashMap::new(), lines, epoch: 0 }
    }

    /// Looks a name up. After [`LookupStep::Asked`] there may be a [question](NameTable::next_question) to ask.
    pub(super) fn look_up(&mut self, name: &str, now: Timestamp) -> LookupStep {
        let rank = match self.names.get(name) {
            Some(NameState::Known { answer, until }) if now < *until => {
                return LookupStep::Known(answer.clone());
            }
            Some(NameState::InLine { waiter, .. } | NameState::UnderWay { waiter }) => {
                return LookupStep::Joined(waiter.clone());
            }
            Some(NameState::Known { answer: Ok(_), .. }) => NameRank::Resolved,
            Some(NameState::Known { answer: Err(_), .. }) => NameRank::Failed,
            None => NameRank::New,
        };
        // Before anything is replaced: what is known of the name keeps its rank for the next look-up.
        if self.waiting() >= self.bounds.max_waiting {
            return LookupStep::Full;
        }
        if self.names.len() >= self.bounds.max_names {
            self.make_room(now);
        }
        let name: Arc<str> = name.into();
        // Shared, because further calls for the name join this question instead of asking it again.
        let (tell, told) = oneshot::channel();
        let waiter = told.shared();
        let state = NameState::InLine { tell, waiter: waiter.clone(), since: now };
        self.names.insert(Arc::clone(&name), state);
        self.line(rank).waiting.push_back(name);
        LookupStep::Asked(waiter)
    }

    /// The next question to ask now, if there is one and a free place. To be called until there is none after every
    /// [`NameTable::look_up`] that asks and every [`NameTable::settle`].
    pub(super) fn next_question(&mut self, now: Timestamp) -> Option<Question> {
        loop {
            let (name, rank) = self.first_in_line()?;
            let Some(NameState::InLine { tell, waiter, since }) = self.names.remove(&name) else {
                defect!("a name in line that nobody has asked for");
                continue;
            };
            if now.since(since) >= self.bounds.max_wait {
                // It stood in line as long as a call may wait for it: calls that joined it later get the same answer.
                let _nobody_waits = tell.send(Err(NameFailure::Shortage));
                continue;
            }
            self.names.insert(Arc::clone(&name), NameState::UnderWay { waiter });
            self.line(rank).under_way += 1;
            return Some(Question { name, tell, epoch: self.epoch, rank });
        }
    }

    /// Takes the first name from the best rank that has a free place. What is under way of a worse rank counts against
    /// the places of the better ones, and not the other way round.
    fn first_in_line(&mut self) -> Option<(Arc<str>, NameRank)> {
        let all: usize = self.lines.iter().map(|line| line.under_way).sum();
        defect!(unless all <= self.bounds.max_questions, "more questions under way than there may be");
        if all >= self.bounds.max_questions {
            return None;
        }
        let mut better = 0;
        for rank in [NameRank::Resolved, NameRank::New, NameRank::Failed] {
            let line = self.line(rank);
            // Never below zero: `better` is a part of `all`.
            if all - better < line.rank_places
                && let Some(name) = line.waiting.pop_front()
            {
                return Some((name, rank));
            }
            better += line.under_way;
        }
        None
    }

    /// Takes the answer to a question and passes it on to all who wait for it. `ttl` is what the name server said of how
    /// long it holds.
    pub(super) fn settle(
        &mut self,
        question: Question,
        answer: NameAnswer,
        ttl: Option<Duration>,
        now: Timestamp,
    ) {
        // The place is freed first, for every kind of answer: a place that is not given back is gone until a restart.
        let Question { name, tell, epoch, rank } = question;
        let line = self.line(rank);
        defect!(unless line.under_way > 0, "an answer to a question that was not handed out");
        line.under_way = line.under_way.saturating_sub(1);
        defect!(
            unless !answer.as_ref().is_ok_and(|addresses| addresses.is_empty()),
            "a name that resolves to no address"
        );
        // After `forget` the entry, if there is one, belongs to a newer question.
        if epoch == self.epoch {
            match self.kept(&answer, ttl) {
                Duration::ZERO => self.names.remove(&name),
                kept => {
                    self.names.insert(name, NameState::Known { answer: answer.clone(), until: now + kept })
                }
            };
        }
        let _nobody_waits = tell.send(answer);
    }

    /// Forgets all answers, because who is asked has changed. Questions that are under way are answered to those who
    /// wait for them and not kept.
    pub(super) fn forget(&mut self) {
        self.epoch += 1;
        // Names in line were not asked yet: their questions go to the new servers.
        self.names.retain(|_, state| matches!(state, NameState::InLine { .. }));
    }

    /// Names that are asked at present, and names in line behind them.
    pub(super) fn load(&self) -> (usize, usize) {
        (self.lines.iter().map(|line| line.under_way).sum(), self.waiting())
    }

    fn waiting(&self) -> usize {
        self.lines.iter().map(|line| line.waiting.len()).sum()
    }

    fn line(&mut self, rank: NameRank) -> &mut RankLine {
        let [resolved, new, failed] = &mut self.lines;
        match rank {
            NameRank::Resolved => resolved,
            NameRank::New => new,
            NameRank::Failed => failed,
        }
    }

    fn kept(&self, answer: &NameAnswer, ttl: Option<Duration>) -> Duration {
        match answer {
            Ok(_) => ttl.unwrap_or(KEPT_MIN).max(KEPT_MIN).min(self.bounds.max_ttl),
            // A shortage of ours says nothing about the name.
            Err(NameFailure::Shortage) => Duration::ZERO,
            Err(failure) if failure.is_an_answer() => {
                ttl.unwrap_or(ABSENCE_DEFAULT).clamp(KEPT_MIN, ABSENCE_MAX).min(self.bounds.max_ttl)
            }
            Err(_) => FAILURE_KEPT,
        }
    }

    /// Drops what has expired, or else the quarter of the answers that expires first.
    fn make_room(&mut self, now: Timestamp) {
        self.keep_after(now);
        if self.names.len() < self.bounds.max_names {
            return;
        }
        let mut ends: Vec<Timestamp> = self.names.values().filter_map(NameState::until).collect();
        // Names that are asked or in line stay, because somebody waits for them. They alone do not fill the table as
        // long as `max_names` is above their two bounds.
        if ends.is_empty() {
            return;
        }
        let quarter = ends.len() / 4;
        let (_, cut, _) = ends.select_nth_unstable(quarter);
        let cut = *cut;
        self.keep_after(cut);
    }

    fn keep_after(&mut self, cut: Timestamp) {
        self.names.retain(|_, state| state.until().is_none_or(|until| until > cut));
    }
}

impl NameState {
    /// When an answer expires; `None` while it is asked for.
    fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Known { until, .. } => Some(*until),
            Self::InLine { .. } | Self::UnderWay { .. } => None,
        }
    }
}
