//! From the members of one policy to what it says, with every fault.
//!
//! Must not know: where the members stand.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use http::Method;

use crate::event::{Labels, PolicyId, parse_method};
use crate::policy::written::given::quoted;
use crate::policy::written::{Fault, Given, MEMBERS, Members, limits, nearest};
use crate::policy::{Clause, Family, LabelCondition, LimitKind, Scope, Spec, UrlPattern};

/// Most methods that a policy lists.
const MAX_METHODS: usize = 32;

/// The id that the members give to the policy.
///
/// # Errors
/// The [`Fault`] of the member `name`.
pub(crate) fn read_name(members: &Members) -> Result<PolicyId, Fault> {
    let mut faults = Vec::new();
    let name = PolicyReader { members, known: None, faults: &mut faults }.name();
    debug_assert_eq!(name.is_some(), faults.is_empty(), "without a name there is a fault");
    name.ok_or_else(|| faults.pop().unwrap_or(Fault { path: Vec::new(), detail: String::new() }))
}

/// What the policy says; a member that is absent takes its default. With `known`, other labels are faults.
///
/// # Errors
/// All [`Fault`]s of the members but those of `name`.
pub(crate) fn read_spec(members: &Members, known: Option<&BTreeSet<String>>) -> Result<Spec, Vec<Fault>> {
    let mut faults = Vec::new();
    let spec = PolicyReader { members, known, faults: &mut faults }.spec();
    debug_assert_eq!(spec.is_some(), faults.is_empty(), "an author learns why a policy is refused");
    spec.ok_or(faults)
}

pub(super) struct PolicyReader<'a> {
    members: &'a Members,
    known: Option<&'a BTreeSet<String>>,
    faults: &'a mut Vec<Fault>,
}

impl<'a> PolicyReader<'a> {
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
        let before = self.faults.len();
        self.refuse_unknown(self.members, "", MEMBERS);
        let pattern = self.pattern();
        // An absent member means its default. A faulty one yields the default too, but the fault that is noted keeps
        // the spec from being returned.
        let methods = self.methods().unwrap_or_default();
        let labels = self.labels().unwrap_or_default();
        let limits = self.limits();
        let family = self.family();
        let scope = self.scope().unwrap_or_default();
        // By what is given and not by what could be read, so that one fault is not reported as two.
        let is_given = |kind: &LimitKind| self.find(kind.word()).is_some();
        if !limits::MEMBERS.iter().any(|limit| self.find(limit).is_some()) {
            let all = limits::MEMBERS.join(", ");
            self.note(&[], format!("limits nothing; give it at least one of {all}"));
        } else if family == Family::Refuse
            && !LimitKind::ALL.iter().filter(|kind| kind.counts_starts()).any(is_given)
        {
            let detail = "\"refuse\" turns calls away that have no room under a pace, window or quota, and there is \
                          none; calls wait for slots all the same";
            self.wrong::<()>("family", detail.to_owned());
        }
        let clause = Clause { methods, labels, ..Clause::of(pattern?) };
        let spec = Spec { family, scope, ..Spec::new(vec![clause], limits) };
        (self.faults.len() == before).then_some(spec)
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
        // An empty list could mean all methods or none.
        if texts.is_empty() || texts.len() > MAX_METHODS {
            return self.wrong(
                "methods",
                format!("must list 1 to {MAX_METHODS} methods; without the member all are governed"),
            );
        }
        let mut methods = Vec::new();
        for text in texts {
            match parse_method(text) {
                Ok(method) => {
                    if !methods.contains(&method) {
                        methods.push(method);
                    }
                }
                Err(_) => {
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
        for (name, value) in &within.0 {
            let path = ["labels", name.as_str()];
            match value {
                // A name that is no label is not looked up among the known ones: one fault for each member.
                _ if !Labels::is_key(name) => self.note(&path, no_label(name)),
                Given::Text(text)
                    if text.len() <= Labels::MAX_VALUE_BYTES && !text.chars().any(char::is_control) =>
                {
                    self.check_known(&path, name);
                    conditions.push(LabelCondition::equals(name, text));
                }
                _ => {
                    let most = Labels::MAX_VALUE_BYTES;
                    let detail = format!("must be text of at most {most} bytes without control characters");
                    self.note(&path, detail);
                }
            }
        }
        self.refuse_repeated(within, "labels");
        if within.0.len() > Labels::MAX {
            self.wrong::<()>("labels", format!("must name at most {} labels", Labels::MAX));
        }
        // One order for all ways to write them.
        conditions.sort_by(|one, other| one.key.cmp(&other.key));
        Some(conditions)
    }

    fn family(&mut self) -> Family {
        match self.find("family") {
            None => Family::Wait,
            Some(Given::Text(word)) if word == "wait" => Family::Wait,
            Some(Given::Text(word)) if word == "refuse" => Family::Refuse,
            Some(other) => {
                let detail = format!("must be \"wait\" or \"refuse\", not {}", other.told());
                self.wrong::<()>("family", detail);
                Family::Wait
            }
        }
    }

    fn scope(&mut self) -> Option<Scope> {
        let texts = self.texts("scope")?;
        for text in texts.iter().filter(|text| Labels::is_key(text)) {
            self.check_known(&["scope"], text);
        }
        match Scope::new(&texts) {
            Ok(scope) => Some(scope),
            Err(error) => self.wrong("scope", error.to_string()),
        }
    }

    /// A label that the doors would refuse can never be fulfilled.
    fn check_known(&mut self, path: &[&str], label: &str) {
        if let Some(known) = self.known.filter(|known| !known.contains(label)) {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let known = known.join(", ");
            let detail =
                format!("{label:?} is not a known label (labels.strict): {known}; see labels.declared");
            self.note(path, detail);
        }
    }

    /// Of the members of the policy, or of its member `of`.
    pub(super) fn refuse_unknown(&mut self, members: &Members, of: &str, known: &[&str]) {
        for (name, _) in &members.0 {
            if !known.contains(&name.as_str()) {
                let hint = nearest(name, known.iter().copied()).map_or_else(
                    || format!("there are {}", known.join(", ")),
                    |near| format!("did you mean {near}?"),
                );
                self.note(&within(of, name), format!("unknown member; {hint}"));
            }
        }
        self.refuse_repeated(members, of);
    }

    fn refuse_repeated(&mut self, members: &Members, of: &str) {
        let mut names = BTreeSet::new();
        for (name, _) in &members.0 {
            if !names.insert(name) {
                self.note(&within(of, name), "is given twice; give it once".to_owned());
            }
        }
    }

    /// A member of the policy, or `member.part` of a table in it.
    pub(super) fn find(&self, field: &str) -> Option<&'a Given> {
        match field.split_once('.') {
            None => self.members.get(field),
            Some((first, part)) => match self.members.get(first)? {
                Given::Table(within) => within.get(part),
                _ => None,
            },
        }
    }

    pub(super) fn table(&mut self, field: &str, example: &str) -> Option<&'a Members> {
        match self.find(field)? {
            Given::Table(within) => Some(within),
            other => self.wrong(field, format!("must be a table, {example}, not {}", other.told())),
        }
    }

    pub(super) fn required_text(&mut self, field: &str, what: &str) -> Option<&'a str> {
        match self.find(field) {
            Some(Given::Text(text)) => Some(text),
            Some(other) => self.wrong(field, format!("must be text: {what}, not {}", other.told())),
            None => self.wrong(field, format!("is missing: {what}")),
        }
    }

    fn texts(&mut self, field: &str) -> Option<Vec<&'a str>> {
        let text = |given: &'a Given| match given {
            Given::Text(text) => Some(text.as_str()),
            _ => None,
        };
        let texts = match self.find(field)? {
            Given::List(values) => values.iter().map(text).collect(),
            _ => None,
        };
        match texts {
            Some(texts) => Some(texts),
            None => self.wrong(field, "must be a list of texts".to_owned()),
        }
    }

    pub(super) fn required_number(&mut self, field: &str, range: RangeInclusive<i64>) -> Option<i64> {
        if self.find(field).is_none() {
            let (low, high) = (range.start(), range.end());
            return self.wrong(field, format!("is missing: a whole number from {low} to {high}"));
        }
        self.number(field, range)
    }

    pub(super) fn number(&mut self, field: &str, range: RangeInclusive<i64>) -> Option<i64> {
        match self.find(field)? {
            Given::Integer(number) if range.contains(number) => Some(*number),
            other => {
                let (low, high, given) = (range.start(), range.end(), other.told());
                self.wrong(field, format!("must be a whole number from {low} to {high}, not {given}"))
            }
        }
    }

    /// Notes a fault of a member.
    pub(super) fn wrong<T>(&mut self, field: &str, detail: String) -> Option<T> {
        self.note(&field.split('.').collect::<Vec<_>>(), detail);
        None
    }

    fn note(&mut self, path: &[&str], detail: String) {
        let path = path.iter().map(|part| (*part).to_owned()).collect();
        self.faults.push(Fault { path, detail });
    }
}

/// A member of the policy, or of its member `of`.
fn within<'p>(of: &'p str, name: &'p str) -> Vec<&'p str> {
    if of.is_empty() { vec![name] } else { vec![of, name] }
}

fn no_label(given: &str) -> String {
    let most = Labels::MAX_KEY_BYTES;
    format!("{} is not a label: 1 to {most} letters, digits, '_', '-' or '.'", quoted(given))
}
