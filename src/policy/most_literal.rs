//! Of several url patterns the most literal one that matches a url, found by one search whatever their number.
//!
//! Must not know: what a pattern stands for.

use crate::event::CanonicalUrl;
use crate::policy::search::{NFA_BYTES_MAX, Search};
use crate::policy::{PolicyError, UrlPattern};

/// Compiled patterns, known by their places in the list that they were given in.
pub(crate) struct MostLiteral {
    /// The most literal first; each with its place in the list.
    ranked: Box<[(UrlPattern, usize)]>,
    search: Search,
}

impl MostLiteral {
    /// Compiles the patterns. Of two that are equally literal and match one url the earlier one rules: whoever wants no
    /// such pair looks for them with [`is_tie`].
    ///
    /// # Errors
    /// [`PolicyError::TooLarge`] when patterns that begin alike are too large together.
    pub(crate) fn compile<'p>(patterns: impl Iterator<Item = &'p UrlPattern>) -> Result<Self, PolicyError> {
        let mut ranked: Vec<(UrlPattern, usize)> = patterns.cloned().zip(0..).collect();
        ranked.sort_by_key(|(pattern, place)| (std::cmp::Reverse(pattern.literals()), *place));
        let patterns: Vec<&UrlPattern> = ranked.iter().map(|(pattern, _)| pattern).collect();
        let search = Search::build(&patterns, NFA_BYTES_MAX, None)?;
        Ok(Self { ranked: ranked.into(), search })
    }

    /// The place in the list of the most literal pattern that matches.
    #[must_use]
    pub(crate) fn find(&self, url: &CanonicalUrl) -> Option<usize> {
        let mut best: Option<usize> = None;
        // The search was built from these.
        let pattern = |at: usize| &self.ranked[at].0;
        self.search.for_each_match(url, pattern, |at| best = Some(best.map_or(at, |best| best.min(at))));
        best.and_then(|at| self.ranked.get(at)).map(|(_, place)| *place)
    }
}

/// Whether neither of two patterns with hosts is more literal and there are urls that both match.
#[must_use]
pub(crate) fn is_tie(one: &UrlPattern, other: &UrlPattern) -> bool {
    if one.literals() != other.literals() {
        return false;
    }
    let (one_head, one_query) = split_query(one.as_str());
    let (other_head, other_query) = split_query(other.as_str());
    // A pattern without a query matches whatever query the other one wants.
    let queries_meet = one_query.zip(other_query).is_none_or(|(one, other)| meet(one, other));
    queries_meet && meet(one_head, other_head)
}

fn split_query(text: &str) -> (&str, Option<&str>) {
    text.split_once('?').map_or((text, None), |(head, query)| (head, Some(query)))
}

/// Whether some text fits both, where `*` stands for any run of characters.
fn meet(one: &str, other: &str) -> bool {
    let (start, other_start) = (literal_start(one), literal_start(other));
    // Most pairs differ here: only what begins alike is compared place by place.
    if !start.starts_with(other_start) && !other_start.starts_with(start) {
        return false;
    }
    let (one, other) = (one.as_bytes(), other.as_bytes());
    // Whether one text can be what begins at a place of `one` and what begins at each place of `other`, from their ends
    // to their beginnings.
    let is_open = |at: usize| other.iter().skip(at).all(|byte| *byte == b'*');
    let mut below: Vec<bool> = (0..=other.len()).map(is_open).collect();
    for byte in one.iter().rev() {
        let mut row = vec![false; other.len() + 1];
        for at in (0..=other.len()).rev() {
            let known = |cells: &[bool], at: usize| cells.get(at) == Some(&true);
            let facing = other.get(at);
            let fits = if *byte == b'*' || facing == Some(&b'*') {
                // It stands for nothing, or takes what faces it.
                known(&below, at) || known(&row, at + 1)
            } else {
                facing == Some(byte) && known(&below, at + 1)
            };
            if let Some(cell) = row.get_mut(at) {
                *cell = fits;
            }
        }
        below = row;
    }
    below.first() == Some(&true)
}

fn literal_start(pattern: &str) -> &str {
    pattern.split_once('*').map_or(pattern, |(start, _)| start)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> UrlPattern {
        UrlPattern::parse(text).expect(text)
    }

    fn found(patterns: &[&str], url: &str) -> Option<usize> {
        let patterns: Vec<UrlPattern> = patterns.iter().map(|text| pattern(text)).collect();
        let compiled = MostLiteral::compile(patterns.iter()).expect("small");
        compiled.find(&CanonicalUrl::parse(url).expect(url))
    }

    #[test]
    fn the_most_literal_one_rules_wherever_it_stands() {
        let patterns = ["https://h.org/*", "https://h.org/a/*", "https://h.org/a/*/c?k=*", "https://i.org/x"];
        for (url, rules) in [
            ("https://h.org/", Some(0)),
            ("https://h.org/a/b", Some(1)),
            ("https://h.org/a/b/c", Some(1)),
            ("https://h.org/a/b/c?k=1", Some(2)),
            ("https://i.org/x?any", Some(3)),
            ("https://i.org/x/y", None),
            ("http://h.org/", None),
        ] {
            assert_eq!(found(&patterns, url), rules, "{url}");
        }
        assert_eq!(found(&[], "https://h.org/"), None);
    }

    #[test]
    fn a_tie_is_two_equally_literal_patterns_that_match_one_url() {
        for (one, other, tie) in [
            ("https://h.org/*", "https://h.org/*", true),
            ("https://h.org/*", "https://i.org/*", false),
            ("https://h.org/a*", "https://h.org/*a", true),
            ("https://h.org/ab*", "https://h.org/ba*", false),
            ("https://h.org/*ab", "https://h.org/*ba", false),
            ("https://h.org/a*b", "https://h.org/*ab", true),
            ("https://h.org/*", "https://h.org/*a", false),
            ("https://h.org/x", "https://h.org/x", true),
            ("https://h.org/a?k*", "https://h.org/*?kb", true),
            ("https://h.org/a?k=1", "https://h.org/a?k=2", false),
            ("https://h.org/abc*", "https://h.org/*?ab", true),
        ] {
            assert_eq!(is_tie(&pattern(one), &pattern(other)), tie, "{one} {other}");
            assert_eq!(is_tie(&pattern(other), &pattern(one)), tie, "{other} {one}");
        }
    }

    proptest! {
        /// What one url matches twice is a tie: texts of two letters make that frequent.
        #[test]
        fn no_url_that_two_patterns_match_is_missed(one in "[ab*]{0,6}", other in "[ab*]{0,6}", text in "[ab]{0,6}") {
            let url = CanonicalUrl::parse(&format!("https://h.org/{text}")).expect("valid");
            let at = |path: &str| pattern(&format!("https://h.org/{path}"));
            let (one, other) = (at(&one), at(&other));
            if one.literals() == other.literals() && one.matches(&url) && other.matches(&url) {
                prop_assert!(is_tie(&one, &other));
            }
        }
    }
}
