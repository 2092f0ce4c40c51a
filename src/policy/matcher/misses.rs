//! Which policies come closest to a call that none governs, and what of the call keeps each of them from governing it.
//!
//! What it costs does not grow with the number of policies beyond what the search costs that the call cost already: at
//! most [`JUDGED_AT_MOST`] of the policies whose pattern matches are judged; and in each of the three orders of patterns
//! that are asked, [`NEIGHBOURS`] literal starts on either side of the url are compared with it.
//!
//! Must not know: how misses are shown.

use http::Method;

use super::{MatchVerdict, Matcher, Rule};
use crate::event::{CanonicalUrl, Labels, PolicyId};

/// Most misses that are returned.
const MISSES_AT_MOST: usize = 5;
/// Most policies that are judged although their pattern matches: a start may have thousands, which differ in a label.
const JUDGED_AT_MOST: usize = 1024;
/// How many literal starts are looked at on either side of the url.
const NEIGHBOURS: usize = 8;
/// The rank of a pattern that does not match, behind all that do.
const OTHER_URL: u8 = u8::MAX;
/// The least of a path that a pattern on any host has to begin with, in bytes.
const SHARED_PATH_BYTES: usize = 5;

/// A policy that came close to governing a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Miss {
    /// The policy that does not govern the call.
    pub policy: PolicyId,
    /// What of the call does not fit it.
    pub member: Member,
    /// What was there; `None` where nothing was.
    pub given: Option<String>,
    /// What the policy wants there, in its own terms or as a clause for people.
    pub wants: String,
}

/// What of a call does not fit a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Member {
    /// The address, which no pattern of the policy fits.
    Url,
    /// The verb, which the policy does not list.
    Method,
    /// The label of this name.
    Label(String),
}

/// The call that nothing governs.
#[derive(Clone, Copy)]
struct Call<'c> {
    method: &'c Method,
    url: &'c CanonicalUrl,
    labels: &'c Labels,
}

impl Matcher {
    /// The policies that come closest to a call that none governs, the closest first, each once.
    pub(in crate::policy) fn misses(
        &self,
        method: &Method,
        url: &CanonicalUrl,
        labels: &Labels,
    ) -> Vec<Miss> {
        let call = Call { method, url, labels };
        let mut nearest = Nearest::new();
        self.for_each_match(url, |at| {
            if let Some(found) = self.rules.get(at) {
                nearest.judge(at, || found.rule.judge(method, url, labels), &found.rule, &call);
            }
        });
        if nearest.has_room() {
            self.add_neighbours(&call, &mut nearest);
        }
        nearest.misses.into_iter().map(|(_, miss)| miss).collect()
    }

    /// Adds policies whose pattern does not match, and begins as the url does: with the other scheme, too.
    fn add_neighbours(&self, call: &Call<'_>, nearest: &mut Nearest) {
        let (url, path) = (call.url.as_str(), call.url.path_and_query());
        let other_scheme = match url.split_once("://") {
            Some(("http", rest)) => format!("https://{rest}"),
            Some((_, rest)) => format!("http://{rest}"),
            None => return,
        };
        let asked = [
            (url, false, shared_at_least(url)),
            (&*other_scheme, false, shared_at_least(&other_scheme)),
            (path, true, SHARED_PATH_BYTES),
        ];
        for (text, on_any_host, least) in asked {
            let pattern = |at: usize| &self.rules[at].rule.clause().pattern;
            self.search.for_each_neighbour(text, on_any_host, NEIGHBOURS, pattern, |at, shared| {
                let Some(found) = self.rules.get(at).filter(|_| shared >= least) else { return };
                let pattern = &found.rule.clause().pattern;
                // What matches was judged above.
                if pattern.matches(call.url) {
                    return;
                }
                let given = Some(call.url.without_query().to_owned());
                // The more it shares, the closer.
                let place = (OTHER_URL, usize::MAX - shared);
                nearest.add(place, &found.rule.governed_by.policy, || Miss {
                    policy: found.rule.governed_by.policy.clone(),
                    member: Member::Url,
                    given,
                    wants: pattern.as_str().to_owned(),
                });
            });
        }
    }
}

/// How much of a url a pattern has to begin with to be close: half of its host at least, or thousands of urls with the
/// same scheme would be.
fn shared_at_least(url: &str) -> usize {
    let scheme = url.find("://").map_or(0, |at| at + "://".len());
    let host = url.get(scheme..).and_then(|rest| rest.split('/').next()).map_or(0, str::len);
    scheme + host.div_ceil(2)
}

/// The nearest misses so far, the closest first.
struct Nearest {
    misses: Vec<((u8, usize), Miss)>,
    /// How many policies may still be judged.
    left: usize,
}

impl Nearest {
    fn new() -> Self {
        Self { misses: Vec::with_capacity(MISSES_AT_MOST + 1), left: JUDGED_AT_MOST }
    }

    fn has_room(&self) -> bool {
        self.misses.len() < MISSES_AT_MOST
    }

    /// Judges a policy whose pattern matches, unless enough were.
    fn judge(&mut self, at: usize, judge: impl FnOnce() -> MatchVerdict, rule: &Rule, call: &Call<'_>) {
        let Some(left) = self.left.checked_sub(1) else { return };
        self.left = left;
        let verdict = judge();
        if rule.is_unrelated(&verdict) {
            return;
        }
        let Some((member, given, wants)) = why(&verdict, rule, call) else { return };
        let policy = &rule.governed_by.policy;
        // Of equally close ones the most literal pattern, which stands first.
        self.add((verdict.rank(), at), policy, || Miss { policy: policy.clone(), member, given, wants });
    }

    /// Adds a miss in its place; of one policy the closest stays, and of all the closest few.
    fn add(&mut self, place: (u8, usize), policy: &PolicyId, miss: impl FnOnce() -> Miss) {
        if let Some(known) = self.misses.iter().position(|(_, known)| known.policy == *policy) {
            if self.misses.get(known).is_some_and(|(at, _)| *at <= place) {
                return;
            }
            self.misses.remove(known);
        }
        let at = self.misses.partition_point(|(known, _)| *known <= place);
        if at < MISSES_AT_MOST {
            self.misses.insert(at, (place, miss()));
            self.misses.truncate(MISSES_AT_MOST);
        }
    }
}

/// What does not fit, what was there and what is wanted; `None` where it would fit.
fn why(verdict: &MatchVerdict, rule: &Rule, call: &Call<'_>) -> Option<(Member, Option<String>, String)> {
    let given = |label: &str| call.labels.get(label).map(str::to_owned);
    Some(match verdict {
        MatchVerdict::Applies | MatchVerdict::Outranked(_) => return None,
        MatchVerdict::OtherMethod => {
            let methods: Vec<&str> = rule.clause().methods.iter().map(Method::as_str).collect();
            (Member::Method, Some(call.method.to_string()), methods.join(" or "))
        }
        MatchVerdict::OtherLabel(condition) => {
            let or_none = if condition.or_absent { " or no label" } else { "" };
            let wants = format!("{}{or_none}", condition.value);
            (Member::Label(condition.key.clone()), given(&condition.key), wants)
        }
        MatchVerdict::NoLabel(label) => {
            (Member::Label(label.clone()), None, "any value: it tells its limits apart by it".to_owned())
        }
        MatchVerdict::OtherValues => {
            // Which of several labels it is cannot be said: it is the values together that are not listed.
            let label = rule.spec.scope.labels().first()?;
            (Member::Label(label.to_string()), given(label), "a value that it lists".to_owned())
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::PolicyRef;
    use crate::policy::testing::{id, labels, url};
    use crate::policy::{Clause, LabelCondition, Limits, Origin, Overrides, Scope, Spec, UrlPattern};

    fn clause(pattern: &str) -> Clause {
        let pattern = match pattern.strip_prefix('/') {
            Some(_) => UrlPattern::any_host(pattern),
            None => UrlPattern::parse(pattern),
        };
        Clause::of(pattern.expect("valid"))
    }

    fn rule(name: &str, order: u64, spec: Spec) -> Rule {
        let governed_by = PolicyRef { policy: id(name), generation: 1 };
        Rule { governed_by, origin: Origin::new("x"), order, spec: Arc::new(spec), clause: 0 }
    }

    fn matcher(rules: Vec<(&str, Clause)>) -> Matcher {
        let rules = (0..)
            .zip(rules)
            .map(|(order, (name, clause))| rule(name, order, Spec::new(vec![clause], Limits::default())));
        Matcher::compile(rules.collect(), None).expect("small")
    }

    fn misses(
        matcher: &Matcher,
        to: &str,
        pairs: &[(&str, &str)],
    ) -> Vec<(String, String, Option<String>, String)> {
        let missed = matcher.misses(&Method::POST, &url(to), &labels(pairs));
        let told = |miss: Miss| {
            let member = match miss.member {
                Member::Url => "url".to_owned(),
                Member::Method => "method".to_owned(),
                Member::Label(label) => label,
            };
            (miss.policy.to_string(), member, miss.given, miss.wants)
        };
        missed.into_iter().map(told).collect()
    }

    fn told(
        policy: &str,
        member: &str,
        given: Option<&str>,
        wants: &str,
    ) -> (String, String, Option<String>, String) {
        (policy.to_owned(), member.to_owned(), given.map(str::to_owned), wants.to_owned())
    }

    #[test]
    fn each_miss_says_what_was_there_and_what_is_wanted_the_closest_first() {
        let org =
            Clause { labels: vec![LabelCondition::equals("org", "ACME")], ..clause("https://api.test/v1/*") };
        let verbs = Clause { methods: vec![Method::GET, Method::PUT], ..clause("https://api.test/*") };
        let service = Clause {
            labels: vec![LabelCondition::equals_or_absent("service", "action")],
            ..clause("https://api.test/v1/orders")
        };
        let matcher = matcher(vec![
            ("verbs", verbs),
            ("org", org),
            ("service", service),
            ("path", clause("https://api.test/v2/*")),
            ("elsewhere", clause("https://other.example/*")),
        ]);
        let found = misses(&matcher, "https://api.test/v1/orders?token=1", &[("service", "dataSource")]);
        assert_eq!(
            found,
            [
                told("service", "service", Some("dataSource"), "action or no label"),
                told("org", "org", None, "ACME"),
                told("verbs", "method", Some("POST"), "GET or PUT"),
                told("path", "url", Some("https://api.test/v1/orders"), "https://api.test/v2/*"),
            ]
        );
    }

    #[test]
    fn another_scheme_port_or_a_path_on_any_host_is_close() {
        let matcher = matcher(vec![
            ("plain", clause("http://api.test/orders")),
            ("port", clause("https://api.test:8443/orders")),
            ("plugin", clause("/plugins/a/run")),
            ("all", clause("/*")),
        ]);
        let names = |to: &str| -> Vec<String> {
            misses(&matcher, to, &[]).into_iter().map(|(policy, ..)| policy).collect()
        };
        // What fits any url would govern these: it asks for a label below.
        assert!(names("https://api.test/orders").iter().all(|name| name != "all"));
        assert_eq!(names("https://api.test/orders"), ["plain", "port"]);
        assert_eq!(names("https://host.example/plugins/b"), ["plugin"]);
        assert!(names("https://host.example/x").is_empty());
    }

    #[test]
    fn what_is_told_apart_by_labels_names_the_label() {
        let scope = Scope::new(&["account"]).expect("valid");
        let row = (vec!["acme".into()], Limits::closed());
        let listed = Spec {
            overrides: Overrides::new(&scope, [row]),
            scope,
            ..Spec::new(vec![clause("https://api.test/*")], Limits::default())
        };
        let matcher = Matcher::compile(vec![rule("listed", 0, listed)], None).expect("small");
        let wants_any = "any value: it tells its limits apart by it";
        assert_eq!(misses(&matcher, "https://api.test/", &[]), [told("listed", "account", None, wants_any)]);
        let other = told("listed", "account", Some("b"), "a value that it lists");
        assert_eq!(misses(&matcher, "https://api.test/", &[("account", "b")]), [other]);
    }

    #[test]
    fn policies_that_fit_any_url_and_ask_for_a_label_have_nothing_to_do_with_a_call_without_it() {
        let named = Clause { labels: vec![LabelCondition::equals("api", "login")], ..clause("/*") };
        let matcher = matcher(vec![("login", named)]);
        assert!(misses(&matcher, "https://api.test/", &[]).is_empty());
        let candidates = |pairs| matcher.candidates(&Method::POST, &url("https://api.test/"), &labels(pairs));
        assert!(candidates(&[]).is_empty());
        assert_eq!(candidates(&[("api", "login")]).len(), 1, "the control");
    }

    /// The bound that the head of the file states.
    #[test]
    fn ten_thousand_policies_of_one_pattern_are_not_all_judged() {
        let of = |org: usize| Clause {
            labels: vec![LabelCondition::equals("org", org.to_string())],
            ..clause("https://api.test/*")
        };
        let rules: Vec<Rule> = (0..10_000)
            .map(|org| rule(&format!("p{org}"), 0, Spec::new(vec![of(org)], Limits::default())))
            .collect();
        let (mut nearest, mut judged) = (Nearest::new(), 0);
        let (to, none) = (url("https://api.test/"), Labels::default());
        let call = Call { method: &Method::POST, url: &to, labels: &none };
        for (at, rule) in rules.iter().enumerate() {
            let judge = || {
                judged += 1;
                rule.judge(&Method::POST, &to, &none)
            };
            nearest.judge(at, judge, rule, &call);
        }
        assert_eq!((judged, nearest.misses.len()), (JUDGED_AT_MOST, MISSES_AT_MOST));

        let matcher = Matcher::compile(rules, None).expect("small");
        assert_eq!(misses(&matcher, "https://api.test/x", &[]).len(), MISSES_AT_MOST);
        let mut compared = 0;
        let pattern = |at: usize| &matcher.rules[at].rule.clause().pattern;
        matcher
            .search
            .for_each_neighbour("https://api.test/x", false, NEIGHBOURS, pattern, |_, _| compared += 1);
        assert!(compared > 0 && compared <= 2 * NEIGHBOURS * 4, "{compared}");
    }
}
