//! The `[[policy]]` blocks of the configuration file: from values with their places to checked policies. Every
//! member that breaks a rule is a problem of its own, with its line and its range.
//!
//! Must not know: how policies come into force.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use http::Method;

use crate::config::layers::{Block, Member, nearest};
use crate::config::{Place, Problem};
use crate::event::{Labels, PolicyId};
use crate::policy::{
    Clause, Family, LabelCondition, Limits, Pace, Period, Quota, Scope, Spec, UrlPattern, Window,
};

const MEMBERS: &[&str] = &[
    "name",
    "url",
    "methods",
    "labels",
    "pace",
    "window",
    "quota",
    "slots",
    "timeout_ms",
    "family",
    "scope",
];
/// The members that a policy needs one of.
const LIMITS: &[&str] = &["pace", "window", "quota", "slots", "timeout_ms"];
/// Those of them that leave a refusing policy something to refuse.
const REFUSING: &[&str] = &["pace", "window", "quota"];
/// Most methods that a policy lists.
const MAX_METHODS: usize = 32;
/// Longest part of a wrong value that a problem repeats, in characters.
const MAX_QUOTED: usize = 80;

/// A policy of the configuration file.
#[derive(Debug, Clone, PartialEq)]
pub struct FilePolicy {
    /// Its id, unique in the file.
    pub name: PolicyId,
    /// What it governs and allows.
    pub spec: Spec,
}

/// Checks all blocks and notes every problem. With `known`, other labels are problems.
pub(super) fn policies(
    blocks: &[Block],
    known: Option<&BTreeSet<String>>,
    problems: &mut Vec<Problem>,
) -> Vec<FilePolicy> {
    let mut found = Vec::with_capacity(blocks.len());
    let mut names: BTreeMap<PolicyId, Place> = BTreeMap::new();
    for (at, block) in blocks.iter().enumerate() {
        let mut reader = Reader { block, called: format!("policy {}", at + 1), known, problems };
        let name = reader.name();
        if let Some(name) = &name {
            reader.called = format!("policy {:?}", name.as_str());
            match names.get(name) {
                Some(first) => {
                    let detail = format!("must be unique; the policy at {first} has it already");
                    reader.wrong::<()>("name", detail);
                }
                None => drop(names.insert(name.clone(), reader.place("name"))),
            }
        }
        if let (Some(name), Some(spec)) = (name, reader.spec()) {
            found.push(FilePolicy { name, spec });
        }
    }
    found
}

struct Reader<'a> {
    block: &'a Block,
    /// How problems call the policy.
    called: String,
    known: Option<&'a BTreeSet<String>>,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn name(&mut self) -> Option<PolicyId> {
        let text = self.required_text("name", "the id of the policy")?;
        // Without a letter or digit it would be a dot segment of a path or the sign for "no policy" in metrics.
        match PolicyId::parse(text) {
            Ok(id) if text.bytes().any(|byte| byte.is_ascii_alphanumeric()) => Some(id),
            _ => {
                let (most, given) = (PolicyId::MAX_BYTES, quoted(text));
                let rule = format!(
                    "must be 1 to {most} letters, digits, '_', '-' or '.', one letter or digit at least"
                );
                self.wrong("name", format!("{rule}, not {given}"))
            }
        }
    }

    /// `None` when a member breaks a rule; what is absent takes its default.
    fn spec(&mut self) -> Option<Spec> {
        let before = self.problems.len();
        self.refuse_unknown(self.block, "", MEMBERS);
        let pattern = self.pattern();
        let methods = self.methods().unwrap_or_default();
        let labels = self.labels().unwrap_or_default();
        let limits = Limits {
            pace: self.pace(),
            window: self.window(),
            quota: self.quota(),
            slots: self.number("slots", 1..=i64::from(Limits::MAX_SLOTS)).and_then(count),
            timeout: self.timeout(),
            closed: false,
        };
        let family = self.family();
        let scope = self.scope().unwrap_or_default();
        if !LIMITS.iter().any(|limit| self.find(limit).is_some()) {
            let detail = format!("limits nothing; give it at least one of {}", LIMITS.join(", "));
            self.note(self.block.place.clone(), "", detail);
        } else if family == Family::Refuse && !REFUSING.iter().any(|limit| self.find(limit).is_some()) {
            let detail = "\"refuse\" turns calls away that have no room under a pace, window or quota, and there is \
                          none; calls wait for slots all the same";
            self.wrong::<()>("family", detail.to_owned());
        }
        let clause = Clause { methods, labels, ..Clause::of(pattern?) };
        let spec = Spec { family, scope, ..Spec::new(vec![clause], limits) };
        (self.problems.len() == before).then_some(spec)
    }

    fn pattern(&mut self) -> Option<UrlPattern> {
        let text = self.required_text("url", "a pattern such as https://api.example.org/*")?;
        match UrlPattern::parse(text) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                self.wrong("url", format!("{error}; a pattern is such as https://api.example.org/*"))
            }
        }
    }

    fn methods(&mut self) -> Option<Vec<Method>> {
        let texts = self.texts("methods")?;
        if texts.is_empty() || texts.len() > MAX_METHODS {
            return self.wrong(
                "methods",
                format!("must list 1 to {MAX_METHODS} methods; without the member all are governed"),
            );
        }
        let mut methods = Vec::new();
        for text in texts {
            match Method::from_bytes(text.to_ascii_uppercase().as_bytes()) {
                Ok(method) if method != Method::CONNECT && text.len() <= 32 => {
                    if !methods.contains(&method) {
                        methods.push(method);
                    }
                }
                _ => {
                    let detail =
                        format!("{} is no HTTP method such as GET, POST, PUT, PATCH or DELETE", quoted(text));
                    self.wrong::<()>("methods", detail);
                }
            }
        }
        Some(methods)
    }

    fn labels(&mut self) -> Option<Vec<LabelCondition>> {
        let within = self.table("labels", "as labels = { org = \"ACME\" }")?;
        let mut conditions = Vec::new();
        for Member { name, value, place, .. } in &within.members {
            let field = format!("labels.{}", clipped(name).escape_debug());
            match value.as_str() {
                _ if !Labels::is_key(name) => {
                    self.note(place.clone(), &field, no_label(name));
                }
                Some(text)
                    if text.len() <= Labels::MAX_VALUE_BYTES && !text.chars().any(char::is_control) =>
                {
                    self.check_known(place, &field, name);
                    conditions.push(LabelCondition::equals(name, text));
                }
                _ => {
                    let most = Labels::MAX_VALUE_BYTES;
                    let detail = format!("must be text of at most {most} bytes without control characters");
                    self.note(place.clone(), &field, detail);
                }
            }
        }
        if within.members.len() > Labels::MAX {
            self.wrong::<()>("labels", format!("must name at most {} labels", Labels::MAX));
        }
        Some(conditions)
    }

    fn pace(&mut self) -> Option<Pace> {
        let value = self.find("pace").map(|member| &member.value)?;
        let starts = match value {
            // Exact up to 2^53, far above the largest pace.
            toml::Value::Integer(number) => *number as f64,
            toml::Value::Float(number) => *number,
            _ => f64::NAN,
        };
        match Pace::per_second(starts) {
            Ok(pace) => Some(pace),
            Err(_) => {
                let (given, most) = (given(value), Pace::MAX);
                let detail = format!(
                    "must be a number of starts per second from 0.0000116 (one per day) to {most}, not {given}"
                );
                self.wrong("pace", detail)
            }
        }
    }

    fn window(&mut self) -> Option<Window> {
        let within = self.table("window", "as window = { calls = 100, per_ms = 1000 }")?;
        self.refuse_unknown(within, "window.", &["calls", "per_ms"]);
        let millis = |length: Duration| i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
        let calls = self.required_number("window.calls", 1..=i64::from(Window::MAX_CALLS));
        let length =
            self.required_number("window.per_ms", millis(Window::MIN_LENGTH)..=millis(Window::MAX_LENGTH));
        match Window::new(calls?, length?) {
            Ok(window) => Some(window),
            Err(error) => self.wrong("window", error.to_string()),
        }
    }

    fn quota(&mut self) -> Option<Quota> {
        let within = self.table("quota", "as quota = { calls = 1000, per = \"hour\" }")?;
        self.refuse_unknown(within, "quota.", &["calls", "per"]);
        let calls = self.required_number("quota.calls", 1..=i64::from(Window::MAX_CALLS));
        let per = self.period();
        match Quota::new(calls?, per?) {
            Ok(quota) => Some(quota),
            Err(error) => self.wrong("quota", error.to_string()),
        }
    }

    fn period(&mut self) -> Option<Period> {
        let words = Period::ALL.map(Period::name).join(", ");
        let text = self.required_text("quota.per", &format!("one of {words}"))?;
        match Period::parse(text) {
            Some(period) => Some(period),
            None => self.wrong("quota.per", format!("must be one of {words}, not {}", quoted(text))),
        }
    }

    fn timeout(&mut self) -> Option<Duration> {
        let most = i64::try_from(Limits::MAX_TIMEOUT.as_millis()).unwrap_or(i64::MAX);
        let millis = self.number("timeout_ms", 1..=most)?;
        u64::try_from(millis).ok().map(Duration::from_millis)
    }

    fn family(&mut self) -> Family {
        match self.find("family").map(|member| &member.value) {
            None => Family::Wait,
            Some(toml::Value::String(word)) if word == "wait" => Family::Wait,
            Some(toml::Value::String(word)) if word == "refuse" => Family::Refuse,
            Some(other) => {
                let detail = format!("must be \"wait\" or \"refuse\", not {}", given(other));
                self.wrong::<()>("family", detail);
                Family::Wait
            }
        }
    }

    fn scope(&mut self) -> Option<Scope> {
        let texts = self.texts("scope")?;
        let place = self.place("scope");
        for text in texts.iter().filter(|text| Labels::is_key(text)) {
            self.check_known(&place, "scope", text);
        }
        match Scope::new(&texts) {
            Ok(scope) => Some(scope),
            Err(error) => self.wrong("scope", error.to_string()),
        }
    }

    /// A label that the doors would refuse can never be fulfilled.
    fn check_known(&mut self, place: &Place, field: &str, label: &str) {
        if let Some(known) = self.known.filter(|known| !known.contains(label)) {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let known = known.join(", ");
            let detail =
                format!("{label:?} is not a known label (labels.strict): {known}; see labels.declared");
            self.note(place.clone(), field, detail);
        }
    }

    fn refuse_unknown(&mut self, block: &Block, prefix: &str, known: &[&str]) {
        for Member { name, place, .. } in &block.members {
            if !known.contains(&name.as_str()) {
                let hint = nearest(name, known.iter().copied()).map_or_else(
                    || format!("there are {}", known.join(", ")),
                    |near| format!("did you mean {near}?"),
                );
                let field = format!("{prefix}{}", clipped(name).escape_debug());
                self.note(place.clone(), &field, format!("unknown member; {hint}"));
            }
        }
    }

    /// A member of the block, or `member.part` of a table in it.
    fn find(&self, field: &str) -> Option<&'a Member> {
        let (first, part) = field.split_once('.').map_or((field, None), |(first, part)| (first, Some(part)));
        let member = self.block.members.iter().find(|member| member.name == first)?;
        match part {
            None => Some(member),
            Some(part) => member.within.as_ref()?.members.iter().find(|member| member.name == part),
        }
    }

    fn table(&mut self, field: &str, example: &str) -> Option<&'a Block> {
        let member = self.find(field)?;
        match &member.within {
            Some(within) => Some(within),
            None => self.wrong(field, format!("must be a table, {example}, not {}", given(&member.value))),
        }
    }

    fn required_text(&mut self, field: &str, what: &str) -> Option<&'a str> {
        match self.find(field).map(|member| &member.value) {
            Some(toml::Value::String(text)) => Some(text),
            Some(other) => self.wrong(field, format!("must be text: {what}, not {}", given(other))),
            None => self.wrong(field, format!("is missing: {what}")),
        }
    }

    fn texts(&mut self, field: &str) -> Option<Vec<&'a str>> {
        let value = self.find(field).map(|member| &member.value)?;
        let texts = value.as_array().and_then(|values| values.iter().map(toml::Value::as_str).collect());
        match texts {
            Some(texts) => Some(texts),
            None => self.wrong(field, "must be a list of texts".to_owned()),
        }
    }

    fn required_number(&mut self, field: &str, range: RangeInclusive<i64>) -> Option<i64> {
        if self.find(field).is_none() {
            let (low, high) = (range.start(), range.end());
            return self.wrong(field, format!("is missing: a whole number from {low} to {high}"));
        }
        self.number(field, range)
    }

    fn number(&mut self, field: &str, range: RangeInclusive<i64>) -> Option<i64> {
        let value = self.find(field).map(|member| &member.value)?;
        match value.as_integer().filter(|number| range.contains(number)) {
            Some(number) => Some(number),
            None => {
                let (low, high, given) = (range.start(), range.end(), given(value));
                self.wrong(field, format!("must be a whole number from {low} to {high}, not {given}"))
            }
        }
    }

    /// Where a member stands, or what it would be part of.
    fn place(&self, field: &str) -> Place {
        let outer = field.split('.').next().unwrap_or(field);
        let member = self.find(field).or_else(|| self.find(outer));
        member.map_or_else(|| self.block.place.clone(), |member| member.place.clone())
    }

    /// Notes a problem at the place of a member.
    fn wrong<T>(&mut self, field: &str, detail: String) -> Option<T> {
        self.note(self.place(field), field, detail);
        None
    }

    fn note(&mut self, place: Place, field: &str, detail: String) {
        let called = &self.called;
        let subject = if field.is_empty() { called.clone() } else { format!("{called}: {field}") };
        self.problems.push(Problem { place, subject, detail });
    }
}

/// `None` only for what no range lets through.
fn count(number: i64) -> Option<NonZeroU32> {
    u32::try_from(number).ok().and_then(NonZeroU32::new)
}

fn no_label(given: &str) -> String {
    let most = Labels::MAX_KEY_BYTES;
    format!("{} is not a label: 1 to {most} letters, digits, '_', '-' or '.'", quoted(given))
}

/// A wrong value as a problem repeats it.
fn given(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => quoted(text),
        toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) => value.to_string(),
        other => format!("a value of type {}", other.type_str()),
    }
}

fn quoted(text: &str) -> String {
    format!("{:?}", clipped(text))
}

fn clipped(text: &str) -> String {
    text.chars().take(MAX_QUOTED).collect()
}

#[cfg(test)]
mod tests;
