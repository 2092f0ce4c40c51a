//! The policies that govern a call: one search over the patterns, whatever the number of policies; then methods, labels and
//! the rule of selection.
//!
//! Must not know: how patterns are searched, which generations are active.

mod misses;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use http::Method;

pub(crate) use self::misses::{Member, Miss};
use crate::event::{CanonicalUrl, Labels, Lane, LaneError, PolicyId, PolicyRef};
use crate::policy::search::{FormerSearch, NFA_BYTES_MAX, Search};
use crate::policy::{Clause, LabelCondition, Origin, Overlap, PolicyError, Spec, UrlPattern};

/// One clause of what an active generation governs.
pub(super) struct Rule {
    pub(super) governed_by: PolicyRef,
    pub(super) origin: Origin,
    /// Place in the order of creation.
    pub(super) order: u64,
    /// What the policy says, shared with the book.
    pub(super) spec: Arc<Spec>,
    /// The place of the clause in it.
    pub(super) clause: usize,
}

/// A policy whose pattern matches a url, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The policy whose pattern matches.
    pub policy: PolicyId,
    /// Whether it governs the call, and if not, what keeps it from that.
    pub verdict: MatchVerdict,
}

/// Whether and why a policy applies to a call whose url its pattern matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MatchVerdict {
    /// It governs the call, alone or beside others.
    Applies,
    /// It lists methods, and not that of the call.
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

impl MatchVerdict {
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

/// The compiled rules of all active generations.
pub(super) struct Matcher {
    /// The best one of those that compete has the lowest place.
    rules: Box<[Compiled]>,
    search: Arc<Search>,
}

struct Compiled {
    rule: Rule,
    /// The lane of what this rule governs alone, once there was such a call: most of thousands of policies rest.
    lane: OnceLock<Box<Lane>>,
    /// Rules that compete with each other have the same; `None` means that it applies beside all others.
    contest: Option<usize>,
}

impl Matcher {
    /// Compiles the rules; what the search for their patterns has in common with the one `before` is shared.
    pub(super) fn compile(mut rules: Vec<Rule>, before: Option<&Self>) -> Result<Self, PolicyError> {
        let mut contests: Vec<(Origin, Box<str>)> = Vec::new();
        for (origin, among) in rules.iter().filter_map(Rule::contest) {
            if !contests.iter().any(|(known, word)| known == origin && **word == *among) {
                contests.push((origin.clone(), among.into()));
            }
        }
        // Each contest has one winner for a call: the winners of more contests could not all be named by a lane.
        // Refused here, once, and not at the door for each call.
        if contests.len() > Lane::MAX_POLICIES {
            return Err(PolicyError::TooManyOrigins { given: contests.len() });
        }
        // The best rule of an origin has the lowest number: most literal characters, then oldest.
        rules.sort_by_key(|rule| (std::cmp::Reverse(rule.clause().pattern.literals()), rule.order));
        let patterns: Vec<&UrlPattern> = rules.iter().map(|rule| &rule.clause().pattern).collect();
        let search = match before {
            Some(before) if before.has_patterns_of(&rules) => Arc::clone(&before.search),
            Some(before) => Arc::new(before.search_beside(&patterns)?),
            None => Arc::new(Search::build(&patterns, NFA_BYTES_MAX, None)?),
        };
        // In a loop, because there are at most `Lane::MAX_POLICIES` contests.
        let place = |(origin, among): (&Origin, &str)| {
            contests.iter().position(|(known, word)| known == origin && **word == *among)
        };
        let compiled = |rule: Rule| {
            let contest = rule.contest().and_then(place);
            Compiled { rule, lane: OnceLock::new(), contest }
        };
        Ok(Self { rules: rules.into_iter().map(compiled).collect(), search })
    }

    /// Whether these rules have the patterns of its own, in the same order.
    fn has_patterns_of(&self, rules: &[Rule]) -> bool {
        let is_same = |(known, rule): (&Compiled, &Rule)| {
            let known = &known.rule;
            // Most policies are the same ones: they need not be compared.
            Arc::ptr_eq(&known.spec, &rule.spec) && known.clause == rule.clause
                || known.clause().pattern == rule.clause().pattern
        };
        self.rules.len() == rules.len() && self.rules.iter().zip(rules).all(is_same)
    }

    /// A search for these patterns, with what it has in common with its own.
    fn search_beside(&self, patterns: &[&UrlPattern]) -> Result<Search, PolicyError> {
        let pattern = |at: usize| &self.rules[at].rule.clause().pattern;
        let before = FormerSearch { search: &self.search, pattern: &pattern };
        Search::build(patterns, NFA_BYTES_MAX, Some(&before))
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
        let scope = parts().flat_map(|part| part.rule.spec.scope.labels()).map(|label| &**label);
        let names: Vec<&str> = scope.chain(fairness).collect();
        let mut alone = parts();
        match (alone.next(), alone.next()) {
            (None, _) => Ok(None),
            // Most calls: their lane was made before and is copied.
            (Some(only), None) if names.is_empty() => only.lane().map(Some),
            _ => {
                let governed_by = parts().map(|winner| winner.rule.governed_by.clone()).collect();
                // What stands in for a label is not one: neither their number nor their length bounds it.
                let stand_in = |name: &str| parts().find_map(|part| part.rule.spec.scope.stand_in(name, url));
                let value = |name: &str| labels.get(name).map(Cow::from).or_else(|| stand_in(name));
                Lane::with_values(governed_by, &names, value).map(Some)
            }
        }
    }

    /// Every policy whose pattern matches, the most literal first, with what came of it; without those that fit any url and
    /// ask for a label that the call does not have.
    pub(super) fn candidates(&self, method: &Method, url: &CanonicalUrl, labels: &Labels) -> Vec<Candidate> {
        let winners = self.winners(method, url, labels);
        let mut matching = Vec::new();
        self.for_each_match(url, |at| matching.push(at));
        // The search finds them in any order; places are in order of rank.
        matching.sort_unstable();
        let mut candidates: Vec<Candidate> = Vec::new();
        // Thousands may match: each policy is found again by its name.
        let mut known: HashMap<&PolicyId, usize> = HashMap::new();
        for at in matching {
            let Some(found) = self.rules.get(at) else { continue };
            let winner =
                |contest| winners.iter().find(|(other, _)| *other == Some(contest)).map(|(_, at)| *at);
            let best = found.contest.and_then(winner).and_then(|best| self.rules.get(best));
            let policy = &found.rule.governed_by.policy;
            let verdict = match (found.rule.judge(method, url, labels), best) {
                (MatchVerdict::Applies, Some(best)) if best.rule.governed_by.policy != *policy => {
                    MatchVerdict::Outranked(best.rule.governed_by.policy.clone())
                }
                (verdict, _) => verdict,
            };
            if found.rule.is_unrelated(&verdict) {
                continue;
            }
            // Of the clauses of one policy the one that comes closest speaks for it.
            match known.get(policy).and_then(|nth| candidates.get_mut(*nth)) {
                Some(known) if known.verdict.rank() <= verdict.rank() => {}
                Some(known) => known.verdict = verdict,
                None => {
                    known.insert(policy, candidates.len());
                    candidates.push(Candidate { policy: policy.clone(), verdict });
                }
            }
        }
        candidates
    }

    /// The contests with the rule that won each, and the rules that compete with none.
    fn winners(&self, method: &Method, url: &CanonicalUrl, labels: &Labels) -> Vec<(Option<usize>, usize)> {
        let mut winners: Vec<(Option<usize>, usize)> = Vec::new();
        self.for_each_match(url, |at| {
            let Some(Compiled { rule, contest, .. }) = self.rules.get(at) else { return };
            if rule.judge(method, url, labels) != MatchVerdict::Applies {
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

    fn for_each_match(&self, url: &CanonicalUrl, found: impl FnMut(usize)) {
        // The search was built from these.
        self.search.for_each_match(url, |at| &self.rules[at].rule.clause().pattern, found);
    }
}

impl Compiled {
    fn lane(&self) -> Result<Lane, LaneError> {
        if let Some(lane) = self.lane.get() {
            return Ok(Lane::clone(lane));
        }
        let lane = Lane::of(vec![self.rule.governed_by.clone()])?;
        // A call that came first meanwhile has made the same lane.
        let _ = self.lane.set(Box::new(lane.clone()));
        Ok(lane)
    }
}

impl Rule {
    fn clause(&self) -> &Clause {
        // `RuntimePolicy::rules` takes the place from this list, and nobody changes a shared spec.
        &self.spec.clauses[self.clause]
    }

    /// Whether the pattern fits every url, so that the labels alone make a call one of its: without them, nothing of the
    /// call has to do with it.
    fn is_unrelated(&self, verdict: &MatchVerdict) -> bool {
        matches!(verdict, MatchVerdict::OtherMethod | MatchVerdict::OtherLabel(_))
            && self.clause().pattern.fits_any()
    }

    /// With whom it competes; `None` when it applies beside all others.
    fn contest(&self) -> Option<(&Origin, &str)> {
        match &self.spec.overlap {
            Overlap::MostSpecific { among } => Some((&self.origin, among)),
            Overlap::All => None,
        }
    }

    /// Whether it governs a call whose url it matches, if it were alone.
    fn judge(&self, method: &Method, url: &CanonicalUrl, labels: &Labels) -> MatchVerdict {
        let (clause, scope) = (self.clause(), &self.spec.scope);
        // From what is cheap to what is dear, and in the order in which [`MatchVerdict::rank`] calls a policy close.
        if !clause.has_method(method) {
            return MatchVerdict::OtherMethod;
        }
        if let Some(broken) = clause.broken_by(labels, url) {
            return MatchVerdict::OtherLabel(broken.clone());
        }
        if let Some(label) = scope.missing_in(labels) {
            return MatchVerdict::NoLabel(label.to_owned());
        }
        match self.spec.listed() {
            // Each label of the scope has a value here: that none is missing was asked just above.
            Some(listed) if listed.get(&scope.key_of(labels, url)).is_none() => MatchVerdict::OtherValues,
            Some(_) | None => MatchVerdict::Applies,
        }
    }
}

#[cfg(test)]
mod tests;
