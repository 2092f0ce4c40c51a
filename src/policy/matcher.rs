//! One pass over the canonical URL, whatever the number of policies: all patterns in one lazy DFA, walked
//! byte by byte; then methods, labels and the rule of selection.
//!
//! Costs: a table look-up per byte once the states on the way are built. Building a state is linear in the
//! patterns that are still in the race; states live in a bounded cache per thread, which is emptied when
//! full, so hostile patterns cost time in proportion to their size and never memory beyond the bound.

use std::borrow::Cow;

use http::Method;
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::util::pool::Pool;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};

use crate::event::{CanonicalUrl, Labels, Lane, LaneError, PolicyId, PolicyRef};
use crate::policy::{Clause, LabelCondition, Origin, Overlap, Overrides, PolicyError, Scope};

/// Most bytes of the compiled patterns: some 10 000 of 100 characters.
const NFA_BYTES_MAX: usize = 128 << 20;
/// Bytes of built states per thread.
const CACHE_BYTES: usize = 8 << 20;

/// One clause of what an active generation governs.
pub(super) struct Rule {
    pub(super) governed_by: PolicyRef,
    pub(super) origin: Origin,
    /// Place in the order of creation.
    pub(super) order: u64,
    pub(super) clause: Clause,
    pub(super) overlap: Overlap,
    pub(super) scope: Scope,
    /// The label values that it governs alone; `None` means all.
    pub(super) listed: Option<Overrides>,
}

/// A policy whose pattern matches a url, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The policy whose pattern matches.
    pub policy: PolicyId,
    /// Whether it governs the call, and if not, what keeps it from that.
    pub verdict: Verdict,
}

/// Whether and why a policy applies to a call whose url its pattern matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It governs the call.
    Applies,
    /// It does not list the method.
    OtherMethod,
    /// The labels do not fulfil this condition.
    OtherLabel(LabelCondition),
    /// It tells its limits apart by this label, which the call lacks.
    NoLabel(String),
    /// It limits single values of its labels, not those of the call.
    OtherValues,
    /// This one of the same origin has a more literal pattern, or an equally literal one and is older.
    Outranked(PolicyId),
}

impl Verdict {
    /// How close the call came; 0 applies.
    const fn rank(&self) -> u8 {
        match self {
            Self::Applies => 0,
            Self::Outranked(_) => 1,
            Self::OtherValues => 2,
            Self::NoLabel(_) => 3,
            Self::OtherLabel(_) => 4,
            Self::OtherMethod => 5,
        }
    }
}

type CachePool = Pool<Cache, Box<dyn Fn() -> Cache + Send + Sync>>;

/// The compiled rules of all active generations.
pub(super) struct Matcher {
    rules: Vec<Compiled>,
    /// `None` without rules.
    search: Option<(DFA, CachePool)>,
}

struct Compiled {
    rule: Rule,
    /// The lane of what this rule governs alone.
    lane: Lane,
    /// Rules that compete with each other have the same; `None` means that it applies beside all others.
    contest: Option<usize>,
}

impl Matcher {
    pub(super) fn compile(mut rules: Vec<Rule>) -> Result<Self, PolicyError> {
        let mut contests: Vec<(Origin, Box<str>)> = rules.iter().filter_map(Rule::contest).collect();
        contests.sort_unstable();
        contests.dedup();
        if contests.len() > Lane::MAX_POLICIES {
            return Err(PolicyError::TooManyOrigins { given: contests.len() });
        }
        // The best rule of an origin has the lowest number: most literal characters, then oldest.
        rules.sort_by_key(|rule| (std::cmp::Reverse(rule.clause.pattern.literals()), rule.order));
        let patterns: Vec<String> = rules.iter().map(|rule| rule.clause.pattern.to_regex()).collect();
        let search =
            if patterns.is_empty() { None } else { Some(compile_patterns(&patterns, NFA_BYTES_MAX)?) };
        let rules = rules
            .into_iter()
            .map(|rule| {
                let lane = Lane::of(vec![rule.governed_by.clone()])?;
                let contest = rule.contest().and_then(|contest| contests.binary_search(&contest).ok());
                Ok(Compiled { rule, lane, contest })
            })
            .collect::<Result<_, PolicyError>>()?;
        Ok(Self { rules, search })
    }

    /// The lane of a call: the winners of all contests together. `None` when nothing governs it.
    ///
    /// # Errors
    /// [`LaneError`] when too many govern it.
    pub(super) fn route(
        &self,
        method: &Method,
        url: &CanonicalUrl,
        labels: &Labels,
    ) -> Result<Option<Lane>, LaneError> {
        let winners = self.winners(method, url, labels);
        let fairness = labels.get(Labels::FAIRNESS_KEY).map(|_| Labels::FAIRNESS_KEY);
        let parts = || winners.iter().filter_map(|(_, at)| self.rules.get(*at));
        let scope = parts().flat_map(|part| part.rule.scope.labels()).map(|label| &**label);
        let names: Vec<&str> = scope.chain(fairness).collect();
        let mut alone = parts();
        match (alone.next(), alone.next()) {
            (None, _) => Ok(None),
            (Some(only), None) if names.is_empty() => Ok(Some(only.lane.clone())),
            _ => {
                let governed_by = parts().map(|winner| winner.rule.governed_by.clone()).collect();
                // What stands in for a label is not one: neither their number nor their length bounds it.
                let stand_in = |name: &str| parts().find_map(|part| part.rule.scope.stand_in(name, url));
                let value = |name: &str| labels.get(name).map(Cow::from).or_else(|| stand_in(name));
                Lane::with_values(governed_by, &names, value).map(Some)
            }
        }
    }

    /// Every rule whose pattern matches, the most literal first, with what came of it.
    pub(super) fn candidates(&self, method: &Method, url: &CanonicalUrl, labels: &Labels) -> Vec<Candidate> {
        let winners = self.winners(method, url, labels);
        let mut matching = Vec::new();
        self.for_each_match(url, |at| matching.push(at));
        matching.sort_unstable();
        let mut candidates: Vec<Candidate> = Vec::new();
        for at in matching {
            let Some(found) = self.rules.get(at) else { continue };
            let winner =
                |contest| winners.iter().find(|(other, _)| *other == Some(contest)).map(|(_, at)| *at);
            let best = found.contest.and_then(winner).and_then(|best| self.rules.get(best));
            let policy = &found.rule.governed_by.policy;
            let verdict = match (found.rule.judge(method, url, labels), best) {
                (Verdict::Applies, Some(best)) if best.rule.governed_by.policy != *policy => {
                    Verdict::Outranked(best.rule.governed_by.policy.clone())
                }
                (verdict, _) => verdict,
            };
            // Of the clauses of one policy the one that comes closest speaks for it.
            match candidates.iter_mut().find(|known| known.policy == *policy) {
                Some(known) if known.verdict.rank() <= verdict.rank() => {}
                Some(known) => known.verdict = verdict,
                None => candidates.push(Candidate { policy: policy.clone(), verdict }),
            }
        }
        candidates
    }

    /// The contests with the rule that won each, and the rules that compete with none.
    fn winners(&self, method: &Method, url: &CanonicalUrl, labels: &Labels) -> Vec<(Option<usize>, usize)> {
        let mut winners: Vec<(Option<usize>, usize)> = Vec::new();
        self.for_each_match(url, |at| {
            let Some(Compiled { rule, contest, .. }) = self.rules.get(at) else { return };
            if rule.judge(method, url, labels) != Verdict::Applies {
                return;
            }
            // Of the clauses of one policy the most literal one speaks for it.
            let rival = winners.iter_mut().find(|(other, best)| match contest {
                Some(_) => other == contest,
                None => self.rules.get(*best).is_some_and(|best| best.rule.governed_by == rule.governed_by),
            });
            match rival {
                Some((_, best)) => *best = at.min(*best),
                None => winners.push((*contest, at)),
            }
        });
        winners
    }

    fn for_each_match(&self, url: &CanonicalUrl, mut found: impl FnMut(usize)) {
        let Some((dfa, caches)) = &self.search else { return };
        let mut cache = caches.get();
        match last_state(dfa, &mut cache, url.as_str().as_bytes()) {
            Some(state) if state.is_match() => {
                for nth in 0..dfa.match_len(&cache, state) {
                    found(dfa.match_pattern(&cache, state, nth).as_usize());
                }
            }
            Some(_) => {}
            // The automaton gave up, which its configuration does not let it: ask the patterns one by one.
            None => {
                let matching = self.rules.iter().enumerate();
                matching
                    .filter(|(_, rule)| rule.rule.clause.pattern.matches(url))
                    .for_each(|(at, _)| found(at));
            }
        }
    }
}

impl Rule {
    /// With whom it competes; `None` when it applies beside all others.
    fn contest(&self) -> Option<(Origin, Box<str>)> {
        match &self.overlap {
            Overlap::MostSpecific { among } => Some((self.origin.clone(), among.clone())),
            Overlap::All => None,
        }
    }

    /// Whether it governs a call whose url it matches, if it were alone.
    fn judge(&self, method: &Method, url: &CanonicalUrl, labels: &Labels) -> Verdict {
        if !self.clause.has_method(method) {
            return Verdict::OtherMethod;
        }
        if let Some(broken) = self.clause.broken_by(labels, url) {
            return Verdict::OtherLabel(broken.clone());
        }
        if let Some(label) = self.scope.missing_in(labels) {
            return Verdict::NoLabel(label.to_owned());
        }
        match &self.listed {
            Some(listed) if listed.get(&self.scope.key_of(labels, url)).is_none() => Verdict::OtherValues,
            Some(_) | None => Verdict::Applies,
        }
    }
}

/// The state after the last byte: what matches there matches the whole text.
fn last_state(dfa: &DFA, cache: &mut Cache, text: &[u8]) -> Option<LazyStateID> {
    let input = Input::new(text).anchored(Anchored::Yes);
    let mut state = dfa.start_state_forward(cache, &input).ok()?;
    for byte in text {
        state = dfa.next_state(cache, state, *byte).ok()?;
        if state.is_dead() {
            return Some(state);
        }
        if state.is_quit() {
            return None;
        }
    }
    dfa.next_eoi_state(cache, state).ok()
}

fn compile_patterns(patterns: &[String], nfa_bytes_max: usize) -> Result<(DFA, CachePool), PolicyError> {
    let dfa = DFA::builder()
        .configure(
            DFA::config()
                .match_kind(MatchKind::All)
                .cache_capacity(CACHE_BYTES)
                .skip_cache_capacity_check(true),
        )
        .syntax(syntax::Config::new().unicode(false).utf8(false).dot_matches_new_line(true))
        .thompson(thompson::Config::new().utf8(false).nfa_size_limit(Some(nfa_bytes_max)))
        .build_many(patterns)
        .map_err(|error| PolicyError::TooLarge { reason: error.to_string() })?;
    let for_caches = dfa.clone();
    let caches: CachePool = Pool::new(Box::new(move || for_caches.create_cache()));
    Ok((dfa, caches))
}

#[cfg(test)]
mod tests;
