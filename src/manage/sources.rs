//! Where labels come from when events do not carry them: the one table that the manual, the API description and refusals
//! show, and the labels that requests carry for all their events.
//!
//! Must not know: any one dialect, what becomes of the labels.

use std::sync::Arc;

use http::HeaderMap;

use crate::manage::dialect::{Carried, Source};
use crate::manage::{Options, all};
use crate::problem::Problem;

/// Reads the labels that a request carries for all of its events.
pub(crate) type CarriedBy = Arc<dyn Fn(&HeaderMap) -> Result<Carried, Box<Problem>> + Send + Sync>;

/// The labels that a request carries, of all dialects; of several with one name that of the first dialect.
pub(crate) fn carried(options: &Options) -> CarriedBy {
    let options = options.clone();
    Arc::new(move |headers| {
        let mut carried: Carried = Vec::new();
        for dialect in all() {
            for (label, value) in dialect.carried(&options, headers)? {
                if carried.iter().all(|(known, _)| *known != label) {
                    carried.push((label, value));
                }
            }
        }
        Ok(carried)
    })
}

/// Where a label comes from when an event does not carry it, as a clause for people; `None` for labels of no dialect.
pub(crate) fn source_of(label: &str) -> Option<String> {
    let mut sources = all().iter().flat_map(|dialect| dialect.sources());
    sources.find(|source| source.label == label).map(words)
}

/// The rows of the table: the system, one of its labels, and where that comes from without a label.
fn rows() -> Vec<[String; 3]> {
    let of = |dialect: &&'static dyn crate::manage::Dialect| {
        let name = dialect.name();
        dialect.sources().iter().map(move |source| [name.to_owned(), source.label.to_owned(), words(source)])
    };
    all().iter().flat_map(of).collect()
}

/// The headers of requests that are labels of all their events, each once, with the label.
pub(crate) fn headers() -> Vec<(&'static str, &'static str)> {
    let mut headers = Vec::new();
    for source in all().iter().flat_map(|dialect| dialect.sources()) {
        let Some(header) = source.header else { continue };
        if !headers.contains(&(header, source.label)) {
            headers.push((header, source.label));
        }
    }
    headers
}

/// The rows as a table of Markdown.
pub(crate) fn table() -> String {
    let mut table = "| system | label | without a label of the event |\n|---|---|---|\n".to_owned();
    for [system, label, otherwise] in rows() {
        table.push_str(&format!("| {system} | `{label}` | {otherwise} |\n"));
    }
    table
}

fn words(source: &Source) -> String {
    let header = source.header.map(|header| format!("the header `{header}` of the request"));
    let all = [source.implied.map(str::to_owned), header, Some(source.otherwise.to_owned())];
    all.into_iter().flatten().collect::<Vec<_>>().join(", else ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_of_every_dialect_has_one_source() {
        for dialect in all() {
            let sources: Vec<&str> = dialect.sources().iter().map(|source| source.label).collect();
            assert_eq!(sources, dialect.labels(), "{}", dialect.name());
        }
        for [_, label, otherwise] in rows() {
            assert!(source_of(&label).is_some() && !otherwise.contains('|'), "{label}");
        }
    }

    #[test]
    fn headers_are_labels_of_all_events_and_none_is_understood_in_two_ways() {
        let carried = carried(&Options::default());
        let of = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, http::HeaderValue::from_static(value));
            }
            carried(&headers).map_err(|problem| (problem.code, problem.detail))
        };
        let labels =
            of(&[("x-gw-ims-org-id", "ACME@AdobeOrg"), ("x-sandbox-name", " dev "), ("x-api-key", "k1")]);
        let expected = [("org", "ACME@AdobeOrg"), ("sandbox", "dev"), ("api_key", "k1")];
        assert_eq!(labels, Ok(expected.map(|(label, value)| (label, value.to_owned())).to_vec()));
        assert_eq!(of(&[("x-gw-ims-org-id", " "), ("x-other", "a")]), Ok(Vec::new()));
        let (code, detail) = of(&[("x-api-key", "a"), ("x-api-key", "b")]).expect_err("twice");
        assert!(
            code == "invalid_header" && detail.contains("x-api-key") && detail.contains("once"),
            "{detail}"
        );
    }
}
