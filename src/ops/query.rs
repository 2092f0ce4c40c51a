//! Query parameters: each known, given once, within its rule; cursors.
//!
//! Must not know: what is asked for.

use axum::extract::Query;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Uri;

use crate::problem::{Problem, codes};

/// The parameters of one request, in order.
pub(super) struct Parameters(Vec<(String, String)>);

/// Most entries that one page may have.
const MAX_PAGE: usize = 1000;
/// Entries of a page unless asked for otherwise.
const PAGE: usize = 100;

impl Parameters {
    /// Reads them; each must be `known`, or begin with one of `families` and have a name after that.
    pub(super) fn read(uri: &Uri, known: &[&str], families: &[&str]) -> Result<Self, Box<Problem>> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| invalid("?", "the query must be pairs such as limit=100, joined by &".to_owned()))?;
        for (at, (name, _)) in pairs.iter().enumerate() {
            let of_family = |start: &&str| name.len() > start.len() && name.starts_with(start);
            if !known.contains(&name.as_str()) && !families.iter().any(of_family) {
                let families: String = families.iter().map(|start| format!(", {start}NAME")).collect();
                let rule = format!("is unknown; known parameters are {}{families}", known.join(", "));
                return Err(invalid(name, rule));
            }
            // Each against all before it: the length of a head bounds how many there can be.
            if pairs.iter().take(at).any(|(other, _)| other == name) {
                return Err(invalid(name, "is given twice; give it once".to_owned()));
            }
        }
        Ok(Self(pairs))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// Those whose names begin with `start`, without it.
    pub(super) fn family<'p>(&'p self, start: &'p str) -> impl Iterator<Item = (&'p str, &'p str)> + Clone {
        self.0.iter().filter_map(move |(name, value)| Some((name.strip_prefix(start)?, value.as_str())))
    }

    /// How many entries are asked for.
    pub(super) fn page(&self, name: &str) -> Result<usize, Box<Problem>> {
        let Some(text) = self.get(name) else { return Ok(PAGE) };
        // `+5` would parse as well, and each page size has one spelling.
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let size = text.parse().ok().filter(|size| plain && (1..=MAX_PAGE).contains(size));
        size.ok_or_else(|| invalid(name, format!("must be a number from 1 to {MAX_PAGE}")))
    }

    /// The text after which to go on.
    pub(super) fn cursor(&self, name: &str) -> Result<Option<String>, Box<Problem>> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let bytes = URL_SAFE_NO_PAD.decode(text).ok();
        let marked = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        match marked.as_deref().and_then(|text| text.strip_prefix(MARK)) {
            Some(last) => Ok(Some(last.to_owned())),
            None => Err(invalid(name, "must be a cursor as an answer or its Link header gave it".to_owned())),
        }
    }
}

/// Begins what a cursor holds, so that also an empty text has one.
const MARK: &str = ">";

/// The cursor behind which the next page begins.
pub(super) fn cursor_after(last: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{MARK}{last}"))
}

/// The problem of a parameter that breaks a rule.
pub(super) fn invalid(name: &str, rule: String) -> Box<Problem> {
    // The answer repeats a name that a caller has sent: it is cut, so that the answer stays short.
    let name: String = name.chars().take(128).collect();
    let detail = format!("{name} {rule}");
    Box::new(Problem::of(codes::INVALID_PARAMETER, detail).field(name, rule))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Parameters, Box<Problem>> {
        let uri = format!("/x?{query}").parse().expect("a uri");
        Parameters::read(&uri, &["limit", "cursor"], &["label."])
    }

    #[test]
    fn each_rule_names_the_parameter() {
        for (query, name) in [
            ("colour=1", "colour"),
            ("label.=1", "label."),
            ("limit=1&limit=2", "limit"),
            ("label.a=1&label.a=2", "label.a"),
        ] {
            let problem = read(query).err().expect("refused");
            assert_eq!((problem.status, problem.code), (400, "invalid_parameter"));
            assert_eq!(problem.errors[0].pointer, name);
            assert!(problem.detail.contains(name), "{}", problem.detail);
        }
        for limit in ["0", "1001", "x", "", "-1", "+5", "99999999999999999999"] {
            let uri = format!("/x?limit={limit}").parse::<Uri>().expect("a uri");
            let parameters = Parameters::read(&uri, &["limit"], &[]).expect("known");
            assert!(parameters.page("limit").is_err(), "{limit}");
        }
        assert_eq!(read("limit=1000").and_then(|found| found.page("limit")).ok(), Some(1000));
        assert_eq!(read("").and_then(|found| found.page("limit")).ok(), Some(100));
    }

    #[test]
    fn cursors_lead_back_and_others_are_refused() {
        for last in ["", "a=1;b=%20", "p"] {
            let cursor = cursor_after(last);
            let found = read(&format!("cursor={cursor}")).expect("known");
            assert_eq!(found.cursor("cursor").ok().flatten().as_deref(), Some(last));
        }
        for wrong in ["", "p", "%00", "!!", "cA"] {
            let found = read(&format!("cursor={wrong}")).expect("known");
            assert!(found.cursor("cursor").is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_family_keeps_its_names_and_values_are_decoded() {
        let found = read("label.org=A%26B+C&limit=5&label.x.y=").expect("known");
        assert_eq!(found.family("label.").collect::<Vec<_>>(), [("org", "A&B C"), ("x.y", "")]);
    }
}
