//! The search finds what the patterns say one by one, however they lie in each other, and crowds keep their bound.

use proptest::prelude::*;

use super::*;

fn on_host(text: &str) -> UrlPattern {
    UrlPattern::parse(text).expect(text)
}

fn search(patterns: &[UrlPattern]) -> Search {
    Search::build(&patterns.iter().collect::<Vec<_>>(), NFA_BYTES_MAX, None).expect("small")
}

fn found(search: &Search, patterns: &[UrlPattern], url: &str) -> Vec<usize> {
    let url = CanonicalUrl::parse(url).expect(url);
    let mut found = Vec::new();
    search.for_each_match(&url, |at| &patterns[at], |at| found.push(at));
    found.sort_unstable();
    found
}

fn crowds(search: &Search) -> usize {
    let all = search.on_hosts.starts.iter().chain(&search.on_any_host.starts);
    all.filter(|start| start.crowd.is_some()).count()
}

#[test]
fn starts_lie_in_each_other_and_beside_each_other() {
    let patterns = [
        on_host("https://h.org/*"),
        on_host("https://h.org/a"),
        on_host("https://h.org/a*"),
        on_host("https://h.org/a/b/*"),
        on_host("https://h.org/a/b/*/c"),
        on_host("https://h.org/a?x=*"),
        on_host("https://i.org/*"),
        on_host("https://h.org/*"),
        UrlPattern::any_host("/a/{}/c").expect("valid"),
        UrlPattern::any_host("/a*").expect("valid"),
    ];
    let search = search(&patterns);
    let at = |url: &str| found(&search, &patterns, url);
    assert_eq!(at("https://h.org/"), [0, 7], "equal ones both");
    assert_eq!(at("https://h.org/a"), [0, 1, 2, 7, 9]);
    assert_eq!(at("https://h.org/a?x=1"), [0, 1, 2, 5, 7, 9]);
    assert_eq!(at("https://h.org/a/b/c/c"), [0, 2, 3, 4, 7, 9]);
    assert_eq!(at("https://h.org/a/b0"), [0, 2, 7, 9], "above a start and not within it");
    assert_eq!(at("https://i.org/a/b/c?q"), [6, 8, 9]);
    assert_eq!(at("https://z.org/b"), [0; 0]);
    assert_eq!(at("http://a.org/b"), [0; 0]);
    assert_eq!(crowds(&search), 0);
}

#[test]
fn ten_thousand_apart_need_no_automaton_and_a_crowd_has_one() {
    let apart: Vec<_> = (0..10_000).map(|n| on_host(&format!("https://h{}.org/v{n}/*", n % 7))).collect();
    let apart_search = search(&apart);
    assert_eq!(crowds(&apart_search), 0);
    assert_eq!(found(&apart_search, &apart, "https://h3.org/v10/x"), [10]);
    assert_eq!(found(&apart_search, &apart, "https://h4.org/v10/x"), [0; 0]);

    let mut crowd: Vec<_> = (0..100).map(|n| on_host(&format!("https://h.org/a/*/{n}?x=*"))).collect();
    crowd.push(crowd[7].clone());
    crowd.push(on_host("https://h.org/*"));
    let crowd_search = search(&crowd);
    assert_eq!(crowds(&crowd_search), 1);
    assert_eq!(found(&crowd_search, &crowd, "https://h.org/a/b/7?x=y"), [7, 100, 101]);
    assert_eq!(found(&crowd_search, &crowd, "https://h.org/a/b/7"), [101]);

    let any_host = |n| UrlPattern::any_host(&format!("/a/{{}}/{n}")).expect("valid");
    let crowd: Vec<_> = (0..100).map(any_host).collect();
    let crowd_search = search(&crowd);
    assert_eq!(crowds(&crowd_search), 1);
    assert_eq!(found(&crowd_search, &crowd, "http://x:81/a/b/7?x=y"), [7]);
    assert_eq!(found(&crowd_search, &crowd, "http://x:81/a//7"), [0; 0]);
}

fn search_after(before: (&Search, &[UrlPattern]), patterns: &[UrlPattern]) -> Search {
    let pattern = |at: usize| &before.1[at];
    let before = FormerSearch { search: before.0, pattern: &pattern };
    Search::build(&patterns.iter().collect::<Vec<_>>(), NFA_BYTES_MAX, Some(&before)).expect("small")
}

#[test]
fn crowds_are_shared_while_their_patterns_are_the_same() {
    let crowd = |host: &str, count: usize| -> Vec<UrlPattern> {
        (0..count).map(|n| on_host(&format!("https://{host}.org/*/{n}"))).collect()
    };
    let first = [crowd("a", 40), crowd("b", 60)].concat();
    let before = search(&first);
    let automaton = |search: &Search, nth: usize| {
        let crowds = search.on_hosts.starts.iter().filter_map(|start| start.crowd.as_ref());
        crowds.map(|crowd| Arc::as_ptr(&crowd.automaton)).nth(nth).expect("a crowd")
    };
    // In another order, with one more in the second crowd and an equal one more apart from both.
    let second =
        [crowd("b", 61), crowd("a", 40), vec![on_host("https://0.org/*"), on_host("https://0.org/*")]];
    let second = second.concat();
    let after = search_after((&before, &first), &second);
    assert_eq!(automaton(&before, 0), automaton(&after, 0));
    assert_ne!(automaton(&before, 1), automaton(&after, 1));
    assert_eq!(found(&after, &second, "https://a.org/x/7"), [68]);
    assert_eq!(found(&after, &second, "https://b.org/x/60"), [60]);
    // Twice the number of patterns: each crowd has a smaller share of the caches.
    let third = [first.clone(), crowd("c", 100)].concat();
    assert_ne!(automaton(&before, 0), automaton(&search_after((&before, &first), &third), 0));
}

#[test]
fn patterns_beyond_the_bound_are_refused() {
    let patterns: Vec<_> = (0..100).map(|n| on_host(&format!("https://h.org/*{n}"))).collect();
    let patterns: Vec<_> = patterns.iter().collect();
    assert!(Search::build(&patterns, 1 << 20, None).is_ok());
    assert!(matches!(Search::build(&patterns, 1 << 12, None), Err(PolicyError::TooLarge { .. })));
}

#[test]
fn crowds_share_one_bound() {
    let two = |n: usize| on_host(&format!("https://h.org/{}/*{n}", n % 2));
    let patterns: Vec<_> = (0..200).map(two).collect();
    let of = |rest| patterns.iter().skip(rest).step_by(2).collect::<Vec<_>>();
    let (one, both): (Vec<_>, Vec<_>) = (of(0), patterns.iter().collect());
    let (mut too_few, mut enough) = (0, NFA_BYTES_MAX);
    while enough - too_few > 1 {
        let middle = too_few + (enough - too_few) / 2;
        match Search::build(&one, middle, None) {
            Ok(_) => enough = middle,
            Err(_) => too_few = middle,
        }
    }
    assert!(Search::build(&both, enough, None).is_err());
    assert!(Search::build(&both, 4 * enough, None).is_ok(), "the control");
}

proptest! {
    #[test]
    fn the_search_finds_what_each_pattern_says(
        paths in prop::collection::vec("[ab/*]{0,6}([?][ab*?]{0,3})?", 1..60),
        open in prop::collection::vec(r"/(a|b|/|\*|\{\}){0,5}", 0..40),
        target in "[ab/]{0,8}([?][ab?]{0,4})?",
    ) {
        let on_hosts = paths.iter().map(|path| on_host(&format!("http://h/{path}")));
        let open = open.iter().filter_map(|path| UrlPattern::any_host(path).ok());
        let patterns: Vec<_> = on_hosts.chain(open).collect();
        let target = format!("http://h/{target}");
        let url = CanonicalUrl::parse(&target).expect("valid");
        let expected: Vec<_> = (0..patterns.len()).filter(|at| patterns[*at].matches(&url)).collect();
        prop_assert_eq!(&found(&search(&patterns), &patterns, &target), &expected);
        let fewer: Vec<_> = patterns.iter().skip(1).step_by(2).chain(patterns.last()).cloned().collect();
        let after = search_after((&search(&fewer), &fewer), &patterns);
        prop_assert_eq!(found(&after, &patterns, &target), expected);
    }
}
