//! The `[[endpoint]]` blocks of the configuration file: what holds for the calls to the urls that a pattern matches. Every
//! member that breaks a rule is a problem of its own, with its line and the way out.
//!
//! Must not know: how calls are made and repeated.

mod credentials;
mod proxy;
mod retry;
mod secret_headers;
mod signing;
mod tls;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::blocks::BlockReader;
use crate::config::layers::ConfigBlock;
use crate::config::policies::{members, place, problem};
use crate::config::secrets::SecretPlaces;
use crate::config::{ConfigPlace, ConfigProblem};
use crate::delivery::{CallOptions, Credentials};
use crate::dispatch::{Endpoint, Endpoints, RetryPolicy};
use crate::event::{PolicyId, TraceContext, forbidden_header};
use crate::policy::{Fault, Given, UrlPattern, is_tie};

/// All members, in the order in which they are written.
const MEMBERS: [&str; 12] = [
    "name",
    "url",
    "retry",
    "headers",
    "secret_headers",
    "oauth2",
    "login",
    "signing",
    "tls",
    "proxy",
    "connection_max_age_seconds",
    "keep_answers",
];
/// Most blocks of a file; a further one is a problem.
const MAX_BLOCKS: usize = 1_000;

/// What the settings say about all calls: it holds where a block does not say otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ForAllCalls {
    /// How failed calls are repeated by the section `[retry]`.
    pub(super) retry: RetryPolicy,
    /// The longest time of a whole call.
    pub(super) total_timeout: Duration,
}

/// Checks all blocks and notes every problem. Without `secrets` none is read, and no call is signed.
pub(super) fn endpoints(
    blocks: &[ConfigBlock],
    for_all: ForAllCalls,
    secrets: Option<&SecretPlaces>,
    problems: &mut Vec<ConfigProblem>,
) -> Endpoints {
    let mut found: Vec<(Endpoint, &ConfigBlock)> = Vec::with_capacity(blocks.len());
    let mut names: BTreeMap<String, ConfigPlace> = BTreeMap::new();
    for (at, block) in blocks.iter().enumerate() {
        let members = members(block);
        // By its number until its name is known to be one.
        let mut called = format!("endpoint {}", at + 1);
        let mut reader = EndpointReader { block: BlockReader::new(&members), for_all, secrets };
        if at == MAX_BLOCKS {
            reader.block.note(&[], format!("is one too many; at most {MAX_BLOCKS} blocks are read"));
        }
        let endpoint = reader.endpoint();
        if let Some(Given::Text(name)) = members.get("name") {
            called = format!("endpoint {name:?}");
            match names.get(name) {
                Some(first) => {
                    let rule = format!("must be unique; the block at {first} has it already");
                    reader.block.note(&["name"], rule);
                }
                None => drop(names.insert(name.clone(), place(block, &["name".to_owned()]))),
            }
        }
        let faults = reader.block.faults;
        found.extend(endpoint.filter(|_| faults.is_empty()).map(|endpoint| (endpoint, block)));
        problems.extend(faults.into_iter().map(|fault| problem(block, &called, fault)));
        // One problem stands for all further blocks.
        if at == MAX_BLOCKS {
            break;
        }
    }
    note_ties(&found, problems);
    let compiled = Endpoints::compile(found.into_iter().map(|(endpoint, _)| endpoint).collect());
    let compiled = compiled.unwrap_or_else(|error| {
        let place = blocks.first().map_or(ConfigPlace::Defaults, |block| block.place.clone());
        problems.push(ConfigProblem { place, subject: "endpoint".to_owned(), detail: error.to_string() });
        Endpoints::default()
    });
    compiled.with_retry_for_all(for_all.retry)
}

/// Of two equally literal patterns neither could rule alone.
fn note_ties(found: &[(Endpoint, &ConfigBlock)], problems: &mut Vec<ConfigProblem>) {
    for (at, (endpoint, block)) in found.iter().enumerate() {
        let before = found.iter().take(at);
        for (other, _) in before.filter(|(other, _)| is_tie(&endpoint.url, &other.url)) {
            let detail = format!(
                "is as literal as that of the endpoint {:?}, and there are urls that both match: neither rules alone; \
                 make one of them more literal",
                &*other.name
            );
            let fault = Fault { path: vec!["url".to_owned()], detail };
            problems.push(problem(block, &format!("endpoint {:?}", &*endpoint.name), fault));
        }
    }
}

struct EndpointReader<'a> {
    block: BlockReader<'a>,
    for_all: ForAllCalls,
    secrets: Option<&'a SecretPlaces>,
}

impl EndpointReader<'_> {
    /// `None` when a member breaks a rule; what is absent is as for all calls.
    fn endpoint(&mut self) -> Option<Endpoint> {
        self.block.refuse_unknown(&MEMBERS);
        let name = self.name();
        let url = self.url();
        let retry = retry::retry(&mut self.block, self.for_all);
        let mut headers = self.headers();
        secret_headers::add(&mut self.block, self.secrets, &mut headers);
        let credentials = credentials::credentials(&mut self.block, self.secrets, &headers);
        let credentials =
            credentials.zip(name.clone()).map(|(source, name)| Arc::new(Credentials::new(name, source)));
        let signing = signing::signing(&mut self.block, self.secrets);
        let tls = tls::tls(&mut self.block, self.secrets);
        let proxy = proxy::proxy(&mut self.block, self.secrets);
        let connection_max_age =
            self.block.number("connection_max_age_seconds", 1..=86_400).map(Duration::from_secs);
        let keep_answers = self.block.flag("keep_answers").unwrap_or(false);
        let calls = Arc::new(CallOptions {
            headers,
            signing,
            credentials,
            tls,
            proxy,
            keep_answers,
            connection_max_age,
        });
        Some(Endpoint { name: name?, url: url?, retry: retry?, calls })
    }

    fn name(&mut self) -> Option<Arc<str>> {
        let rule = "what answers call the endpoint, 1 to 64 letters, digits, '_', '-' or '.'";
        let name = self.block.required_text("name", rule)?;
        // The form of a policy's name, so that nobody has to learn a second one.
        if PolicyId::parse(name).is_err() {
            self.block.note(&["name"], format!("must be {rule}"));
            return None;
        }
        Some(name.into())
    }

    fn url(&mut self) -> Option<UrlPattern> {
        let text = self.block.required_text("url", "a url pattern, as https://api.example.org/*")?;
        match UrlPattern::parse(text) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                self.block
                    .note(&["url"], format!("must be a url pattern, as https://api.example.org/*: {error}"));
                None
            }
        }
    }

    fn headers(&mut self) -> http::HeaderMap {
        self.block.headers("headers = { x-team = \"crm\" }", |name| {
            refused_header(name).or_else(|| is_credential(name).then_some(
                "looks like a credential, and print-config shows what stands here: put its whole value into a file of its own and name \
                 that in secret_headers",
            ))
        })
    }
}

/// Whether headers of this name usually carry what has to be kept secret.
fn is_credential(name: &http::HeaderName) -> bool {
    let name = name.as_str();
    let words: Vec<&str> = name.split(['-', '_', '.']).collect();
    let has = |word: &str| words.contains(&word);
    has("authorization")
        || has("cookie")
        || ["token", "secret", "password", "passwd", "credential", "credentials", "apikey"]
            .into_iter()
            .any(has)
        || (has("key") && ["api", "auth", "access", "subscription", "functions"].into_iter().any(has))
}

/// Why a block may not set this header, if it may not.
fn refused_header(name: &http::HeaderName) -> Option<&'static str> {
    if forbidden_header(name) {
        Some("belongs to the connection or to tidegate itself; leave it out")
    } else if TraceContext::is_name(name) {
        Some("belongs to the trace of each event; leave it out")
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
