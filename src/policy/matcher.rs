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

use crate::event::{CanonicalUrl, Labels, Lane, PolicyRef};
use crate::policy::{LabelCondition, Origin, PolicyError, UrlPattern};

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
    /// Rules of one origin compete with each other.
    contest: usize,
}

impl Matcher {
    pub(super) fn compile(mut rules: Vec<Rule>) -> Result<Self, PolicyError> {
        let mut origins: Vec<Origin> = rules.iter().map(|rule| rule.origin.clone()).collect();
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
                let contest = origins.iter().position(|origin| *origin == rule.origin).unwrap_or_default();
                Ok(Compiled { rule, lane, contest })
            })
            .collect::<Result<_, PolicyError>>()?;
        Ok(Self { rules, search })
    }

    /// The lane of a call: the winners of all origins together. `None` when nothing governs it.
    pub(super) fn route(&self, method: &Method, url: &CanonicalUrl, labels: &Labels) -> Option<Lane> {
        let winners = self.winners(method, url, labels);
        match winners.as_slice() {
            [] => None,
            [only] => self.rules.get(*only).map(|winner| winner.lane.clone()),
            several => {
                let parts = several.iter().filter_map(|at| self.rules.get(*at));
                // Never refused: `compile` let no more origins in than a lane can name.
                Lane::of(parts.map(|winner| winner.rule.governed_by.clone()).collect()).ok()
            }
        }
    }

    /// At most one rule per origin.
    fn winners(&self, method: &Method, url: &CanonicalUrl, labels: &Labels) -> Vec<usize> {
        let mut winners: Vec<(usize, usize)> = Vec::new();
        self.for_each_match(url, |at| {
            let Some(Compiled { rule, contest, .. }) = self.rules.get(at) else { return };
            if !rule.methods.contains(method) || !rule.labels.iter().all(|label| label.holds(labels)) {
                return;
            }
            match winners.iter_mut().find(|(other, _)| other == contest) {
                Some((_, best)) => *best = at.min(*best),
                None => winners.push((*contest, at)),
            }
        });
        winners.into_iter().map(|(_, at)| at).collect()
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
        }
    }

    fn route(rules: Vec<Rule>, at: &str) -> Option<String> {
        let matcher = Matcher::compile(rules).expect("small");
        matcher.route(&Method::GET, &url(at), &Labels::default()).map(|lane| lane.key().to_string())
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
            let lane = matcher.route(&method, &url("https://h.org/a"), &labels(pairs));
            lane.map(|lane| lane.key().to_string())
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
    fn hostile_patterns_stay_within_their_bound() {
        let rules: Vec<Rule> = (0..200)
            .map(|n| rule(&format!("p{n}"), "x", n, &format!("https://h.org/{}{n}", "*a".repeat(31))))
            .collect();
        let matcher = Matcher::compile(rules).expect("within the bound");
        let target = url(&format!("https://h.org/{}7", "a".repeat(1_000)));
        let lane = matcher.route(&Method::GET, &target, &Labels::default()).expect("governed");
        assert_eq!(lane.key().as_str(), "p7@1");
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
            prop_assert_eq!(found, expected);
        }
    }
}
