//! One pass over the canonical URL, whatever the number of policies: all patterns in one lazy DFA, walked
//! byte by byte; then methods, labels and the rule of selection (contracts.md section 7, item 3, and
//! "Decided" 8).
//!
//! Costs: a table look-up per byte once the states on the way are built. Building a state is linear in the
//! patterns that are still in the race; states live in a bounded cache per thread, which is emptied when
//! full, so hostile patterns cost time in proportion to their size and never memory beyond the bound.

use http::Method;
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::util::pool::Pool;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};

use crate::event::{CanonicalUrl, Labels, Lane, LaneError, PolicyId, PolicyRef};
use crate::policy::{LabelCondition, Origin, Overlap, PolicyError, Scope, UrlPattern};

/// Most bytes of the compiled patterns: some 10 000 of 100 characters.
const NFA_BYTES_MAX: usize = 128 << 20;
/// Bytes of built states per thread.
const CACHE_BYTES: usize = 8 << 20;

/// What one active generation governs.
pub(super) struct Rule {
    pub(super) governed_by: PolicyRef,
    pub(super) origin: Origin,
    /// Place in the order of creation.
    pub(super) order: u64,
    pub(super) pattern: UrlPattern,
    pub(super) methods: Vec<Method>,
    pub(super) labels: Vec<LabelCondition>,
    pub(super) overlap: Overlap,
    pub(super) scope: Scope,
}

/// A policy whose pattern matches a url, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Which one.
    pub policy: PolicyId,
    /// Whether it applies.
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
    /// This one of the same origin has a more literal pattern, or an equally literal one and is older.
    Outranked(PolicyId),
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
        let competing = rules.iter().filter(|rule| rule.overlap == Overlap::MostSpecific);
        let mut origins: Vec<Origin> = competing.map(|rule| rule.origin.clone()).collect();
        origins.sort_unstable();
        origins.dedup();
        if origins.len() > Lane::MAX_POLICIES {
            return Err(PolicyError::TooManyOrigins { given: origins.len() });
        }
        // The best rule of an origin has the lowest number: most literal characters, then oldest.
        rules.sort_by_key(|rule| (std::cmp::Reverse(rule.pattern.literals()), rule.order));
        let patterns: Vec<String> = rules.iter().map(|rule| rule.pattern.to_regex()).collect();
        let search =
            if patterns.is_empty() { None } else { Some(compile_patterns(&patterns, NFA_BYTES_MAX)?) };
        let rules = rules
            .into_iter()
            .map(|rule| {
                let lane = Lane::of(vec![rule.governed_by.clone()])?;
                let competes = rule.overlap == Overlap::MostSpecific;
                let contest = origins.iter().position(|origin| competes && *origin == rule.origin);
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
                Lane::scoped(governed_by, labels, &names).map(Some)
            }
        }
    }

    /// Every rule whose pattern matches, the most literal first, with what came of it.
    pub(super) fn candidates(&self, method: &Method, url: &CanonicalUrl, labels: &Labels) -> Vec<Candidate> {
        let winners = self.winners(method, url, labels);
        let mut matching = Vec::new();
        self.for_each_match(url, |at| matching.push(at));
        matching.sort_unstable();
        let judged = matching.into_iter().filter_map(|at| {
            let found = self.rules.get(at)?;
            let winner =
                |contest| winners.iter().find(|(other, _)| *other == Some(contest)).map(|(_, at)| *at);
            let verdict = match found.rule.judge(method, labels) {
                Verdict::Applies => match found.contest.and_then(winner).filter(|best| *best != at) {
                    Some(best) => Verdict::Outranked(self.rules.get(best)?.rule.governed_by.policy.clone()),
                    None => Verdict::Applies,
                },
                refused => refused,
            };
            Some(Candidate { policy: found.rule.governed_by.policy.clone(), verdict })
        });
        judged.collect()
    }

    /// The contests with the rule that won each, and the rules that compete with none.
    fn winners(&self, method: &Method, url: &CanonicalUrl, labels: &Labels) -> Vec<(Option<usize>, usize)> {
        let mut winners: Vec<(Option<usize>, usize)> = Vec::new();
        self.for_each_match(url, |at| {
            let Some(Compiled { rule, contest, .. }) = self.rules.get(at) else { return };
            if rule.judge(method, labels) != Verdict::Applies {
                return;
            }
            match winners.iter_mut().find(|(other, _)| contest.is_some() && other == contest) {
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
                matching.filter(|(_, rule)| rule.rule.pattern.matches(url)).for_each(|(at, _)| found(at));
            }
        }
    }
}

impl Rule {
    /// Whether it governs a call whose url it matches, if it were alone.
    fn judge(&self, method: &Method, labels: &Labels) -> Verdict {
        if !self.methods.is_empty() && !self.methods.contains(method) {
            return Verdict::OtherMethod;
        }
        if let Some(broken) = self.labels.iter().find(|label| !label.holds(labels)) {
            return Verdict::OtherLabel(broken.clone());
        }
        match self.scope.missing_in(labels) {
            Some(label) => Verdict::NoLabel(label.to_owned()),
            None => Verdict::Applies,
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
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::testing::{id, labels, url};

    fn rule(name: &str, origin: &str, order: u64, pattern: &str) -> Rule {
        Rule {
            governed_by: PolicyRef { policy: id(name), generation: 1 },
            origin: Origin::new(origin),
            order,
            pattern: UrlPattern::parse(pattern).expect(pattern),
            methods: vec![Method::GET],
            labels: Vec::new(),
            overlap: Overlap::MostSpecific,
            scope: Scope::default(),
        }
    }

    fn key_of(lane: Result<Option<Lane>, LaneError>) -> Option<String> {
        lane.expect("few policies").map(|lane| lane.key().to_string())
    }

    fn route(rules: Vec<Rule>, at: &str) -> Option<String> {
        let matcher = Matcher::compile(rules).expect("small");
        key_of(matcher.route(&Method::GET, &url(at), &Labels::default()))
    }

    #[test]
    fn the_most_literal_wins_within_an_origin_and_then_the_oldest() {
        let rules = || {
            vec![
                rule("wide", "x", 0, "https://h.org/*"),
                rule("younger", "x", 2, "https://h.org/a/*"),
                rule("older", "x", 1, "https://h.org/*/a"),
                rule("other", "y", 3, "https://h.org/*"),
                rule("elsewhere", "y", 4, "https://i.org/*"),
            ]
        };
        assert_eq!(route(rules(), "https://h.org/b").as_deref(), Some("other@1+wide@1"));
        assert_eq!(route(rules(), "https://h.org/a/b").as_deref(), Some("other@1+younger@1"));
        assert_eq!(route(rules(), "https://h.org/a/a").as_deref(), Some("older@1+other@1"));
        assert_eq!(route(rules(), "https://i.org/a").as_deref(), Some("elsewhere@1"));
        assert_eq!(route(rules(), "https://j.org/a"), None);
        assert_eq!(route(Vec::new(), "https://j.org/a"), None);
    }

    #[test]
    fn methods_and_labels_decide_before_the_most_literal_does() {
        let mut narrow = rule("narrow", "x", 0, "https://h.org/a");
        narrow.labels = vec![
            LabelCondition::equals("org", "ACME"),
            LabelCondition::equals_or_absent("service", "action"),
        ];
        let matcher = Matcher::compile(vec![narrow, rule("wide", "x", 1, "https://h.org/*")]).expect("small");
        let lane = |method: Method, pairs: &[(&str, &str)]| {
            key_of(matcher.route(&method, &url("https://h.org/a"), &labels(pairs)))
        };
        assert_eq!(lane(Method::GET, &[("org", "ACME")]).as_deref(), Some("narrow@1"));
        assert_eq!(lane(Method::GET, &[("org", "ACME"), ("service", "action")]).as_deref(), Some("narrow@1"));
        assert_eq!(
            lane(Method::GET, &[("org", "ACME"), ("service", "dataSource")]).as_deref(),
            Some("wide@1")
        );
        assert_eq!(lane(Method::GET, &[("org", "acme")]).as_deref(), Some("wide@1"));
        assert_eq!(lane(Method::GET, &[]).as_deref(), Some("wide@1"));
        assert_eq!(lane(Method::PUT, &[("org", "ACME")]), None);
    }

    #[test]
    fn policies_that_apply_together_do_and_their_labels_name_the_lane() {
        let beside = |name: &str, order: u64, scope: &[&str]| {
            let mut rule = rule(name, "file", order, "https://h.org/*");
            (rule.overlap, rule.scope) = (Overlap::All, Scope::new(scope).expect("valid"));
            rule
        };
        let rules = vec![
            beside("global", 0, &[]),
            beside("org", 1, &["org"]),
            beside("mart", 2, &["org", "datamart"]),
            rule("cap", "x", 3, "https://h.org/*"),
            rule("narrow", "x", 4, "https://h.org/a*"),
        ];
        let matcher = Matcher::compile(rules).expect("small");
        let at = url("https://h.org/ab");
        let route = |pairs: &[(&str, &str)]| key_of(matcher.route(&Method::GET, &at, &labels(pairs)));
        assert_eq!(route(&[]).as_deref(), Some("global@1+narrow@1"));
        assert_eq!(route(&[("org", "7"), ("other", "1")]).as_deref(), Some("global@1+narrow@1+org@1;org=7"));
        assert_eq!(
            route(&[("datamart", "d"), ("org", "7"), ("fairness_key", "f")]).as_deref(),
            Some("global@1+mart@1+narrow@1+org@1;datamart=d;fairness_key=f;org=7")
        );
        let verdicts = matcher.candidates(&Method::GET, &at, &labels(&[("org", "7")]));
        let verdict_of = |name: &str| {
            verdicts.iter().find(|found| found.policy == id(name)).map(|found| found.verdict.clone())
        };
        assert_eq!(verdict_of("global"), Some(Verdict::Applies));
        assert_eq!(verdict_of("mart"), Some(Verdict::NoLabel("datamart".to_owned())));
        assert_eq!(verdict_of("cap"), Some(Verdict::Outranked(id("narrow"))));
        let posted = matcher.candidates(&Method::POST, &at, &Labels::default());
        assert!(posted.iter().all(|found| found.verdict == Verdict::OtherMethod));
    }

    #[test]
    fn an_event_under_too_many_policies_is_refused_and_not_let_through() {
        let rules = (0..13).map(|n| {
            let mut rule = rule(&format!("p{n}"), "file", n, "https://h.org/*");
            rule.overlap = Overlap::All;
            rule
        });
        let matcher = Matcher::compile(rules.collect()).expect("small");
        let refused = matcher.route(&Method::GET, &url("https://h.org/a"), &Labels::default());
        assert_eq!(refused, Err(LaneError::TooManyPolicies { given: 13 }));
    }

    #[test]
    fn hostile_patterns_stay_within_their_bound() {
        let rules: Vec<Rule> = (0..200)
            .map(|n| rule(&format!("p{n}"), "x", n, &format!("https://h.org/{}{n}", "*a".repeat(31))))
            .collect();
        let matcher = Matcher::compile(rules).expect("within the bound");
        let target = url(&format!("https://h.org/{}7", "a".repeat(1_000)));
        let lane = key_of(matcher.route(&Method::GET, &target, &Labels::default()));
        assert_eq!(lane.as_deref(), Some("p7@1"));
    }

    #[test]
    fn patterns_beyond_the_bound_are_refused() {
        let patterns: Vec<String> = (0..100).map(|n| format!("https://h{n}/.*")).collect();
        assert!(compile_patterns(&patterns, 1 << 20).is_ok());
        assert!(matches!(compile_patterns(&patterns, 1 << 12), Err(PolicyError::TooLarge { .. })));
    }

    #[test]
    fn too_many_origins_are_refused_and_not_left_unmatched() {
        let rules = (0..13).map(|n| rule(&format!("p{n}"), &format!("o{n}"), n, "https://h.org/*")).collect();
        assert!(matches!(Matcher::compile(rules), Err(PolicyError::TooManyOrigins { given: 13 })));
    }

    /// The definition, as plainly as it can be said.
    fn naive(pattern: &[u8], text: &[u8], in_query: bool) -> bool {
        match pattern.split_first() {
            None => text.is_empty() || (!in_query && text.first() == Some(&b'?')),
            Some((b'*', rest)) => {
                let run = text.iter().take_while(|byte| in_query || **byte != b'?').count();
                (0..=run).any(|n| naive(rest, &text[n..], in_query))
            }
            Some((byte, rest)) => {
                text.first() == Some(byte) && naive(rest, &text[1..], in_query || *byte == b'?')
            }
        }
    }

    proptest! {
        #[test]
        fn one_pass_finds_what_the_definition_finds(
            patterns in prop::collection::vec("[ab/*]{0,8}([?][ab*?]{0,4})?", 1..12),
            target in "[ab/]{0,10}([?][ab?]{0,5})?",
        ) {
            let rules: Vec<Rule> = patterns
                .iter()
                .enumerate()
                .map(|(n, text)| rule(&format!("p{n}"), &format!("o{}", n % 3), n as u64, &format!("http://h/{text}")))
                .collect();
            let target = url(&format!("http://h/{target}"));
            let mut expected: Vec<(usize, u64, &Origin, &PolicyRef)> = rules
                .iter()
                .filter(|rule| naive(rule.pattern.as_str().as_bytes(), target.as_str().as_bytes(), false))
                .map(|rule| (rule.pattern.literals(), rule.order, &rule.origin, &rule.governed_by))
                .collect();
            for rule in &rules {
                let alone = naive(rule.pattern.as_str().as_bytes(), target.as_str().as_bytes(), false);
                prop_assert_eq!(rule.pattern.matches(&target), alone);
            }
            expected.sort_by_key(|(literals, order, ..)| (std::cmp::Reverse(*literals), *order));
            let mut winners: Vec<(&Origin, PolicyRef)> = Vec::new();
            for (_, _, origin, governed_by) in expected {
                if !winners.iter().any(|(other, _)| *other == origin) {
                    winners.push((origin, governed_by.clone()));
                }
            }
            let winners: Vec<PolicyRef> = winners.into_iter().map(|(_, part)| part).collect();
            let expected = (!winners.is_empty()).then(|| Lane::of(winners).expect("few"));
            let found = Matcher::compile(rules).expect("small").route(&Method::GET, &target, &Labels::default());
            prop_assert_eq!(found, Ok(expected));
        }
    }
}
