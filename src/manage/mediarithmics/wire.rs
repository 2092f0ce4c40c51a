//! What is received and sent (contract.md 2, 3).

use serde::Serialize;
use serde_json::{Map, Number, Value};
use utoipa::ToSchema;

use crate::manage::call::is_label_value;
use crate::manage::mediarithmics::derive::endpoint;
use crate::manage::mediarithmics::doc::scope;
use crate::manage::mediarithmics::objects::{Record, Scope, Throttling};
use crate::policy::{Limits, Pace};

/// Which rules a request breaks, in words.
pub(super) type Faults = Vec<String>;

/// Reads the body of a creation for the version of the path.
pub(super) fn read_new(body: &[u8], version_id: &str) -> Result<Throttling, Faults> {
    let mut members = Members::read(body)?;
    match members.text("plugin_version_id") {
        Some(given) if given == version_id => {}
        Some(given) => members.fault(format!(
            "plugin_version_id must be the version of the path, {version_id:?}, not {given:?}"
        )),
        None => members.missing("plugin_version_id"),
    }
    members.throttling()
}

/// Reads the body of a replacement, which needs no version of its own.
pub(super) fn read_replacement(body: &[u8]) -> Result<Throttling, Faults> {
    Members::read(body)?.throttling()
}

/// The members of a body and what is wrong with them. Unknown ones are never looked at; `null` counts as absent.
struct Members {
    given: Map<String, Value>,
    faults: Faults,
    /// Members of a wrong type: not missing, whatever else is said about them.
    mistyped: Vec<&'static str>,
}

impl Members {
    fn read(body: &[u8]) -> Result<Self, Faults> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(given)) => Ok(Self { given, faults: Vec::new(), mistyped: Vec::new() }),
            Ok(_) => Err(vec!["the body must be a JSON object".to_owned()]),
            Err(error) => Err(vec![format!("the body is not JSON: {error}")]),
        }
    }

    fn throttling(mut self) -> Result<Throttling, Faults> {
        let scope = self.scope();
        let key = self.text("throttling_key");
        // Whether a key is needed depends on the scope: without a valid one nothing is said about it.
        let throttling_key = scope.and_then(|scope| self.key(scope, key));
        let plugin_endpoint = self.endpoint();
        let max_qps = self.max_qps();
        let max_concurrency = self.whole("max_concurrency", Limits::MAX_SLOTS);
        let timeout_max_ms = u32::try_from(Limits::MAX_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
        let timeout_ms = self.whole("timeout_ms", timeout_max_ms);
        let limits = ["max_qps", "max_concurrency", "timeout_ms"];
        let none = max_qps.is_none() && max_concurrency.is_none() && timeout_ms.is_none();
        // A limit of a wrong type was meant to be one: that it has none would be a second fault for one mistake.
        if none && !limits.iter().any(|limit| self.mistyped.contains(limit)) {
            self.fault("at least one of max_qps, max_concurrency and timeout_ms is required".to_owned());
        }
        match (scope, plugin_endpoint) {
            (Some(scope), Some(plugin_endpoint)) if self.faults.is_empty() => Ok(Throttling {
                scope,
                throttling_key,
                plugin_endpoint,
                max_qps,
                max_concurrency,
                timeout_ms,
            }),
            _ => Err(self.faults),
        }
    }

    fn scope(&mut self) -> Option<Scope> {
        let Some(given) = self.text("scope") else {
            self.missing("scope");
            return None;
        };
        let scope = Scope::ALL.into_iter().find(|scope| scope.name() == given);
        if scope.is_none() {
            let rule = "must be one of GLOBAL, CONTAINER, ORGANISATION and DATAMART";
            self.fault(format!("scope {rule}, not {given:?}"));
        }
        scope
    }

    /// Only two scopes have a key; for the others it is let go.
    fn key(&mut self, scope: Scope, given: Option<String>) -> Option<String> {
        let label = scope.key_label()?;
        match given {
            Some(key) if is_label_value(&key) => return Some(key),
            Some(_) => {
                self.fault("throttling_key must be 1 to 256 bytes without control characters".to_owned())
            }
            None if self.mistyped.contains(&"throttling_key") => {}
            None => self.fault(format!(
                "throttling_key is required for scope {}: the id of the {label}",
                scope.name()
            )),
        }
        None
    }

    fn endpoint(&mut self) -> Option<String> {
        let Some(given) = self.text("plugin_endpoint") else {
            self.missing("plugin_endpoint");
            return None;
        };
        match endpoint(&given) {
            Ok(_) => Some(given),
            Err(rule) => {
                self.fault(format!("plugin_endpoint {rule}"));
                None
            }
        }
    }

    fn max_qps(&mut self) -> Option<Number> {
        let number = match self.given.remove("max_qps") {
            None | Some(Value::Null) => return None,
            Some(Value::Number(number)) => number,
            Some(_) => {
                self.mistype("max_qps", "must be a number");
                return None;
            }
        };
        match Pace::per_second(number.as_f64().unwrap_or(f64::NAN)) {
            Ok(_) => Some(number),
            Err(error) => {
                // It was given, so it does not count as missing.
                self.mistyped.push("max_qps");
                self.fault(format!("max_qps is out of range: {error}"));
                None
            }
        }
    }

    fn whole(&mut self, member: &'static str, most: u32) -> Option<u32> {
        let given = match self.given.remove(member) {
            None | Some(Value::Null) => return None,
            Some(given) => given,
        };
        let number = given.as_u64().and_then(|number| u32::try_from(number).ok());
        let allowed = number.filter(|number| (1..=most).contains(number));
        if allowed.is_none() {
            self.mistype(member, &format!("must be a whole number from 1 to {most}"));
        }
        allowed
    }

    fn text(&mut self, member: &'static str) -> Option<String> {
        match self.given.remove(member) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(_) => {
                self.mistype(member, "must be text");
                None
            }
        }
    }

    fn missing(&mut self, member: &'static str) {
        if !self.mistyped.contains(&member) {
            self.fault(format!("{member} is required"));
        }
    }

    fn mistype(&mut self, member: &'static str, rule: &str) {
        self.mistyped.push(member);
        self.fault(format!("{member} {rule}"));
    }

    fn fault(&mut self, fault: String) {
        self.faults.push(fault);
    }
}

/// The part of a list that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Page {
    /// How many are left out at the start.
    pub(super) first_result: usize,
    /// How many are shown at most.
    pub(super) max_results: usize,
}

impl Page {
    /// Without a say of the caller (contract.md 3).
    const DEFAULT: Self = Self { first_result: 0, max_results: 50 };
    /// Most that are shown in one answer.
    const MAX_RESULTS: usize = 1_000;

    /// Reads a query; parameters that are none of the two are let go.
    pub(super) fn read(query: Option<&str>) -> Result<Self, Faults> {
        let mut page = Self::DEFAULT;
        let mut faults = Vec::new();
        for pair in query.unwrap_or_default().split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            // Only digits: `parse` alone would take a sign.
            let digits = value.bytes().all(|byte| byte.is_ascii_digit());
            let number = value.parse::<u32>().ok().filter(|_| digits).and_then(|n| usize::try_from(n).ok());
            match (name, number) {
                ("first_result", Some(number)) => page.first_result = number,
                ("first_result", None) => {
                    faults.push(format!("first_result must be a whole number from 0 to {}", u32::MAX));
                }
                ("max_results", Some(number)) if (1..=Self::MAX_RESULTS).contains(&number) => {
                    page.max_results = number;
                }
                ("max_results", _) => {
                    faults
                        .push(format!("max_results must be a whole number from 1 to {}", Self::MAX_RESULTS));
                }
                _ => {}
            }
        }
        if faults.is_empty() { Ok(page) } else { Err(faults) }
    }
}

/// One throttling, wrapped.
#[derive(Serialize, ToSchema)]
#[schema(as = MediarithmicsThrottlingFound)]
pub(super) struct One<'a> {
    /// Always `ok`.
    status: &'static str,
    data: Shown<'a>,
}

/// A page of throttlings, wrapped.
#[derive(Serialize, ToSchema)]
#[schema(as = MediarithmicsThrottlingList)]
pub(super) struct List<'a> {
    /// Always `ok`.
    status: &'static str,
    /// How many are on this page.
    count: usize,
    /// How many the plugin version has.
    total: usize,
    first_result: usize,
    max_results: usize,
    /// Oldest first.
    data: Vec<Shown<'a>>,
}

/// That something was done.
#[derive(Serialize, ToSchema)]
#[schema(as = MediarithmicsDone)]
pub(super) struct Done {
    /// Always `ok`.
    status: &'static str,
}

/// A throttling as it is shown.
#[derive(Serialize, ToSchema)]
#[schema(as = MediarithmicsThrottling)]
pub(super) struct Shown<'a> {
    id: &'a str,
    plugin_version_id: &'a str,
    #[schema(schema_with = scope)]
    scope: &'static str,
    /// The id of the datamart or organisation; `null` for the other scopes.
    throttling_key: Option<&'a str>,
    plugin_endpoint: &'a str,
    /// Calls per second.
    #[schema(value_type = Option<f64>)]
    max_qps: Option<&'a Number>,
    /// Calls in flight.
    max_concurrency: Option<u32>,
    timeout_ms: Option<u32>,
}

impl<'a> One<'a> {
    pub(super) fn of(id: &'a str, record: &'a Record) -> Self {
        Self { status: "ok", data: Shown::of(id, record) }
    }
}

impl<'a> List<'a> {
    pub(super) fn of(all: &'a [(&str, Record)], page: Page) -> Self {
        let shown = all.iter().skip(page.first_result).take(page.max_results);
        let data: Vec<_> = shown.map(|(id, record)| Shown::of(id, record)).collect();
        Self {
            status: "ok",
            count: data.len(),
            total: all.len(),
            first_result: page.first_result,
            max_results: page.max_results,
            data,
        }
    }
}

impl Done {
    pub(super) const OK: Self = Self { status: "ok" };
}

impl<'a> Shown<'a> {
    fn of(id: &'a str, record: &'a Record) -> Self {
        let Throttling { scope, throttling_key, plugin_endpoint, max_qps, max_concurrency, timeout_ms } =
            &record.throttling;
        Self {
            id,
            plugin_version_id: &record.version_id,
            scope: scope.name(),
            throttling_key: throttling_key.as_deref(),
            plugin_endpoint,
            max_qps: max_qps.as_ref(),
            max_concurrency: *max_concurrency,
            timeout_ms: *timeout_ms,
        }
    }
}
