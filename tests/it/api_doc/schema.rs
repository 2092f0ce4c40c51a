//! The part of JSON Schema that the API description uses. Stricter than the standard: a member that no schema names is
//! an error, and so is a keyword that is not known here.

use std::collections::BTreeSet;

use regex_automata::meta::Regex;
use serde_json::Value;

/// Keywords that say nothing about what is valid.
const SILENT: [&str; 6] = ["description", "title", "example", "examples", "default", "readOnly"];

/// Schemas within a document.
#[derive(Clone, Copy)]
pub(super) struct Schemas<'d>(pub(super) &'d Value);

/// The members of an object that some schema has named; `None` when all members are welcome.
type Named = Option<BTreeSet<String>>;

impl Schemas<'_> {
    /// Whether a value is what a schema says, and nothing more.
    pub(super) fn check(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let named = self.named(schema, value)?;
        let members = value.as_object().into_iter().flat_map(|members| members.keys());
        match named {
            Some(named) => match members.clone().find(|member| !named.contains(*member)) {
                Some(member) => Err(format!("{member} is not described in {value}")),
                None => Ok(()),
            },
            None => Ok(()),
        }
    }

    /// The same for one of several schemas that together describe a value.
    fn named(&self, schema: &Value, value: &Value) -> Result<Named, String> {
        let Some(keywords) = schema.as_object() else {
            return if schema == true { Ok(None) } else { Err(format!("{schema} allows nothing")) };
        };
        let mut named = Some(BTreeSet::new());
        if keywords.keys().all(|keyword| SILENT.contains(&keyword.as_str())) {
            return Ok(None);
        }
        for (keyword, rule) in keywords {
            match keyword.as_str() {
                "$ref" => add(&mut named, self.named(self.target(rule)?, value)?),
                "allOf" => {
                    for part in rule.as_array().into_iter().flatten() {
                        add(&mut named, self.named(part, value)?);
                    }
                }
                "oneOf" => add(&mut named, self.one_of(rule, value)?),
                "anyOf" => {
                    let found = rule.as_array().into_iter().flatten().map(|part| self.named(part, value));
                    let fitting: Vec<Named> = found.filter_map(Result::ok).collect();
                    if fitting.is_empty() {
                        return Err(format!("{value} is none of {rule}"));
                    }
                    fitting.into_iter().for_each(|more| add(&mut named, more));
                }
                "properties" => add(&mut named, self.properties(rule, value)?),
                "additionalProperties" => add(&mut named, self.additional(keywords, rule, value)?),
                "items" => {
                    value.as_array().into_iter().flatten().try_for_each(|item| self.check(rule, item))?
                }
                "propertyNames" => {
                    let mut names = value.as_object().into_iter().flat_map(|members| members.keys());
                    names.try_for_each(|name| self.check(rule, &Value::String(name.clone())))?;
                }
                _ => simple(keyword, rule, value)?,
            }
        }
        Ok(named)
    }

    fn target(&self, reference: &Value) -> Result<&Value, String> {
        let pointer = reference.as_str().and_then(|reference| reference.strip_prefix('#'));
        pointer
            .and_then(|pointer| self.0.pointer(pointer))
            .ok_or_else(|| format!("{reference} leads nowhere"))
    }

    fn one_of(&self, rule: &Value, value: &Value) -> Result<Named, String> {
        let found = rule.as_array().into_iter().flatten().map(|part| self.named(part, value));
        let (fitting, others): (Vec<_>, Vec<_>) = found.partition(Result::is_ok);
        match <[_; 1]>::try_from(fitting) {
            Ok([fits]) => fits,
            Err(fitting) if fitting.is_empty() => Err(format!("{value} is none of {others:?}")),
            Err(fitting) => Err(format!("{value} is {} of the ones", fitting.len())),
        }
    }

    fn properties(&self, rule: &Value, value: &Value) -> Result<Named, String> {
        let mut named = BTreeSet::new();
        for (name, schema) in rule.as_object().into_iter().flatten() {
            named.insert(name.clone());
            if let Some(member) = value.get(name) {
                self.check(schema, member).map_err(|error| format!("{name}: {error}"))?;
            }
        }
        Ok(Some(named))
    }

    fn additional(
        &self,
        keywords: &serde_json::Map<String, Value>,
        rule: &Value,
        value: &Value,
    ) -> Result<Named, String> {
        if *rule == false {
            return Ok(Some(BTreeSet::new()));
        }
        let known = |name: &str| keywords.get("properties").is_some_and(|known| known.get(name).is_some());
        let further = value.as_object().into_iter().flatten().filter(|(name, _)| !known(name));
        for (name, member) in further {
            self.check(rule, member).map_err(|error| format!("{name}: {error}"))?;
        }
        Ok(None)
    }
}

fn add(named: &mut Named, more: Named) {
    *named = named.take().zip(more).map(|(named, more)| named.union(&more).cloned().collect());
}

/// Rules that no other schema has a part in.
fn simple(keyword: &str, rule: &Value, value: &Value) -> Result<(), String> {
    let number = |holds: fn(f64, f64) -> bool| match (value.as_f64(), rule.as_f64()) {
        (Some(value), Some(bound)) => holds(value, bound),
        (None, _) => true,
        (_, None) => false,
    };
    let size = |size: Option<usize>, holds: fn(u64, u64) -> bool| match (size, rule.as_u64()) {
        (Some(size), Some(bound)) => holds(size as u64, bound),
        (None, _) => true,
        (_, None) => false,
    };
    let length = value.as_str().map(|text| text.chars().count());
    let listed = |rule: &Value| rule.as_array().is_some_and(|words| words.contains(value));
    let holds = match keyword {
        "type" => match rule {
            Value::Array(types) => types.iter().any(|name| is_of(name, value)),
            name => is_of(name, value),
        },
        "enum" => listed(rule),
        "required" => {
            let missing = |name: &Value| value.get(name.as_str().unwrap_or_default()).is_none();
            !value.is_object() || !rule.as_array().is_some_and(|names| names.iter().any(missing))
        }
        "minimum" => number(|value, bound| value >= bound),
        "maximum" => number(|value, bound| value <= bound),
        "exclusiveMinimum" => number(|value, bound| value > bound),
        "minLength" => size(length, |size, bound| size >= bound),
        "maxLength" => size(length, |size, bound| size <= bound),
        "minItems" => size(value.as_array().map(Vec::len), |size, bound| size >= bound),
        "maxItems" => size(value.as_array().map(Vec::len), |size, bound| size <= bound),
        "format" => value.as_str().is_none_or(|text| has_format(rule, text)),
        "pattern" => value.as_str().is_none_or(|text| {
            let pattern = rule.as_str().and_then(|pattern| Regex::new(pattern).ok());
            pattern.is_some_and(|pattern| pattern.is_match(text))
        }),
        "contentEncoding" => true,
        keyword if SILENT.contains(&keyword) => true,
        unknown => return Err(format!("the keyword {unknown} is not known")),
    };
    if holds { Ok(()) } else { Err(format!("{value} breaks {keyword} {rule}")) }
}

fn is_of(name: &Value, value: &Value) -> bool {
    match name.as_str() {
        Some("null") => value.is_null(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => false,
    }
}

fn has_format(name: &Value, text: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    match name.as_str() {
        Some("uuid") => text.parse::<uuid::Uuid>().is_ok(),
        Some("date-time") => {
            let marks = ["-", "-", "T", ":", ":"];
            let at = [4, 7, 10, 13, 16];
            marks.iter().zip(at).all(|(mark, at)| text.get(at..=at) == Some(mark))
                && text.get(..4).is_some_and(digits)
                && text.ends_with('Z')
        }
        Some("uri-reference" | "uri") => text.bytes().all(|byte| byte.is_ascii_graphic()),
        // Of numbers, and what a secret looks like.
        Some("int32" | "int64" | "float" | "double" | "password") => true,
        _ => false,
    }
}
