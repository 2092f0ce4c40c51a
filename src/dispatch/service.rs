//! The shell: one task that owns the planner and its gate, and does what the planner asks for.
//!
//! A call is polled for the first time in this task, right after its permit was confirmed, so that calls
//! leave in the order and at the moments that the limits have counted; then it goes on in a task of its own.
//!
//! Must not know: why the planner decides as it does.

mod commands;
mod emitted;
mod lines;
mod marks;
mod recording;
mod tasks;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::clock::{Clock, Timestamp};
use crate::delivery::{Call, Deliver, Ended};
use crate::dispatch::endpoints::EndpointsInForce;
use crate::dispatch::follows;
use crate::dispatch::handle::{DispatchHandle, PlannerCommand, StateUsageFailed, UsageStatement};
use crate::dispatch::input::{Effect, Input, PlannerOptions, SettledEntry, Start, Ticket};
use crate::dispatch::planner::Planner;
use crate::dispatch::stops::Stops;
use crate::event::{Facts, LaneKey, Noticed};
use crate::limit::{Gate, Reservation, UsageToState};
use crate::policy::{Follower, Runtime};
use crate::queue::{LaneSignal, LaneSignals, LoadedPage, PageMix, Queue, QueueError};
use crate::store::{ReadLimit, UsageStore};
use crate::telemetry::{DispatchLag, QueueWaited};
use crate::traces::Tracer;

use commands::OpenQuestions;
use marks::CallMarks;
use recording::UsageRecorder;
use tasks::{CallEnd, FirstPoll, LoadReporter, begin};

/// Most messages taken from one channel at a time: the others get their turn between.
const BATCH: usize = 256;

/// The clock counts time in which the machine was suspended, a sleep does not: it is looked at this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// What the dispatcher works with, to be given once.
pub(crate) struct DispatcherParts {
    /// Where entries come from and where decisions go.
    pub queue: Queue,
    /// Where it hears which lanes have work.
    pub signals: LaneSignals,
    /// The policies, deployed or draining, and every change of them.
    pub policies: Follower,
    /// Makes the calls; it is asked only for calls that have their permits.
    pub deliver: Arc<dyn Deliver>,
    /// What is set for endpoints; looked up when a call starts.
    pub endpoints: EndpointsInForce,
    /// The steady clock that the queue uses, too.
    pub clock: Clock,
    /// Bounds on calls in flight and on the read-ahead, the rules of retries and of the breaker.
    pub options: PlannerOptions,
    /// The limits, with what an earlier process consumed.
    pub gate: Gate,
    /// Where starts to come are put on record; open.
    pub usages: Arc<dyn UsageStore>,
    /// The emergency stops in force at the start.
    pub stops: Arc<Stops>,
    /// Begins the spans of attempts, for a collector.
    pub tracer: Tracer,
    /// For the jitter of retries and holds.
    pub dice: fastrand::Rng,
}

/// The dispatcher, ready to run: one task owns it.
pub(crate) struct Service {
    planner: Planner,
    queue: Queue,
    signals: LaneSignals,
    policies: Follower,
    /// What the planner acts by: older ones that come late are left alone.
    ruled_by: Arc<Runtime>,
    deliver: Arc<dyn Deliver>,
    endpoints: EndpointsInForce,
    clock: Clock,
    records: UsageRecorder,
    tracer: Tracer,
    commands: mpsc::UnboundedReceiver<PlannerCommand>,
    asked: OpenQuestions,
    quiet: watch::Sender<bool>,
    /// Bounded in fact: one report per call in flight, and one page per lane being read.
    reports: (mpsc::UnboundedSender<TaskReport>, mpsc::UnboundedReceiver<TaskReport>),
    tasks: JoinSet<()>,
    effects: Vec<Effect>,
    /// What was remarkable about the answer to the attempt whose end is taken in.
    noticed: Option<Box<Noticed>>,
    marks: CallMarks,
}

/// What a task brings back to the dispatcher.
enum TaskReport {
    Finished {
        ticket: Ticket,
        ended: Ended,
        took: Duration,
    },
    Loaded(LaneKey, Result<LoadedPage, QueueError>),
    /// The task that read the lane panicked.
    NotLoaded(LaneKey),
    Recorded(Vec<Reservation>, bool),
    UsageStated(Box<UsageToState>, oneshot::Sender<Result<(), StateUsageFailed>>),
}

/// What ended a wait of the dispatcher.
enum WakeReason {
    Reports(Vec<TaskReport>),
    Signals(Vec<LaneSignal>),
    Runtime(Arc<Runtime>),
    Command(PlannerCommand),
    Woken,
}

impl Service {
    /// Builds the dispatcher; nothing happens before [`Service::run`].
    #[must_use]
    pub(crate) fn new(mut parts: DispatcherParts) -> (Self, DispatchHandle) {
        let (command, commands) = mpsc::unbounded_channel();
        let (quiet, is_quiet) = watch::channel(true);
        let reports = mpsc::unbounded_channel();
        let runtime = parts.policies.newest();
        let mut planner =
            Planner::new(parts.gate, (&runtime, parts.stops), parts.options, parts.dice, parts.clock.now());
        // Before the first step, so that nothing expires by a time in doubt.
        if !parts.clock.is_trusted() {
            planner.doubt_time();
        }
        let marks = CallMarks::open(&parts.queue, &mut planner, parts.clock.now());
        parts.policies.act_by(&runtime);
        let handle = DispatchHandle { commands: command, quiet: is_quiet, queue: parts.queue.clone() };
        let service = Self {
            planner,
            queue: parts.queue,
            signals: parts.signals,
            policies: parts.policies,
            ruled_by: runtime,
            deliver: parts.deliver,
            endpoints: parts.endpoints,
            clock: parts.clock,
            records: UsageRecorder::new(parts.usages, reports.0.clone()),
            tracer: parts.tracer,
            commands,
            asked: OpenQuestions::default(),
            quiet,
            reports,
            tasks: JoinSet::new(),
            effects: Vec::new(),
            noticed: None,
            marks,
        };
        (service, handle)
    }

    /// Runs until [`DispatchHandle::stop`]; returns when every decision is durable.
    pub(crate) async fn run(mut self) {
        loop {
            match self.next_event().await {
                WakeReason::Reports(reports) => self.take_reports(reports),
                WakeReason::Signals(signals) => {
                    signals.into_iter().for_each(|signal| self.step(signal.into()))
                }
                WakeReason::Runtime(runtime) => self.rule(runtime),
                WakeReason::Command(PlannerCommand::Stop { grace }) => break self.drain(grace).await,
                WakeReason::Command(command) => self.obey(command),
                WakeReason::Woken => self.step(Input::Tick),
            }
            self.marks.look(&mut self.planner, self.clock.now());
            self.asked.go_on(&mut self.planner, self.clock.now());
            // Reaps finished tasks; their results came through the channel.
            while self.tasks.try_join_next().is_some() {}
            let is_quiet = self.planner.is_quiet();
            self.quiet.send_if_modified(|quiet| std::mem::replace(quiet, is_quiet) != is_quiet);
        }
    }

    /// Entries of a policy come only after its deployment was published: the planner, too, has to hear of it
    /// first, or it takes them for left-overs of a policy that is gone.
    fn catch_up(&mut self) {
        if let Some(runtime) = self.policies.news() {
            self.rule(runtime);
        }
    }

    fn rule(&mut self, runtime: Arc<Runtime>) {
        if runtime.number() < self.ruled_by.number() {
            // A newer one was taken while this one was on its way.
            return;
        }
        self.ruled_by = Arc::clone(&runtime);
        self.step(Input::Policies(Arc::clone(&runtime)));
        self.policies.act_by(&runtime);
    }

    async fn next_event(&mut self) -> WakeReason {
        // Figures are taken in parts: the next one follows when all else had its chance.
        let wake = if self.asked.is_busy() { Some(Timestamp::ZERO) } else { self.planner.next_wake() };
        let mut reports = Vec::new();
        let mut signals = Vec::new();
        // In random order, as `select!` has it by default: a channel that is never empty does not keep the others
        // waiting.
        let event = tokio::select! {
            Some(command) = self.commands.recv() => WakeReason::Command(command),
            _ = self.reports.1.recv_many(&mut reports, BATCH) => WakeReason::Reports(reports),
            _ = self.signals.recv_many(&mut signals, BATCH) => WakeReason::Signals(signals),
            runtime = self.policies.changed() => WakeReason::Runtime(runtime),
            () = wait(&self.clock, wake) => WakeReason::Woken,
        };
        self.catch_up();
        event
    }

    fn take_reports(&mut self, reports: Vec<TaskReport>) {
        for report in reports {
            let input = match report {
                TaskReport::Finished { ticket, ended: Ended { outcome, noticed }, took } => {
                    self.noticed = noticed;
                    Input::Finished { ticket, outcome, took }
                }
                TaskReport::Loaded(lane, Ok(loaded)) => Input::Loaded(lane, loaded),
                TaskReport::Loaded(lane, Err(error)) => {
                    warn!(%lane, %error, "lane not read; it will be tried again");
                    Input::LoadFailed(lane)
                }
                TaskReport::NotLoaded(lane) => {
                    error!(%lane, "lane not read after a panic; it will be tried again");
                    Input::LoadFailed(lane)
                }
                TaskReport::UsageStated(stated, answer) => {
                    self.step(Input::UsageStated(*stated));
                    // The caller may have gone.
                    let _ = answer.send(Ok(()));
                    continue;
                }
                TaskReport::Recorded(reservations, is_recorded) => {
                    Input::Recorded { reservations, is_recorded }
                }
            };
            self.step(input);
        }
    }

    fn step(&mut self, input: Input) {
        self.planner.step(input, self.clock.now(), &mut self.effects);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        // A start that is not confirmed puts its call back, which asks for more.
        while !self.effects.is_empty() {
            for effect in std::mem::take(&mut self.effects) {
                match effect {
                    Effect::Load { lane, limit, mix } => self.load(lane, limit, mix),
                    Effect::Record(reservations) => {
                        self.tasks.spawn(self.records.make(reservations));
                    }
                    Effect::Send { ticket } => self.send(ticket),
                    Effect::Settle(settled) => self.settle(settled),
                }
            }
        }
    }

    /// Carries out a command. The caller may have gone: answers that nobody hears are dropped.
    fn obey(&mut self, command: PlannerCommand) {
        let now = self.clock.now();
        match command {
            PlannerCommand::Trust(answer) => {
                let leap = self.clock.trust();
                if let Some(leap) = &leap {
                    self.step(Input::TimeTrusted(leap.clone()));
                }
                drop(answer.send(leap));
            }
            PlannerCommand::Stops(stops, answer) => {
                self.step(Input::Stops(stops));
                answer.send(()).unwrap_or_default();
            }
            PlannerCommand::Purge(policy, answer) => {
                // What was accepted before is known before.
                let mut signals = Vec::new();
                self.signals.take_all(&mut signals);
                signals.into_iter().for_each(|signal| self.step(signal.into()));
                let id = self.planner.purge(&policy, now, &mut self.effects);
                self.asked.waits_for(id, answer);
                self.carry_out();
                self.step(Input::Tick);
            }
            PlannerCommand::LetGo(lane, ids, answer) => {
                let entries = self.planner.let_go(&lane, &ids, now, &mut self.effects);
                // Whoever asks goes on to the end: what it is handed is settled by it.
                drop(answer.send(entries));
                self.carry_out();
                self.step(Input::Tick);
            }
            PlannerCommand::StateUsage(UsageStatement { policy, key, kind, used }, answer) => {
                match self.planner.gate().usage_to_state(&policy, &key, kind, used, now) {
                    Ok(to_state) => drop(self.tasks.spawn(self.records.state(to_state, answer))),
                    Err(error) => drop(answer.send(Err(error.into()))),
                }
            }
            // Ends the loop that calls this.
            PlannerCommand::Stop { .. } => {}
            question => self.asked.answer(question, &mut self.planner, now),
        }
    }

    fn load(&mut self, lane: LaneKey, limit: ReadLimit, mix: PageMix) {
        let queue = self.queue.clone();
        let end = LoadReporter::of(lane.clone(), self.reports.0.clone());
        self.tasks.spawn(async move {
            let page = queue.load_mix(&lane, limit, mix).await;
            end.report(lane, page);
        });
    }

    fn send(&mut self, ticket: Ticket) {
        let started_at = self.clock.now();
        let endpoints = self.endpoints.load();
        if let Some(wait) =
            tokens::lacks(&self.planner, self.deliver.as_ref(), ticket, &endpoints, started_at)
        {
            self.planner.withhold(ticket, wait, started_at, &mut self.effects);
            return;
        }
        let start = self.planner.confirm(ticket, &endpoints, started_at, &mut self.effects);
        let Some(Start { entry, lane, series, timeout, options, waited, ends }) = start else { return };
        let mut headers = lines::headers_to_send(&mut entry.event);
        let span = self.tracer.attempt(entry, lane, waited, &mut headers);
        let call = Call {
            id: entry.id,
            name: entry.name(),
            attempt: entry.tries.and_attempt().attempts(),
            method: entry.event.method.clone(),
            url: entry.event.url.clone(),
            headers,
            body: std::mem::take(&mut entry.event.body),
            timeout,
            options,
        };
        self.queue.started(entry);
        if let Some(trial) = self.marks.begun(entry.id, ends) {
            self.tasks.spawn(trial);
        }
        QueueWaited { series: &series, waited }.emit();
        let end = CallEnd {
            ticket,
            started_at,
            clock: self.clock.clone(),
            reports: self.reports.0.clone(),
            span,
            ended: None,
        };
        let begun = begin(&*self.deliver, call);
        // The first poll has taken time, and the thread may have lost the processor before it.
        self.planner.under_way(ticket, self.clock.now());
        match begun {
            FirstPoll::Over(ended) => end.report(ended),
            FirstPoll::UnderWay(call) => {
                self.tasks.spawn(async move {
                    end.report(call.await);
                });
            }
        }
    }

    fn settle(&mut self, mut settled: SettledEntry) {
        // First: what is told of it is what becomes of it.
        settled.settlement = self.queue.last_call(&settled.entry, settled.settlement);
        lines::log(&settled);
        lines::log_dead(&settled, &self.ruled_by);
        emitted::count(&settled);
        if let Some(attempt) = &settled.attempt {
            let noticed = self.noticed.take();
            if let Some(detail) = follows::detail(&settled, attempt, noticed, self.clock.now()) {
                self.queue.note_attempt(detail);
            }
        }
        let status = settled.attempt.as_ref().and_then(|attempt| attempt.cause.as_ref()?.status());
        let was_under_way = settled.attempt.is_some();
        let facts = Facts { status, limited: settled.limited };
        let is_aside = self.marks.ends_aside(settled.entry.id, &settled.settlement);
        self.queue.settle_because(&settled.entry, settled.settlement, facts);
        if was_under_way {
            self.marks.ended(settled.entry.id);
        } else if is_aside {
            self.tasks.spawn(self.marks.is_aside(&self.queue, settled.entry.id));
        }
    }

    async fn drain(mut self, grace: Duration) {
        self.step(Input::Drain);
        info!(inflight = self.planner.inflight(), ?grace, "dispatch stops: waiting for calls in flight");
        let over = tokio::time::sleep(grace);
        tokio::pin!(over);
        while self.planner.inflight() > 0 {
            let mut reports = Vec::new();
            tokio::select! {
                _ = self.reports.1.recv_many(&mut reports, BATCH) => self.take_reports(reports),
                () = &mut over => break,
            }
        }
        if self.planner.inflight() > 0 {
            warn!(abandoned = self.planner.inflight(), "calls abandoned: they are repeated after the start");
        }
        // What they would report is of no use any more: their entries stay handed out, and the next start begins with
        // them.
        self.tasks.abort_all();
        self.queue.flush().await;
        // While the store is held nothing was started: the record of starts stays as it is.
        if !self.planner.is_held() {
            let consumed = self.planner.gate().consumed(self.clock.now());
            self.records.close(consumed).await;
        }
    }
}

/// Waits until `wake`, to the millisecond, or until the clock has to be looked at again.
async fn wait(clock: &Clock, wake: Option<Timestamp>) {
    match wake {
        None => std::future::pending().await,
        // At once, but not before everybody else had a chance.
        Some(Timestamp::ZERO) => tokio::task::yield_now().await,
        Some(wake) => {
            tokio::time::sleep(wake.since(clock.now()).min(LONGEST_SLEEP)).await;
            let now = clock.now();
            if now >= wake {
                DispatchLag { lag: now.since(wake) }.emit();
            }
        }
    }
}

#[cfg(test)]
mod tests;
