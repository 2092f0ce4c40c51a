//! URL patterns: `*` stands for any run of characters, `/` included, in the path, and in the query if the
//! pattern has one; never in scheme, host or port.
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
    literals: u32,
    /// How much of the text comes before the first wildcard.
    start: u32,
}

/// Why a text is refused as a pattern, in words for its author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Not an absolute http(s) URL, or with blanks, a bad port, user information.
    #[error("not a url pattern: {reason}")]
    Malformed {
        /// What is wrong, in words for the author.
        reason: String,
    },
    /// A `*` in the host, which would let a policy govern the hosts of others.
    #[error("wildcards are not allowed in the host of a url pattern")]
    WildcardInHost,
    /// A `*` in the port, where only digits may stand.
    #[error("wildcards are not allowed in the port of a url pattern")]
    WildcardInPort,
    /// It has more wildcards than [`UrlPattern::MAX_WILDCARDS`].
    #[error("a url pattern has at most {} wildcards, this one has {given}", UrlPattern::MAX_WILDCARDS)]
    TooManyWildcards {
        /// How many there are, runs counted once.
        given: usize,
    },
}

/// Scheme, host and port of a pattern that leaves them open; no parsed pattern begins so.
const ANY_HOST: &str = "*://*";

impl UrlPattern {
    /// Most wildcards in one pattern: bounds the cost of matching a hostile one.
    pub const MAX_WILDCARDS: usize = 32;

    /// Parses and normalises a pattern with a host. The fragment and an empty query are dropped.
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
            // The canonical form of an empty query is its `?` at the end.
            canonical.pop();
        }
        let literals = canonical.chars().filter(|c| *c != '*').count();
        Ok(Self::of(canonical, literals))
    }

    fn of(canonical: String, literals: usize) -> Self {
        let wildcard = match canonical.strip_prefix(ANY_HOST) {
            Some(path) => {
                path.find('*').into_iter().chain(path.find("{}")).min().map(|at| ANY_HOST.len() + at)
            }
            None => canonical.find('*'),
        };
        let start = wildcard.unwrap_or(canonical.len());
        // A url has a few thousand bytes at most.
        let short = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Self { canonical: canonical.into(), literals: short(literals), start: short(start) }
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
        // Through the parser that the urls of events go through, so that both have one spelling. It escapes the braces.
        let on_host = Self::parse(&format!("{base}{path}"))?;
        debug_assert!(on_host.canonical.starts_with(base), "the path begins behind the host");
        let path = on_host.canonical.strip_prefix(base).unwrap_or_default().replace("%7B%7D", "{}");
        let literals = path.replace("{}", "").chars().filter(|c| *c != '*').count();
        Ok(Self::of(format!("{ANY_HOST}{path}"), literals))
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
        self.literals as usize
    }

    /// Whether `url` falls under this pattern alone. Many patterns at once: [`crate::policy::Runtime::route`].
    #[must_use]
    pub fn matches(&self, url: &CanonicalUrl) -> bool {
        // A parsed pattern begins with its scheme, so no host can be taken for this prefix.
        if let Some(path) = self.canonical.strip_prefix(ANY_HOST) {
            // Most patterns on any host consist of whole segments, which need no table of places.
            let whole_segments = by_segments(path, url.path());
            return whole_segments.unwrap_or_else(|| open_glob(path.as_bytes(), url.path().as_bytes()));
        }
        let (head, query) = split_query(url.as_str());
        let (pattern_head, pattern_query) = split_query(&self.canonical);
        glob(pattern_head, head)
            && pattern_query.is_none_or(|pattern| query.is_some_and(|query| glob(pattern, query)))
    }

    /// Whether every url matches.
    pub(super) fn fits_any(&self) -> bool {
        self.canonical.strip_prefix(ANY_HOST) == Some("/*")
    }

    /// Whether scheme, host and port are open.
    pub(super) fn is_on_any_host(&self) -> bool {
        self.canonical.starts_with(ANY_HOST)
    }

    /// What the path of every url that it matches begins with; where the host is not open, what the whole url does.
    pub(super) fn literal_start(&self) -> &str {
        let from = if self.is_on_any_host() { ANY_HOST.len() } else { 0 };
        self.canonical.get(from..self.start as usize).unwrap_or_default()
    }

    /// The rule for what follows the literal start up to the end of the url, as a regular expression without anchors, for
    /// bytes. Linear in any regular-expression automaton: a concatenation of literals and loops.
    pub(super) fn rest_as_regex(&self) -> String {
        let whole = &*self.canonical;
        let (start, rest) = whole.split_at_checked(self.start as usize).unwrap_or((whole, ""));
        let mut out = String::with_capacity(2 * rest.len() + 16);
        if self.is_on_any_host() {
            for (nth, part) in rest.split("{}").enumerate() {
                out.push_str(if nth == 0 { "" } else { "[^/?]+" });
                push_regex(&mut out, part, "[^?]*");
            }
            out.push_str(r"(?:\?.*)?");
        } else if start.contains('?') {
            push_regex(&mut out, rest, ".*");
        } else {
            let (head, query) = split_query(rest);
            push_regex(&mut out, head, "[^?]*");
            match query {
                Some(query) => {
                    out.push_str(r"\?");
                    push_regex(&mut out, query, ".*");
                }
                None => out.push_str(r"(?:\?.*)?"),
            }
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
            // Whatever could mean something in an expression stands as a number.
            other => out.push_str(&format!("\\x{other:02X}")),
        }
    }
}

fn split_query(text: &str) -> (&str, Option<&str>) {
    text.split_once('?').map_or((text, None), |(head, query)| (head, Some(query)))
}

/// `*` any run; everything else itself. Each literal is looked for once, behind the one before: never worse than linear.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    // With one wildcard nothing stands in between: the empty literal is found at once.
    let (between, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    let within = text.strip_prefix(first).and_then(|text| text.strip_suffix(last));
    let Some(mut within) = within else { return false };
    for literal in between.split('*') {
        // The first place is enough: it leaves the most text for the literals behind it.
        let Some((_, behind)) = within.split_once(literal) else { return false };
        within = behind;
    }
    true
}

/// Segment by segment, where `{}` stands for whole ones only and nothing else is open; `None` for other patterns.
fn by_segments(pattern: &str, path: &str) -> Option<bool> {
    let is_plain = |part: &str| part == "{}" || !part.contains('*') && !part.contains("{}");
    if !pattern.split('/').all(is_plain) {
        return None;
    }
    let mut parts = path.split('/');
    let agrees = |expected: &str| {
        let is_open = expected == "{}";
        parts.next().is_some_and(|part| if is_open { !part.is_empty() } else { part == expected })
    };
    Some(pattern.split('/').all(agrees) && parts.next().is_none())
}

/// The same with `{}` for a run that is not empty and has no `/`. Follows all ways at once, so that it is never worse than
/// quadratic.
fn open_glob(pattern: &[u8], text: &[u8]) -> bool {
    let tokens = tokens(pattern);
    let mut at = vec![false; tokens.len() + 1];
    let mut next = at.clone();
    enter(&tokens, &mut at, 0);
    for byte in text {
        next.fill(false);
        for (place, token) in tokens.iter().enumerate().filter(|(place, _)| at.get(*place) == Some(&true)) {
            match token {
                Token::Any => enter(&tokens, &mut next, place),
                Token::Part if *byte != b'/' => {
                    enter(&tokens, &mut next, place);
                    enter(&tokens, &mut next, place + 1);
                }
                Token::Byte(expected) if expected == byte => enter(&tokens, &mut next, place + 1),
                Token::Part | Token::Byte(_) => {}
            }
        }
        std::mem::swap(&mut at, &mut next);
    }
    at.last() == Some(&true)
}

/// A piece of a pattern on any host.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// `*`: any run of bytes, also an empty one.
    Any,
    /// `{}`: a run of bytes that is not empty and has no `/`.
    Part,
}

fn tokens(mut pattern: &[u8]) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(pattern.len());
    loop {
        let (token, rest) = match pattern {
            [] => return tokens,
            [b'*', rest @ ..] => (Token::Any, rest),
            [b'{', b'}', rest @ ..] => (Token::Part, rest),
            [byte, rest @ ..] => (Token::Byte(*byte), rest),
        };
        tokens.push(token);
        pattern = rest;
    }
}

/// Marks a place before a token, and those behind it that an empty run leads to.
fn enter(tokens: &[Token], at: &mut [bool], place: usize) {
    let empty = tokens.iter().skip(place).take_while(|token| **token == Token::Any).count();
    at.iter_mut().skip(place).take(empty + 1).for_each(|mark| *mark = true);
}

/// Host and port as they stand in `text`, without user information; empty when there is no `://`.
fn authority(text: &str) -> &str {
    // As the parser of urls reads it: backslashes count as slashes, and further slashes are skipped. A wildcard must
    // not pass because two readers see two hosts.
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
        // The colons of an IPv6 address stand in brackets.
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
mod tests;
