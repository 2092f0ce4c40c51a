//! Which policies govern a call: selection, contests, stand-in labels, bounds, and one pass against the definition.

use proptest::prelude::*;

use super::*;
use crate::policy::testing::{id, labels, url};
use crate::policy::{Limits, Overrides, Scope};

fn rule(name: &str, origin: &str, order: u64, pattern: &str) -> Rule {
    let pattern = UrlPattern::parse(pattern).expect(pattern);
    let clause = Clause { methods: vec![Method::GET], ..Clause::of(pattern) };
    let spec = Spec { overlap: Overlap::most_specific(), ..Spec::new(vec![clause], Limits::default()) };
    Rule {
        governed_by: PolicyRef { policy: id(name), generation: 1 },
        origin: Origin::new(origin),
        order,
        spec: Arc::new(spec),
        clause: 0,
    }
}

fn spec_of(rule: &mut Rule) -> &mut Spec {
    Arc::get_mut(&mut rule.spec).expect("its own")
}

fn key_of(lane: Result<Option<Lane>, LaneError>) -> Option<String> {
    lane.expect("few policies").map(|lane| lane.key().to_string())
}

fn route(rules: Vec<Rule>, at: &str) -> Option<String> {
    let matcher = Matcher::compile(rules, None).expect("small");
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
    spec_of(&mut narrow).clauses[0].labels =
        vec![LabelCondition::equals("org", "ACME"), LabelCondition::equals_or_absent("service", "action")];
    let matcher =
        Matcher::compile(vec![narrow, rule("wide", "x", 1, "https://h.org/*")], None).expect("small");
    let lane = |method: Method, pairs: &[(&str, &str)]| {
        key_of(matcher.route(&method, &url("https://h.org/a"), &labels(pairs)))
    };
    assert_eq!(lane(Method::GET, &[("org", "ACME")]).as_deref(), Some("narrow@1"));
    assert_eq!(lane(Method::GET, &[("org", "ACME"), ("service", "action")]).as_deref(), Some("narrow@1"));
    assert_eq!(lane(Method::GET, &[("org", "ACME"), ("service", "dataSource")]).as_deref(), Some("wide@1"));
    assert_eq!(lane(Method::GET, &[("org", "acme")]).as_deref(), Some("wide@1"));
    assert_eq!(lane(Method::GET, &[]).as_deref(), Some("wide@1"));
    assert_eq!(lane(Method::PUT, &[("org", "ACME")]), None);
}

#[test]
fn policies_that_apply_together_do_and_their_labels_name_the_lane() {
    let beside = |name: &str, order: u64, scope: &[&str]| {
        let mut rule = rule(name, "file", order, "https://h.org/*");
        let spec = spec_of(&mut rule);
        (spec.overlap, spec.scope) = (Overlap::All, Scope::new(scope).expect("valid"));
        rule
    };
    let rules = vec![
        beside("global", 0, &[]),
        beside("org", 1, &["org"]),
        beside("mart", 2, &["org", "datamart"]),
        rule("cap", "x", 3, "https://h.org/*"),
        rule("narrow", "x", 4, "https://h.org/a*"),
    ];
    let matcher = Matcher::compile(rules, None).expect("small");
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
    assert_eq!(verdict_of("global"), Some(MatchVerdict::Applies));
    assert_eq!(verdict_of("mart"), Some(MatchVerdict::NoLabel("datamart".to_owned())));
    assert_eq!(verdict_of("cap"), Some(MatchVerdict::Outranked(id("narrow"))));
    let posted = matcher.candidates(&Method::POST, &at, &Labels::default());
    assert!(posted.iter().all(|found| found.verdict == MatchVerdict::OtherMethod));
}

#[test]
fn words_make_contests_and_the_clauses_of_one_policy_are_one() {
    let among = |name: &str, order: u64, pattern: &str, word: &str| {
        let mut rule = rule(name, "x", order, pattern);
        spec_of(&mut rule).overlap = Overlap::MostSpecific { among: word.into() };
        rule
    };
    let rules = vec![
        among("all", 0, "https://h.org/*", "service"),
        among("all", 0, "https://h.org/a*", "service"),
        among("ab", 1, "https://h.org/ab*", "service"),
        among("end", 2, "https://h.org/*", "endpoint"),
    ];
    let matcher = Matcher::compile(rules, None).expect("small");
    let route = |at: &str| key_of(matcher.route(&Method::GET, &url(at), &Labels::default()));
    assert_eq!(route("https://h.org/ac").as_deref(), Some("all@1+end@1"));
    assert_eq!(route("https://h.org/ab/c").as_deref(), Some("ab@1+end@1"));
    let found = matcher.candidates(&Method::GET, &url("https://h.org/ab"), &Labels::default());
    let verdicts: Vec<_> = found.iter().map(|found| (found.policy.as_str(), &found.verdict)).collect();
    let outranked = MatchVerdict::Outranked(id("ab"));
    assert_eq!(
        verdicts,
        [("ab", &MatchVerdict::Applies), ("all", &outranked), ("end", &MatchVerdict::Applies)]
    );
}

#[test]
fn a_policy_that_limits_single_values_alone_governs_no_others() {
    let mut rule = rule("p", "x", 0, "https://h.org/*");
    let scope = Scope::new(&["org", "account"]).expect("valid");
    let values = |account: &str, org: &str| vec![account.into(), org.into()];
    let rows = [(values("a;b", "1"), Limits::closed()), (values("c", "2"), Limits::default())];
    let spec = spec_of(&mut rule);
    (spec.overrides, spec.scope) = (Overrides::new(&scope, rows), scope);
    let matcher = Matcher::compile(vec![rule], None).expect("small");
    let at = url("https://h.org/x");
    let verdict = |pairs: &[(&str, &str)]| {
        let found = matcher.candidates(&Method::GET, &at, &labels(pairs));
        let is_routed = matcher.route(&Method::GET, &at, &labels(pairs)).expect("few").is_some();
        let verdict = found.first().map(|found| found.verdict.clone());
        assert_eq!(is_routed, verdict == Some(MatchVerdict::Applies));
        verdict
    };
    assert_eq!(verdict(&[("account", "a;b"), ("org", "1"), ("z", "1")]), Some(MatchVerdict::Applies));
    assert_eq!(
        verdict(&[("account", "c"), ("org", "2")]),
        Some(MatchVerdict::Applies),
        "also without limits"
    );
    assert_eq!(verdict(&[("account", "a;b"), ("org", "2")]), Some(MatchVerdict::OtherValues));
    assert_eq!(verdict(&[("account", "a;b")]), Some(MatchVerdict::NoLabel("org".to_owned())));
    let mut spec = Spec::new(Vec::new(), Limits::default());
    assert_eq!(spec.listed(), None);
    spec.overrides =
        Overrides::new(&Scope::new(&["org"]).expect("valid"), [(vec!["1".into()], Limits::closed())]);
    assert!(spec.listed().is_some());
    spec.limits = Limits::closed();
    assert_eq!(spec.listed(), None, "all values are limited");
}

#[test]
fn the_host_stands_in_for_a_label() {
    let mut rule = rule("c", "x", 0, "https://h.org/*");
    let spec = spec_of(&mut rule);
    spec.clauses[0].pattern = UrlPattern::any_host("/v1/x").expect("valid");
    spec.overlap = Overlap::All;
    spec.scope = Scope::new(&["container"]).expect("valid").with_host("container");
    let matcher = Matcher::compile(vec![rule], None).expect("small");
    let route =
        |at: &str, pairs: &[(&str, &str)]| key_of(matcher.route(&Method::GET, &url(at), &labels(pairs)));
    assert_eq!(route("https://h.org/v1/x?q", &[]).as_deref(), Some("c@1;container=h.org%3A443"));
    assert_eq!(route("http://i:81/v1/x", &[]).as_deref(), Some("c@1;container=i%3A81"));
    assert_eq!(route("http://i/v1/x", &[("container", "k")]).as_deref(), Some("c@1;container=k"));
    assert_eq!(route("http://i/v1/x/y", &[]), None);
}

/// One rule per label; each counts the host as its own label.
fn on_hosts(host_labels: &[&str]) -> Vec<Rule> {
    let on_host = |(order, label): (u64, &&str)| {
        let mut rule = rule(&format!("c{order}"), "x", order, "https://h.org/*");
        let spec = spec_of(&mut rule);
        spec.clauses[0].pattern = UrlPattern::any_host("/v1/x").expect("valid");
        spec.overlap = Overlap::All;
        spec.scope = Scope::new(&[label]).expect("valid").with_host(label);
        rule
    };
    (0..).zip(host_labels).map(on_host).collect()
}

#[test]
fn the_host_stands_in_beside_as_many_labels_as_there_may_be() {
    let matcher = Matcher::compile(on_hosts(&["container"]), None).expect("small");
    let many: Vec<String> = (0..Labels::MAX).map(|n| format!("k{n}")).collect();
    let pairs: Vec<(&str, &str)> = many.iter().map(|key| (key.as_str(), "")).collect();
    let lane = key_of(matcher.route(&Method::GET, &url("https://h.org/v1/x"), &labels(&pairs)));
    assert_eq!(lane.as_deref(), Some("c0@1;container=h.org%3A443"));
}

#[test]
fn a_host_that_is_longer_than_a_label_stands_in_too() {
    let long = format!("{}.{}.{}.{}", "a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61));
    let target = url(&format!("https://{long}/v1/x"));
    let mut rules = on_hosts(&["container"]);
    let scope = rules[0].spec.scope.clone();
    let value = target.host_and_port().into_boxed_str();
    assert!(value.len() > Labels::MAX_VALUE_BYTES);
    spec_of(&mut rules[0]).overrides = Overrides::new(&scope, [(vec![value], Limits::closed())]);
    let matcher = Matcher::compile(rules, None).expect("small");
    let lane = matcher.route(&Method::GET, &target, &Labels::default()).expect("short").expect("listed");
    assert!(lane.key().as_str().starts_with("c0@1;container=aaa"), "{lane:?}");
    assert_eq!(lane.scope_key(scope.labels()), scope.key_of(&Labels::default(), &target));
}

#[test]
fn the_host_stands_in_for_the_label_of_each_policy() {
    let matcher = Matcher::compile(on_hosts(&["container", "box"]), None).expect("small");
    let route = |pairs: &[(&str, &str)]| {
        key_of(matcher.route(&Method::GET, &url("https://h.org/v1/x"), &labels(pairs)))
    };
    assert_eq!(route(&[]).as_deref(), Some("c0@1+c1@1;box=h.org%3A443;container=h.org%3A443"));
    assert_eq!(route(&[("box", "b")]).as_deref(), Some("c0@1+c1@1;box=b;container=h.org%3A443"));
}

#[test]
fn an_event_under_too_many_policies_is_refused_and_not_let_through() {
    let rules = (0..13).map(|n| {
        let mut rule = rule(&format!("p{n}"), "file", n, "https://h.org/*");
        spec_of(&mut rule).overlap = Overlap::All;
        rule
    });
    let matcher = Matcher::compile(rules.collect(), None).expect("small");
    let refused = matcher.route(&Method::GET, &url("https://h.org/a"), &Labels::default());
    assert_eq!(refused, Err(LaneError::TooManyPolicies { given: 13 }));
}

#[test]
fn hostile_patterns_stay_within_their_bound() {
    let rules: Vec<Rule> = (0..200)
        .map(|n| rule(&format!("p{n}"), "x", n, &format!("https://h.org/{}{n}", "*a".repeat(31))))
        .collect();
    let matcher = Matcher::compile(rules, None).expect("within the bound");
    let target = url(&format!("https://h.org/{}7", "a".repeat(1_000)));
    let lane = key_of(matcher.route(&Method::GET, &target, &Labels::default()));
    assert_eq!(lane.as_deref(), Some("p7@1"));
}

#[test]
fn too_many_origins_are_refused_and_not_left_unmatched() {
    let rules = (0..13).map(|n| rule(&format!("p{n}"), &format!("o{n}"), n, "https://h.org/*")).collect();
    assert!(matches!(Matcher::compile(rules, None), Err(PolicyError::TooManyOrigins { given: 13 })));
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
        patterns in prop::collection::vec("[ab/*]{0,8}([?][ab*?]{0,4})?", 1..40),
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
            .filter(|rule| naive(rule.clause().pattern.as_str().as_bytes(), target.as_str().as_bytes(), false))
            .map(|rule| (rule.clause().pattern.literals(), rule.order, &rule.origin, &rule.governed_by))
            .collect();
        for rule in &rules {
            let alone = naive(rule.clause().pattern.as_str().as_bytes(), target.as_str().as_bytes(), false);
            prop_assert_eq!(rule.clause().pattern.matches(&target), alone);
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
        let found = Matcher::compile(rules, None).expect("small").route(&Method::GET, &target, &Labels::default());
        prop_assert_eq!(found, Ok(expected));
    }
}

#[test]
fn the_search_is_shared_while_the_patterns_are_the_same_and_in_the_same_order() {
    let rules = |second: &str, order: u64| {
        vec![
            rule("a", "x", 0, "https://h.org/a/*"),
            rule("b", "x", order, second),
            rule("c", "x", 2, "https://h.org/*"),
        ]
    };
    let before = Matcher::compile(rules("https://h.org/b/*", 1), None).expect("small");
    let after = |rules| Matcher::compile(rules, Some(&before)).expect("small");
    let is_shared = |after: &Matcher| Arc::ptr_eq(&after.search, &before.search);
    let same = after(rules("https://h.org/b/*", 1));
    assert!(is_shared(&same), "other values of the same patterns");
    let (moved, other) = (after(rules("https://h.org/b/*", 7)), after(rules("https://h.org/d/*", 1)));
    assert!(is_shared(&moved), "younger, and in its place all the same");
    assert!(!is_shared(&other));
    let target = url("https://h.org/d/x");
    let lane = |matcher: &Matcher| key_of(matcher.route(&Method::GET, &target, &Labels::default()));
    assert_eq!((lane(&same), lane(&other)), (Some("c@1".to_owned()), Some("b@1".to_owned())));
}
