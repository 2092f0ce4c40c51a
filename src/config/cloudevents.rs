//! The `[[cloudevents]]` blocks of the configuration file: which call is made for the CloudEvents of a source that do
//! not say so themselves. Every member that breaks a rule is a problem of its own, with its line and the way out.
//!
//! Must not know: how CloudEvents come in, how calls are made.

use std::collections::{BTreeMap, BTreeSet};

use http::{HeaderMap, Method};

use crate::config::blocks::BlockReader;
use crate::config::layers::ConfigBlock;
use crate::config::policies::{members, place, problem};
use crate::config::{ConfigPlace, ConfigProblem};
use crate::event::{CanonicalUrl, Labels, TraceContext, forbidden_header};
use crate::ingest::Target;
use crate::policy::Given;

/// All members, in the order in which they are written.
const MEMBERS: [&str; 5] = ["source", "url", "method", "headers", "labels"];
/// Most blocks of a file; a further one is a problem.
const MAX_BLOCKS: usize = 1_000;

/// Checks all blocks and notes every problem. With `known`, other labels are problems.
pub(super) fn targets(
    blocks: &[ConfigBlock],
    known: Option<&BTreeSet<String>>,
    problems: &mut Vec<ConfigProblem>,
) -> Vec<Target> {
    let mut found = Vec::with_capacity(blocks.len());
    let mut sources: BTreeMap<String, ConfigPlace> = BTreeMap::new();
    for (at, block) in blocks.iter().enumerate() {
        let members = members(block);
        let called = format!("cloudevents {}", at + 1);
        let mut reader = TargetReader { block: BlockReader::new(&members), known };
        if at == MAX_BLOCKS {
            reader.block.note(&[], format!("is one too many; at most {MAX_BLOCKS} blocks are read"));
        }
        let target = reader.target();
        if let Some(Given::Text(source)) = members.get("source") {
            let place = place(block, &["source".to_owned()]);
            match sources.get(source) {
                Some(first) => {
                    let rule = format!("must be unique; the block at {first} has it already");
                    reader.block.note(&["source"], rule);
                }
                None => drop(sources.insert(source.clone(), place)),
            }
        }
        let faults = reader.block.faults;
        // A block with any fault makes no target: the fault may be in what the call would carry.
        found.extend(target.filter(|_| faults.is_empty()));
        problems.extend(faults.into_iter().map(|fault| problem(block, &called, fault)));
        // One problem stands for all further blocks.
        if at == MAX_BLOCKS {
            break;
        }
    }
    found
}

struct TargetReader<'a> {
    block: BlockReader<'a>,
    known: Option<&'a BTreeSet<String>>,
}

impl TargetReader<'_> {
    /// `None` when a member breaks a rule; what is absent takes its default.
    fn target(&mut self) -> Option<Target> {
        self.block.refuse_unknown(&MEMBERS);
        let source = self.source();
        let url = self.url();
        let method = self.method();
        let headers = self.headers();
        let labels = self.labels();
        let (source, is_prefix) = source?;
        Some(Target { source, is_prefix, url: url?, method: method?, headers, labels })
    }

    fn source(&mut self) -> Option<(String, bool)> {
        let rule =
            "the source of the CloudEvents, as /shop/orders, or its beginning and an asterisk, as /shop/*";
        let text = self.block.required_text("source", rule)?;
        let (source, is_prefix) = text.strip_suffix('*').map_or((text, false), |source| (source, true));
        let is_uri = |byte: u8| byte.is_ascii_graphic() && !br#""<>\^`{|}"#.contains(&byte);
        if text.is_empty() || !source.bytes().all(is_uri) {
            self.block.note(&["source"], format!("must be {rule}, with other characters percent-encoded"));
            return None;
        }
        Some((source.to_owned(), is_prefix))
    }

    fn url(&mut self) -> Option<CanonicalUrl> {
        let text = self.block.required_text("url", "the http or https address to call")?;
        match CanonicalUrl::handed_in(text) {
            Ok(url) => Some(url),
            Err(error) => {
                self.block.note(&["url"], format!("must be an absolute http or https address: {error}"));
                None
            }
        }
    }

    fn method(&mut self) -> Option<Method> {
        let text = match self.block.members.get("method") {
            None => return Some(Method::POST),
            Some(Given::Text(text)) => text,
            // No method is empty: it is refused below with the words for a wrong one.
            Some(_) => "",
        };
        match Method::from_bytes(text.to_ascii_uppercase().as_bytes()) {
            Ok(method) if method != Method::CONNECT && text.len() <= 32 => Some(method),
            _ => {
                self.block.note(&["method"], "must be an HTTP method such as \"POST\" or \"PUT\"");
                None
            }
        }
    }

    fn headers(&mut self) -> HeaderMap {
        self.block.headers("headers = { authorization = \"Bearer …\" }", |name| {
            if forbidden_header(name) {
                Some("belongs to the connection or to tidegate itself; leave it out")
            } else if name.as_str().starts_with("ce-") || name == http::header::CONTENT_TYPE {
                Some("is a part of each CloudEvent; leave it out")
            } else if TraceContext::is_name(name) {
                Some("belongs to the trace of each event; leave it out")
            } else {
                None
            }
        })
    }

    fn labels(&mut self) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        for (name, given) in self.block.table("labels", "labels = { org = \"ACME\" }") {
            if self.known.is_some_and(|known| !known.contains(name)) {
                self.block.note(
                    &["labels", name],
                    "is not a known label; list it under labels.declared if it is meant",
                );
                continue;
            }
            let Given::Text(value) = given else {
                self.block.note(&["labels", name], "must be text");
                continue;
            };
            match Labels::new([(name.clone(), value.clone())]) {
                Ok(_) => drop(labels.insert(name.clone(), value.clone())),
                Err(error) => self.block.note(&["labels", name], error.to_string()),
            }
        }
        if labels.len() > Labels::MAX {
            self.block.note(&["labels"], format!("must have at most {} labels", Labels::MAX));
        }
        labels
    }
}

#[cfg(test)]
mod tests;
