//! What patterns match, which are refused, and that each can be read again.

use proptest::prelude::*;

use super::*;

fn pattern(text: &str) -> UrlPattern {
    UrlPattern::parse(text).expect(text)
}

fn matches(text: &str, url: &str) -> bool {
    pattern(text).matches(&CanonicalUrl::parse(url).expect(url))
}

/// A book holds the canonical text: one that could not be read again would keep the process from starting.
#[test]
fn what_is_taken_can_be_read_again() {
    for path in ["%%361/*", "100%/*", "ü*", &"ü".repeat(339)] {
        let pattern = UrlPattern::parse(&format!("http://h/{path}")).expect(path);
        assert_eq!(UrlPattern::parse(pattern.as_str()), Ok(pattern), "{path}");
    }
    let long = format!("http://h/{}", "ü".repeat(340));
    assert!(matches!(UrlPattern::parse(&long), Err(PatternError::Malformed { .. })));
    for path in ["/.//x", "/\\x", "/%2e//x", "/a/..//x"] {
        let refused = UrlPattern::any_host(path);
        assert!(matches!(refused, Err(PatternError::Malformed { .. })), "{path}: {refused:?}");
    }
    for path in ["/{{}}", "/%7B%7Dx", "/a%3Fb", "/a//x"] {
        let pattern = UrlPattern::any_host(path).expect(path);
        assert_eq!(UrlPattern::from_canonical(pattern.as_str()), Ok(pattern), "{path}");
    }
}

proptest! {
    #[test]
    fn whatever_is_taken_can_be_read_again(path in r"/[a./\\%27bBdDeE{}*?#:@]{0,12}") {
        let taken = [UrlPattern::any_host(&path), UrlPattern::parse(&format!("http://h{path}"))];
        for pattern in taken.into_iter().flatten() {
            prop_assert_eq!(UrlPattern::from_canonical(pattern.as_str()), Ok(pattern));
        }
    }
}

#[test]
fn a_pattern_on_any_host_knows_whole_segments() {
    let pattern = UrlPattern::any_host("/rest/api/v1.{}/lists/{}/members").expect("valid");
    let matches = |url: &str| {
        let url = CanonicalUrl::parse(url).expect(url);
        let by_regex = pattern.matches(&url);
        assert_eq!(regex_matches(&pattern, &url), by_regex, "{url:?}");
        by_regex
    };
    assert!(matches("https://a.org/rest/api/v1.3/lists/L%20x/members?x=1"));
    assert!(matches("http://b:81/rest/api/v1.3/lists/L/members"));
    assert!(!matches("http://b/rest/api/v1.3/lists/L/x/members"));
    assert!(!matches("http://b/rest/api/v1./lists/L/members"));
    assert!(!matches("http://b/rest/api/v1.3/lists//members"));
    assert!(!matches("http://b/rest/api/v1.3/lists/L/members/"));
    let wild = UrlPattern::any_host("/v1/{}/y*").expect("valid");
    assert!(wild.matches(&CanonicalUrl::parse("http://h/v1/a/yz/b").expect("valid")));
    for pattern in [&pattern, &wild] {
        assert_eq!(UrlPattern::from_canonical(pattern.as_str()).as_ref(), Ok(pattern));
    }
    for path in ["x", "", "//h/x", "/x?y", "/x#y", "/x y"] {
        assert!(UrlPattern::any_host(path).is_err(), "{path}");
    }
    assert!(UrlPattern::parse("*://*/v1").is_err(), "only for our own");
}

#[test]
fn a_hostile_pattern_on_any_host_is_decided_soon() {
    let pattern = UrlPattern::any_host(&format!("/{}b", "{}*a".repeat(32))).expect("valid");
    let long = "a".repeat(2_000);
    assert!(!pattern.matches(&CanonicalUrl::parse(&format!("http://h/{long}")).expect("valid")));
    assert!(pattern.matches(&CanonicalUrl::parse(&format!("http://h/{long}b")).expect("valid")));
}

proptest! {
    #[test]
    fn a_pattern_on_any_host_and_its_expression_agree(
        path in r"/(a|b|/|\*|\{\}|\{|\}){0,9}",
        target in r"[ab/]{0,10}([?][ab?]{0,3})?",
    ) {
        let target = CanonicalUrl::parse(&format!("http://h/{target}")).expect("valid");
        if let Ok(pattern) = UrlPattern::any_host(&path) {
            prop_assert_eq!(pattern.matches(&target), regex_matches(&pattern, &target), "{}", path);
        }
    }
}

fn regex_matches(pattern: &UrlPattern, url: &CanonicalUrl) -> bool {
    let text = if pattern.is_on_any_host() { url.path_and_query() } else { url.as_str() };
    let Some(rest) = text.strip_prefix(pattern.literal_start()) else { return false };
    let regex =
        regex_automata::meta::Regex::new(&format!("^(?:{})$", pattern.rest_as_regex())).expect("valid");
    regex.is_match(rest)
}

#[test]
fn a_wildcard_takes_any_run_of_the_path() {
    let data = "https://api.example.org/data/2.5/*";
    for url in ["", "x", "x/y/z", "x?q=1", "?q=1"] {
        assert!(matches(data, &format!("https://api.example.org/data/2.5/{url}")), "{url}");
    }
    for url in [
        "https://api.example.org/data/2.5",
        "https://api.example.org/data/2x5/a",
        "http://api.example.org/data/2.5/a",
        "https://api.example.org:8443/data/2.5/a",
        "https://api.example.org.evil.org/data/2.5/a",
        "https://evil.org/?https://api.example.org/data/2.5/a",
    ] {
        assert!(!matches(data, url), "{url}");
    }
    assert!(matches("https://h.org/*/x/*.json", "https://h.org/a/b/x/c/d.json"));
    assert!(!matches("https://h.org/*/x", "https://h.org/a?/x"), "a wildcard of the path ends at the query");
}

#[test]
fn the_query_counts_only_when_the_pattern_has_one() {
    assert!(matches("https://h.org/a", "https://h.org/a?b=1"));
    assert!(matches("https://h.org/a?b=*", "https://h.org/a?b=1"));
    assert!(!matches("https://h.org/a?b=*", "https://h.org/a"));
    assert!(!matches("https://h.org/a?b=*", "https://h.org/a?c=1"));
    assert_eq!(pattern("https://h.org/a?"), pattern("https://h.org/a#f*"));
}

#[test]
fn spellings_of_one_pattern_become_one() {
    for spelling in ["HTTPS://H.org:443/d%61ta/**", "https://h.org./x/../data/*#f", "https:\\\\h.org\\data/*"]
    {
        assert_eq!(pattern(spelling), pattern("https://h.org/data/*"), "{spelling}");
    }
    let once = pattern("https://h.org/%2561/%2a/***?a=%2E**");
    assert_eq!(pattern(once.as_str()), once);
    assert_eq!(once.as_str(), "https://h.org/%2561/%2A/*?a=.*");
    assert_eq!(pattern("http://h/*").literals(), 9);
}

#[test]
fn refusals_name_the_rule() {
    for text in [
        "https://api.example*.org/x",
        "https://*/x",
        "https://*",
        "https://h%2Aost.org/",
        "https:\\\\*.org/x",
        "https:*.org/x",
        "https://h*:8*0/x",
        "https://h\u{FF0A}.org/",
    ] {
        assert_eq!(UrlPattern::parse(text), Err(PatternError::WildcardInHost), "{text}");
    }
    for text in ["https://h.org:8*0/x", "https://h.org:*/", "http://[::1]:*/"] {
        assert_eq!(UrlPattern::parse(text), Err(PatternError::WildcardInPort), "{text}");
    }
    for text in [
        "",
        "*",
        "/x/*",
        "h.org/*",
        "*://h.org/",
        "http*://h.org/",
        "ftp://h.org/*",
        "https://",
        "https://h.org:99999/",
        "https://h.org/a b",
        " https://h.org/",
        "https://h.org/\n",
        "https://me:pw@h.org/*",
        "https://me*@h.org/",
        "http://[::1/*",
    ] {
        assert!(matches!(UrlPattern::parse(text), Err(PatternError::Malformed { .. })), "{text}");
    }
    let many = format!("https://h.org/{}", "*a".repeat(33));
    assert_eq!(UrlPattern::parse(&many), Err(PatternError::TooManyWildcards { given: 33 }));
}
