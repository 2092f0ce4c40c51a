//! The `[[cloudevents]]` blocks of the configuration file: which call is made for the CloudEvents of a source that do
//! not say so themselves. Every member that breaks a rule is a problem of its own, with its line and the way out.
//!
//! Must not know: how CloudEvents come in, how calls are made.

use std::collections::{BTreeMap, BTreeSet};

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::config::layers::ConfigBlock;
use crate::config::policies::{members, place, problem};
use crate::config::{ConfigPlace, ConfigProblem};
use crate::event::{CanonicalUrl, Labels, TraceContext, forbidden_header};
use crate::ingest::Target;
use crate::policy::{Fault, Given, Members, nearest};

/// All members, in the order in which they are written.
const MEMBERS: [&str; 5] = ["source", "url", "method", "headers", "labels"];
/// Most blocks of a file; a further one is a problem.
const MAX_BLOCKS: usize = 1_000;
/// Most header values of a block, and the longest sum of their names and values in bytes: half of what an event may
/// have.
const MAX_HEADERS: usize = 32;
const MAX_HEADER_BYTES: usize = 8 * 1024;

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
        let mut reader = TargetReader { members: &members, known, faults: Vec::new() };
        if at == MAX_BLOCKS {
            reader.note(&[], format!("is one too many; at most {MAX_BLOCKS} blocks are read"));
        }
        let target = reader.target();
        if let Some(Given::Text(source)) = members.get("source") {
            let place = place(block, &["source".to_owned()]);
            match sources.get(source) {
                Some(first) => {
                    reader.note(&["source"], format!("must be unique; the block at {first} has it already"))
                }
                None => drop(sources.insert(source.clone(), place)),
            }
        }
        let TargetReader { faults, .. } = reader;
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
    members: &'a Members,
    known: Option<&'a BTreeSet<String>>,
    faults: Vec<Fault>,
}

impl<'a> TargetReader<'a> {
    /// `None` when a member breaks a rule; what is absent takes its default.
    fn target(&mut self) -> Option<Target> {
        for (name, _) in &self.members.0 {
            if !MEMBERS.contains(&name.as_str()) {
                let way_out = nearest(name, MEMBERS.into_iter()).map_or_else(
                    || format!("known are {}", MEMBERS.join(", ")),
                    |name| format!("did you mean {name}?"),
                );
                self.note(&[name], format!("unknown member; {way_out}"));
            }
        }
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
        let text = self.required_text("source", rule)?;
        let (source, is_prefix) = text.strip_suffix('*').map_or((text, false), |source| (source, true));
        let is_uri = |byte: u8| byte.is_ascii_graphic() && !br#""<>\^`{|}"#.contains(&byte);
        if text.is_empty() || !source.bytes().all(is_uri) {
            self.note(&["source"], format!("must be {rule}, with other characters percent-encoded"));
            return None;
        }
        Some((source.to_owned(), is_prefix))
    }

    fn url(&mut self) -> Option<CanonicalUrl> {
        let text = self.required_text("url", "the http or https address to call")?;
        match CanonicalUrl::parse(text) {
            Ok(url) => Some(url),
            Err(error) => {
                self.note(&["url"], format!("must be an absolute http or https address: {error}"));
                None
            }
        }
    }

    fn method(&mut self) -> Option<Method> {
        let text = match self.members.get("method") {
            None => return Some(Method::POST),
            Some(Given::Text(text)) => text,
            // No method is empty: it is refused below with the words for a wrong one.
            Some(_) => "",
        };
        match Method::from_bytes(text.to_ascii_uppercase().as_bytes()) {
            Ok(method) if method != Method::CONNECT && text.len() <= 32 => Some(method),
            _ => {
                self.note(&["method"], "must be an HTTP method such as \"POST\" or \"PUT\"");
                None
            }
        }
    }

    fn headers(&mut self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let (mut count, mut bytes) = (0, 0);
        for (name, given) in self.table("headers", "headers = { authorization = \"Bearer …\" }") {
            let Some(parsed) = self.header_name(name) else { continue };
            if headers.contains_key(&parsed) {
                self.note(&["headers", name], "is given twice; give a list of values under one name");
                continue;
            }
            let values = match given {
                Given::List(values) => values.as_slice(),
                one => std::slice::from_ref(one),
            };
            for value in values {
                // A value that is no text becomes one that no header may have, and is refused below with the same
                // words.
                let text = if let Given::Text(text) = value { text.as_str() } else { "\n" };
                match HeaderValue::from_str(text) {
                    Ok(mut value) => {
                        // It may be a credential.
                        value.set_sensitive(true);
                        (count, bytes) = (count + 1, bytes + name.len() + value.len());
                        headers.append(parsed.clone(), value);
                    }
                    Err(_) => {
                        let rule = "must be text, or a list of texts, of visible ASCII characters and spaces";
                        self.note(&["headers", name], rule);
                    }
                }
            }
        }
        if count > MAX_HEADERS || bytes > MAX_HEADER_BYTES {
            let rule = format!("must have at most {MAX_HEADERS} values and {MAX_HEADER_BYTES} bytes in all");
            self.note(&["headers"], rule);
        }
        headers
    }

    fn header_name(&mut self, name: &str) -> Option<HeaderName> {
        let Ok(parsed) = HeaderName::from_bytes(name.as_bytes()) else {
            self.note(&["headers", name], "is not a header name");
            return None;
        };
        let rule = if forbidden_header(&parsed) {
            "belongs to the connection or to tidegate itself; leave it out"
        } else if parsed.as_str().starts_with("ce-") || parsed == http::header::CONTENT_TYPE {
            "is a part of each CloudEvent; leave it out"
        } else if TraceContext::is_name(&parsed) {
            "belongs to the trace of each event; leave it out"
        } else {
            return Some(parsed);
        };
        self.note(&["headers", name], rule);
        None
    }

    fn labels(&mut self) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        for (name, given) in self.table("labels", "labels = { org = \"ACME\" }") {
            if self.known.is_some_and(|known| !known.contains(name)) {
                self.note(
                    &["labels", name],
                    "is not a known label; list it under labels.declared if it is meant",
                );
                continue;
            }
            let Given::Text(value) = given else {
                self.note(&["labels", name], "must be text");
                continue;
            };
            match Labels::new([(name.clone(), value.clone())]) {
                Ok(_) => drop(labels.insert(name.clone(), value.clone())),
                Err(error) => self.note(&["labels", name], error.to_string()),
            }
        }
        if labels.len() > Labels::MAX {
            self.note(&["labels"], format!("must have at most {} labels", Labels::MAX));
        }
        labels
    }

    fn required_text(&mut self, name: &str, rule: &str) -> Option<&'a str> {
        match self.members.get(name) {
            Some(Given::Text(text)) => return Some(text),
            Some(_) => self.note(&[name], format!("must be text: {rule}")),
            None => self.note(&[name], format!("is missing: {rule}")),
        }
        None
    }

    /// The members of a table that may be missing.
    fn table(&mut self, name: &str, example: &str) -> &'a [(String, Given)] {
        match self.members.get(name) {
            None => &[],
            Some(Given::Table(members)) => &members.0,
            Some(_) => {
                self.note(&[name], format!("must be a table, as {example}"));
                &[]
            }
        }
    }

    fn note(&mut self, path: &[&str], detail: impl Into<String>) {
        let path = path.iter().map(|part| (*part).to_owned()).collect();
        self.faults.push(Fault { path, detail: detail.into() });
    }
}

#[cfg(test)]
mod tests;
