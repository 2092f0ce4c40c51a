//! Queries of the V2 API: `SELECT fields FROM objects WHERE field = 'x' AND .. ORDER BY field DESC PAGE 2 ITEMS 50`.
//! Words are taken in any case. What relates several kinds of objects (`REQUIRE RELATED`) is refused.
//!
//! Must not know: where objects are kept.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::vec::IntoIter;

use serde_json::{Map, Value, json};

use crate::manage::mashery::routes::rpc::names::Noun;

/// Objects of a page unless asked for otherwise, and the most there may be (contract.md 5).
const ITEMS_MAX: usize = 100;
/// Longest query, in tokens.
const TOKENS_MAX: usize = 500;

/// Which objects are asked for, and how they are shown.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Query {
    pub(super) noun: Noun,
    /// Names of members; `*` for all.
    fields: Vec<String>,
    conditions: Vec<(String, Comparison, Value)>,
    order: Vec<(String, bool)>,
    page: usize,
    items: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
    /// `%` stands for any text.
    Like,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// A name, a keyword, a number without quotes, or a sign.
    Word(String),
    Text(String),
}

type Tokens = Peekable<IntoIter<Token>>;

impl Query {
    /// Reads the text of a query.
    ///
    /// # Errors
    /// What is wrong with it, in words for the author.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let mut tokens = tokens(text)?.into_iter().peekable();
        expect(&mut tokens, "SELECT")?;
        let mut fields = vec![word(&mut tokens)?];
        while takes(&mut tokens, ",") {
            fields.push(word(&mut tokens)?);
        }
        expect(&mut tokens, "FROM")?;
        let from = word(&mut tokens)?;
        let noun = Noun::many(&from).ok_or_else(|| format!("there are no objects called {from:?} here"))?;
        let mut query =
            Self { noun, fields, conditions: Vec::new(), order: Vec::new(), page: 1, items: ITEMS_MAX };
        if takes(&mut tokens, "WHERE") {
            query.conditions.push(condition(&mut tokens)?);
            while takes(&mut tokens, "AND") {
                query.conditions.push(condition(&mut tokens)?);
            }
        }
        if takes(&mut tokens, "ORDER") {
            expect(&mut tokens, "BY")?;
            query.order.push(order(&mut tokens)?);
            while takes(&mut tokens, ",") {
                query.order.push(order(&mut tokens)?);
            }
        }
        loop {
            if takes(&mut tokens, "PAGE") {
                query.page = number(&mut tokens)?.max(1);
            } else if takes(&mut tokens, "ITEMS") {
                query.items = number(&mut tokens)?.clamp(1, ITEMS_MAX);
            } else {
                break;
            }
        }
        match tokens.next() {
            None => Ok(query),
            Some(Token::Word(rest) | Token::Text(rest)) => Err(format!(
                "{rest:?} is not understood; SELECT, FROM, WHERE .. AND, ORDER BY, PAGE, ITEMS are"
            )),
        }
    }

    /// The members within objects that are asked for, as paths.
    pub(super) fn wanted(&self) -> Vec<&[String]> {
        self.fields.iter().map(std::slice::from_ref).collect()
    }

    /// The answer, out of all objects in the order of creation.
    pub(super) fn page(&self, mut found: Vec<Value>) -> Value {
        found
            .retain(|item| self.conditions.iter().all(|(field, is, value)| is.holds(item.get(field), value)));
        // A stable sort: equals keep the order of creation.
        found.sort_by(|a, b| {
            let by = |(field, descending): &(String, bool)| {
                let order = compare(a.get(field), b.get(field)).unwrap_or(Ordering::Equal);
                if *descending { order.reverse() } else { order }
            };
            self.order.iter().map(by).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        });
        let total = found.len();
        let items = found.into_iter().skip((self.page - 1).saturating_mul(self.items)).take(self.items);
        let items: Vec<Value> = items.map(|item| self.pick(item)).collect();
        json!({
            "total_items": total, "total_pages": total.div_ceil(self.items), "items_per_page": self.items,
            "current_page": self.page, "items": items
        })
    }

    fn pick(&self, item: Value) -> Value {
        let Value::Object(members) = item else { return item };
        if self.fields.iter().any(|field| field == "*") {
            return Value::Object(members);
        }
        let picked: Map<_, _> = members.into_iter().filter(|(name, _)| self.fields.contains(name)).collect();
        Value::Object(picked)
    }
}

impl Comparison {
    fn holds(self, found: Option<&Value>, value: &Value) -> bool {
        if self == Self::Like {
            let (Some(found), Some(pattern)) = (found.and_then(Value::as_str), value.as_str()) else {
                return false;
            };
            return is_like(&found.to_lowercase(), &pattern.to_lowercase());
        }
        let order = compare(found, Some(value));
        match self {
            Self::Unequal => order != Some(Ordering::Equal),
            Self::Equal => order == Some(Ordering::Equal),
            Self::Less => order == Some(Ordering::Less),
            Self::AtMost => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Self::Greater => order == Some(Ordering::Greater),
            Self::AtLeast => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
            Self::Like => false,
        }
    }
}

/// Texts that are numbers or flags equal these: V2 quotes all values.
fn compare(a: Option<&Value>, b: Option<&Value>) -> Option<Ordering> {
    let is_nothing = |value: Option<&Value>| value.is_none_or(Value::is_null);
    match (is_nothing(a), is_nothing(b)) {
        (true, true) => return Some(Ordering::Equal),
        (true, false) => return Some(Ordering::Less),
        (false, true) => return Some(Ordering::Greater),
        (false, false) => {}
    }
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    };
    let (a, b) = (text(a?)?, text(b?)?);
    match (a.parse::<i64>(), b.parse::<i64>()) {
        (Ok(a), Ok(b)) => Some(a.cmp(&b)),
        _ => Some(a.cmp(&b)),
    }
}

fn is_like(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('%');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(before) = last.replace(part) {
            let Some(at) = rest.find(before) else { return false };
            rest = &rest[at + before.len()..];
        }
    }
    last.map_or(rest.is_empty(), |last| rest.ends_with(last))
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let (mut found, mut rest) = (Vec::new(), text.trim_start());
    while let Some(first) = rest.chars().next() {
        if found.len() == TOKENS_MAX {
            return Err("the query is too long".to_owned());
        }
        let end = if matches!(first, '\'' | '"') {
            let (text, end) = quoted(rest, first).ok_or("a quotation is not closed")?;
            found.push(Token::Text(text));
            end
        } else {
            let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '*');
            let is_sign = |c: char| matches!(c, '<' | '>' | '=' | '!');
            let run = |belongs: &dyn Fn(char) -> bool| rest.find(|c| !belongs(c)).unwrap_or(rest.len());
            let end = match first {
                c if is_name(c) => run(&is_name),
                c if is_sign(c) => run(&is_sign),
                c => c.len_utf8(),
            };
            found.push(Token::Word(rest[..end].to_owned()));
            end
        };
        rest = rest[end..].trim_start();
    }
    Ok(found)
}

/// A text in quotes, in which a backslash stands before a quote or itself, and where it ends.
fn quoted(rest: &str, quote: char) -> Option<(String, usize)> {
    let (mut text, mut is_escaped) = (String::new(), false);
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if is_escaped => {
                text.push(c);
                is_escaped = false;
            }
            '\\' => is_escaped = true,
            c if c == quote => return Some((text, at + c.len_utf8())),
            c => text.push(c),
        }
    }
    None
}

fn takes(tokens: &mut Tokens, word: &str) -> bool {
    tokens.next_if(|token| matches!(token, Token::Word(found) if found.eq_ignore_ascii_case(word))).is_some()
}

fn expect(tokens: &mut Tokens, word: &str) -> Result<(), String> {
    if takes(tokens, word) { Ok(()) } else { Err(format!("the query needs {word} in this place")) }
}

fn word(tokens: &mut Tokens) -> Result<String, String> {
    match tokens.next() {
        Some(Token::Word(word)) => Ok(word),
        _ => Err("the query needs a name in this place".to_owned()),
    }
}

fn number(tokens: &mut Tokens) -> Result<usize, String> {
    word(tokens)?.parse().map_err(|_| "the query needs a number in this place".to_owned())
}

fn order(tokens: &mut Tokens) -> Result<(String, bool), String> {
    let field = word(tokens)?;
    let descending = takes(tokens, "DESC");
    let _ = descending || takes(tokens, "ASC");
    Ok((field, descending))
}

fn condition(tokens: &mut Tokens) -> Result<(String, Comparison, Value), String> {
    let field = word(tokens)?;
    let comparison = match word(tokens)?.to_ascii_uppercase().as_str() {
        "=" | "==" => Comparison::Equal,
        "!=" | "<>" => Comparison::Unequal,
        "<" => Comparison::Less,
        "<=" => Comparison::AtMost,
        ">" => Comparison::Greater,
        ">=" => Comparison::AtLeast,
        "LIKE" => Comparison::Like,
        other => return Err(format!("{other:?} compares nothing; =, !=, <, <=, >, >= and LIKE do")),
    };
    let value = match tokens.next() {
        Some(Token::Text(text)) => Value::from(text),
        Some(Token::Word(word)) if word.eq_ignore_ascii_case("null") => Value::Null,
        Some(Token::Word(word)) => Value::from(word),
        None => return Err("the query ends within a condition".to_owned()),
    };
    Ok((field, comparison, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items() -> Vec<Value> {
        vec![
            json!({"id": "1", "name": "Alpha", "rate_limit_ceiling": 20, "status": "active"}),
            json!({"id": "2", "name": "beta's", "rate_limit_ceiling": null, "status": "waiting"}),
            json!({"id": "3", "name": "alp", "rate_limit_ceiling": 3, "status": "active"}),
        ]
    }

    fn ids(text: &str) -> Vec<String> {
        let page = Query::read(text).expect(text).page(items());
        let items = page["items"].as_array().expect("items");
        items.iter().map(|item| item["id"].as_str().expect("an id").to_owned()).collect()
    }

    #[test]
    fn objects_are_found_ordered_and_paged() {
        assert_eq!(ids("SELECT * FROM keys"), ["1", "2", "3"]);
        assert_eq!(
            ids("select id from package_keys where status = 'active' and rate_limit_ceiling > 5"),
            ["1"]
        );
        assert_eq!(ids("SELECT * FROM keys WHERE name = 'beta\\'s'"), ["2"]);
        assert_eq!(ids("SELECT * FROM keys WHERE name LIKE 'alp%'"), ["1", "3"]);
        assert_eq!(ids("SELECT * FROM keys WHERE name LIKE '%P%A'"), ["1"]);
        assert_eq!(ids("SELECT * FROM keys WHERE rate_limit_ceiling = null"), ["2"]);
        assert_eq!(
            ids("SELECT * FROM keys WHERE rate_limit_ceiling <= \"20\" AND status != 'waiting'"),
            ["1", "3"]
        );
        assert_eq!(ids("SELECT * FROM keys ORDER BY rate_limit_ceiling DESC"), ["1", "3", "2"]);
        assert_eq!(ids("SELECT * FROM keys ORDER BY status, name DESC PAGE 2 ITEMS 1"), ["1"]);
        let page = Query::read("SELECT name FROM keys ITEMS 2").expect("valid").page(items());
        let expected = json!({"total_items": 3, "total_pages": 2, "items_per_page": 2, "current_page": 1,
            "items": [{"name": "Alpha"}, {"name": "beta's"}]});
        assert_eq!(page, expected);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "",
            "SELECT",
            "SELECT * FROM",
            "SELECT * FROM nothings",
            "DELETE FROM keys",
            "SELECT * FROM keys WHERE",
            "SELECT * FROM keys WHERE name",
            "SELECT * FROM keys WHERE name ~ 'x'",
            "SELECT * FROM keys WHERE name = 'x",
            "SELECT * FROM keys PAGE x",
            "SELECT * FROM keys REQUIRE RELATED member WITH username = 'x'",
        ] {
            assert!(Query::read(text).is_err(), "{text}");
        }
    }
}
