//! Spellings of URLs: what becomes of them for matching and for the request, and which are refused.

use proptest::prelude::*;

use super::*;

fn canonical(text: &str) -> String {
    CanonicalUrl::parse(text).expect(text).as_str().to_owned()
}

#[test]
fn spellings_of_one_address_become_one() {
    let plain = "https://api.example.org/data/2.5/x";
    for spelling in [
        "HTTPS://API.Example.ORG:443/data/2.5/x",
        "https://api.example.org./data/2.5/x#part",
        "https://api.example.org/data/./2.5/y/../x",
        "https://api.example.org/d%61ta/2%2e5/x",
        "https:\\\\api.example.org\\data/2.5/x",
        "https://ａpi.example.org/data/2.5/x",
    ] {
        assert_eq!(canonical(spelling), plain, "{spelling}");
    }
    assert_eq!(canonical("http://0x7f.1/"), "http://127.0.0.1/");
    assert_eq!(canonical("http://h.org/a%2fb?q=%c3"), "http://h.org/a%2Fb?q=%C3");
}

#[test]
fn a_canonical_url_is_its_own_canonical_form() {
    for text in [
        "http://h.org/%2561",
        "http://h.org/%",
        "http://h.org/%zz?%",
        "http://h.org/%+f",
        "http://h.org/?a=%2e",
        "http://h.org/%%361",
        "http://h.org/%2%35?%%361",
        "http://h.org/a%%32fb",
        "http://h.org/%%32e/x",
    ] {
        let once = canonical(text);
        assert_eq!(canonical(&once), once, "{text}");
    }
}

#[test]
fn escapes_are_undone_once_and_never_make_another() {
    assert_eq!(canonical("http://h.org/%%361dmin?%%361"), "http://h.org/%2561dmin?%2561");
    assert_eq!(canonical("http://h.org/x/%%32e/y"), "http://h.org/x/%252e/y");
    assert_eq!(canonical("http://h.org/100%"), canonical("http://h.org/100%25"));
}

#[test]
fn the_one_form_stays_within_the_bound_too() {
    let escaped = |letters: usize| CanonicalUrl::parse(&format!("http://h/{}", "ü".repeat(letters)));
    let most = escaped(339).expect("within the bound");
    assert_eq!(CanonicalUrl::parse(most.as_str()), Ok(most));
    assert_eq!(escaped(340), Err(UrlError::TooLong { bytes: 2049 }));
}

#[test]
fn refusals_name_the_rule() {
    assert!(matches!(CanonicalUrl::parse("/x"), Err(UrlError::Malformed { .. })));
    assert!(matches!(CanonicalUrl::parse("ftp://h/x"), Err(UrlError::Scheme { .. })));
    assert!(matches!(CanonicalUrl::parse("http://me:pw@h/x"), Err(UrlError::UserInfo)));
    assert!(matches!(CanonicalUrl::parse("http://"), Err(UrlError::Malformed { .. })));
    let long = format!("http://h/{}", "x".repeat(2048));
    assert!(matches!(CanonicalUrl::parse(&long), Err(UrlError::TooLong { bytes: 2057 })));
}

#[test]
fn the_query_stays_out_of_debug_output() {
    let url = CanonicalUrl::parse("https://h.org/a?token=secret").expect("valid");
    assert_eq!(format!("{url:?}"), "https://h.org/a");
}

/// How a URL that is handed in is called.
fn called(text: &str) -> String {
    CanonicalUrl::handed_in(text).expect(text).called().as_str().to_owned()
}

#[test]
fn what_is_called_is_what_was_handed_in() {
    for same in [
        "https://h.org/a%2fb%2Fc?q=%c3%C3",
        "https://h.org/d%61ta/%7e/~?%61=%zz",
        "https://h.org/100%",
        "https://h.org/%%32e/x",
        "https://h.org./x",
        "http://h.org:8080/a;b=c/@x?redirect=http://../\\x",
        "http://h.org//a//b/...?",
        "http://[::1]:81/x",
    ] {
        assert_eq!(called(same), same);
        // It is what is kept: read again it is called in the same way.
        let kept = CanonicalUrl::parse(same).expect(same);
        assert_eq!(kept, CanonicalUrl::handed_in(same).expect(same));
    }
    for (given, serialised) in [
        ("HTTP://H.org:80", "http://h.org/"),
        ("https://h.org/ü d?ü#part", "https://h.org/%C3%BC%20d?%C3%BC"),
        ("https://ａpi.example.org./x", "https://api.example.org./x"),
    ] {
        assert_eq!(called(given), serialised);
    }
}

#[test]
fn what_a_parser_would_repair_is_refused_with_a_way_out() {
    for (text, rule) in [
        ("http://h/a\tb", "control characters"),
        ("http://h/a\nb", "control characters"),
        ("http://h/a\0", "control characters"),
        ("http://h/a?\u{7f}", "control characters"),
        (" http://h/a", "blanks around"),
        ("http://h/a ", "blanks around"),
        ("http://h\\a", "backslash"),
        ("http://h/a\\b", "backslash"),
        ("http:\\\\h/a", "backslash"),
        ("http:/h/a", "two slashes"),
        ("http:h/a", "two slashes"),
        ("http:h://a", "two slashes"),
        ("http:///h/a", "name a host"),
        ("http:////h/a", "name a host"),
        ("http://h:0/a", "port 0"),
        ("http://h:00000/a", "port 0"),
        ("http://h../a", "empty label"),
        ("http://h%2e./a", "empty label"),
        ("http://h/.", "segment"),
        ("http://h/a/..", "segment"),
        ("http://h/a/./b", "segment"),
        ("http://h/a/../b?c", "segment"),
        ("http://h/%2e/b", "segment"),
        ("http://h/a/%2E./b", "segment"),
        ("http://h/a/.%2e", "segment"),
        ("http://h/a/%2e%2E", "segment"),
    ] {
        match CanonicalUrl::handed_in(text) {
            Err(UrlError::Ambiguous { rule: found, way_out }) => {
                assert!(found.contains(rule) && !way_out.is_empty(), "{text:?}: {found}");
            }
            other => panic!("{text:?}: {other:?}"),
        }
    }
    for text in ["http://@h/a", "http://:@h/a", "http://me@h/a"] {
        assert_eq!(CanonicalUrl::handed_in(text), Err(UrlError::UserInfo), "{text}");
    }
    // The control: patterns and what was taken before are repaired all the same.
    assert_eq!(canonical("http://h/a/../b"), "http://h/b");
    assert!(CanonicalUrl::parse("http://h:0/").is_ok());
    for fine in ["http://h/a?b/../c", "http://h/...", "http://h/a..b", "http://h/.a", "http://h/#/.."] {
        assert!(CanonicalUrl::handed_in(fine).is_ok(), "{fine}");
    }
}

proptest! {
    #[test]
    fn what_is_kept_is_matched_and_called_as_before(text in "http://[a-cA-C0-9.:]{1,6}[/a%0-9.e;?&\\^|`{}\"'<> ü-]{0,16}") {
        if let Ok(url) = CanonicalUrl::handed_in(&text) {
            let kept = CanonicalUrl::parse(url.called().as_str());
            prop_assert_eq!(kept.as_ref(), Ok(&url));
            prop_assert_eq!(CanonicalUrl::parse(url.as_str()).map(|url| url.as_str().to_owned()), Ok(url.as_str().to_owned()));
        }
    }
}
