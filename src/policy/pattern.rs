//! URL patterns: `*` stands for any run of characters, `/` included, in the path, and in the query if the
//! pattern has one; never in scheme, host or port (contracts.md section 7, item 3).
//!
//! What dialects make themselves may leave scheme, host and port open and may let `{}` stand for a run of characters
//! other than `/` that is not empty: [`UrlPattern::any_host`].
//!
//! A pattern goes through [`CanonicalUrl`], so that every spelling of an address that is one address for an
//! event is one address for a pattern. `*` is an ordinary character to that parser and comes out unchanged;
//! an escaped `%2A` stays escaped and is a literal.

use std::fmt;

use crate::event::CanonicalUrl;

/// A checked pattern in canonical form. Two spellings of one pattern are equal.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UrlPattern {
    canonical: Box<str>,
    literals: usize,
}

/// Why a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Not an absolute http(s) URL, or with blanks, a bad port, user information.
    #[error("not a url pattern: {reason}")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
    /// `*` in the host.
    #[error("wildcards are not allowed in the host of a url pattern")]
    WildcardInHost,
    /// `*` in the port.
    #[error("wildcards are not allowed in the port of a url pattern")]
    WildcardInPort,
    /// More than [`UrlPattern::MAX_WILDCARDS`].
    #[error("a url pattern has at most {} wildcards, this one has {given}", UrlPattern::MAX_WILDCARDS)]
    TooManyWildcards {
        /// How many there are, runs counted once.
        given: usize,
    },
}

/// Scheme, host and port of a pattern that leaves them open.
const ANY_HOST: &str = "*://*";

impl UrlPattern {
    /// Most wildcards in one pattern: bounds the cost of matching a hostile one.
    pub const MAX_WILDCARDS: usize = 32;

    /// Parses and normalises. The fragment and an empty query are dropped.
    ///
    /// # Errors
    /// [`PatternError`] names the rule that is broken.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(PatternError::Malformed { reason: "blanks or control characters".to_owned() });
        }
        refuse_wildcards(authority(text))?;
        let url = CanonicalUrl::parse(text)
            .map_err(|error| PatternError::Malformed { reason: error.to_string() })?;
        // Once more behind the parser, which undoes escapes and wide characters in the host.
        refuse_wildcards(authority(url.as_str()))?;
        let mut canonical = String::with_capacity(url.as_str().len());
        let mut wildcards = 0;
        for c in url.as_str().chars() {
            if c == '*' {
                if canonical.ends_with('*') {
                    continue;
                }
                wildcards += 1;
            }
            canonical.push(c);
        }
        if wildcards > Self::MAX_WILDCARDS {
            return Err(PatternError::TooManyWildcards { given: wildcards });
        }
        if url.as_url().query() == Some("") {
            canonical.pop();
        }
        let literals = canonical.chars().filter(|c| *c != '*').count();
        Ok(Self { canonical: canonical.into(), literals })
    }

    /// A path on any host, with `*` for any run of characters and `{}` for one that is not empty and has no `/`. The
    /// query is ignored.
    ///
    /// # Errors
    /// [`PatternError`] as for [`UrlPattern::parse`]; the path has to begin with one `/`, also in its canonical form, and
    /// to have no query.
    pub fn any_host(path: &str) -> Result<Self, PatternError> {
        let pattern = Self::any_host_as_given(path)?;
        // What a book holds has to be readable at the next start: `/.//x` and `/\x` become paths that are not.
        match pattern.canonical.strip_prefix(ANY_HOST).map(Self::any_host_as_given) {
            Some(Ok(again)) if again == pattern => Ok(pattern),
            _ => Err(not_a_path()),
        }
    }

    fn any_host_as_given(path: &str) -> Result<Self, PatternError> {
        if !path.starts_with('/') || path.starts_with("//") || path.contains(['?', '#']) {
            return Err(not_a_path());
        }
        let base = "http://h";
        let on_host = Self::parse(&format!("{base}{path}"))?;
        let path = on_host.canonical.strip_prefix(base).unwrap_or_default().replace("%7B%7D", "{}");
        let literals = path.replace("{}", "").chars().filter(|c| *c != '*').count();
        Ok(Self { canonical: format!("{ANY_HOST}{path}").into(), literals })
    }

    /// Reads a pattern of either kind from its canonical text.
    pub(super) fn from_canonical(text: &str) -> Result<Self, PatternError> {
        text.strip_prefix(ANY_HOST).map_or_else(|| Self::parse(text), Self::any_host)
    }

    /// The canonical text; reading it gives the same pattern.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.canonical
    }

    /// How many characters are literal: the more, the more specific.
    #[must_use]
    pub fn literals(&self) -> usize {
        self.literals
    }

    /// Whether `url` falls under this pattern alone. Many patterns at once: [`crate::policy::Runtime::route`].
    #[must_use]
    pub fn matches(&self, url: &CanonicalUrl) -> bool {
        if let Some(path) = self.canonical.strip_prefix(ANY_HOST) {
            return open_glob(path.as_bytes(), url.path().as_bytes());
        }
        let (head, query) = split_query(url.as_str());
        let (pattern_head, pattern_query) = split_query(&self.canonical);
        glob(pattern_head.as_bytes(), head.as_bytes())
            && pattern_query
                .is_none_or(|pattern| query.is_some_and(|query| glob(pattern.as_bytes(), query.as_bytes())))
    }

    /// The same rule as a regular expression over the whole canonical URL, without anchors, for bytes.
    /// Linear in any regular-expression automaton: a concatenation of literals and loops.
    pub(super) fn to_regex(&self) -> String {
        if let Some(path) = self.canonical.strip_prefix(ANY_HOST) {
            let mut out = String::from("https?://[^/?]*");
            for (nth, part) in path.split("{}").enumerate() {
                out.push_str(if nth == 0 { "" } else { "[^/?]+" });
                push_regex(&mut out, part, "[^?]*");
            }
            out.push_str(r"(?:\?.*)?");
            return out;
        }
        let (head, query) = split_query(&self.canonical);
        let mut out = String::with_capacity(4 * self.canonical.len() + 16);
        push_regex(&mut out, head, "[^?]*");
        match query {
            Some(query) => {
                out.push_str(r"\?");
                push_regex(&mut out, query, ".*");
            }
            None => out.push_str(r"(?:\?.*)?"),
        }
        out
    }
}

fn not_a_path() -> PatternError {
    PatternError::Malformed { reason: "not a path".to_owned() }
}

fn push_regex(out: &mut String, text: &str, wildcard: &str) {
    for byte in text.bytes() {
        match byte {
            b'*' => out.push_str(wildcard),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' => out.push(char::from(byte)),
            other => out.push_str(&format!("\\x{other:02X}")),
        }
    }
}

fn split_query(text: &str) -> (&str, Option<&str>) {
    text.split_once('?').map_or((text, None), |(head, query)| (head, Some(query)))
}

/// `*` any run; everything else itself. Goes back to the last wildcard only, so it is quadratic at worst.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(t) {
        match pattern.get(p) {
            Some(b'*') => {
                p += 1;
                retry = Some((p, t));
            }
            Some(expected) if expected == byte => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((after, from)) => {
                    retry = Some((after, from + 1));
                    (p, t) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

/// The same with `{}` for a run that is not empty and has no `/`. Short patterns of our own: it may go back often.
fn open_glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', rest @ ..] => (0..=text.len()).any(|at| open_glob(rest, text.get(at..).unwrap_or_default())),
        [b'{', b'}', rest @ ..] => {
            let run = text.iter().take_while(|byte| **byte != b'/').count();
            (1..=run).any(|at| open_glob(rest, text.get(at..).unwrap_or_default()))
        }
        [byte, rest @ ..] => {
            text.split_first().is_some_and(|(first, left)| first == byte && open_glob(rest, left))
        }
    }
}

/// Host and port as they stand in `text`, without user information; empty when there is no `://`.
fn authority(text: &str) -> &str {
    let slash = |c: char| c == '/' || c == '\\';
    let Some((_, rest)) = text.split_once(':') else { return "" };
    let Some(rest) = rest.strip_prefix(slash).and_then(|rest| rest.strip_prefix(slash)) else { return "" };
    let rest = rest.trim_start_matches(slash);
    let end = rest.find(|c| slash(c) || c == '?' || c == '#').unwrap_or(rest.len());
    let authority = rest.get(..end).unwrap_or("");
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

fn refuse_wildcards(authority: &str) -> Result<(), PatternError> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (authority, ""),
    };
    if host.contains('*') {
        return Err(PatternError::WildcardInHost);
    }
    if port.contains('*') {
        return Err(PatternError::WildcardInPort);
    }
    Ok(())
}

/// Without the query, as with [`CanonicalUrl`].
impl fmt::Debug for UrlPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(split_query(&self.canonical).0)
    }
}

#[cfg(test)]
mod tests {
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

    fn regex_matches(pattern: &UrlPattern, url: &CanonicalUrl) -> bool {
        let regex =
            regex_automata::meta::Regex::new(&format!("^(?:{})$", pattern.to_regex())).expect("valid");
        regex.is_match(url.as_str())
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
        assert!(
            !matches("https://h.org/*/x", "https://h.org/a?/x"),
            "a wildcard of the path ends at the query"
        );
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
        for spelling in
            ["HTTPS://H.org:443/d%61ta/**", "https://h.org./x/../data/*#f", "https:\\\\h.org\\data/*"]
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
}
