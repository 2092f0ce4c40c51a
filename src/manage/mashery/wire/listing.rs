//! The conventions of lists (contract.md 4): which elements, in which order, how many of them, which of their
//! members.
//!
//! - `fields=a,b.c` (repeatable) keeps these members; names that an element has not are passed over, for clients name
//!   all members of the V3 API.
//! - `filter=a.b:text` (repeatable, also several after commas; all must hold) keeps elements whose value contains the
//!   text, upper and lower case told apart; of a list any item may. Numbers and flags count as their text, what is not
//!   set contains nothing.
//! - `sort=a,b:desc` puts what is not set first; equals stay in the order of creation, as all do without it.
//! - `limit` (100 unless given, above [`LIMIT_MAX`] that many) and `offset` cut the page out; the count is of all before
//!   that.
//!
//! A property that the kind never has, a word that is no number and a number given twice are refused; parameters of
//! other names are passed over. What lies within elements is shown where `fields` names it.
//!
//! Must not know: what the members mean.

use std::cmp::Ordering;

use axum::extract::Query as Pairs;
use http::Uri;
use serde_json::{Map, Value};

use crate::manage::mashery::errors::Refusal;
use crate::manage::mashery::wire::Kind;

/// Elements of a page unless asked for otherwise (the vendor's page on lists).
const LIMIT: usize = 100;
/// Most elements of a page, whatever is asked for.
pub(in crate::manage::mashery) const LIMIT_MAX: usize = 1000;
/// Most paths, filters or sort keys each.
const TERMS_MAX: usize = 100;
/// Longest path to a property, counted in names.
const DEPTH_MAX: usize = 8;

/// The way to a property: its name, and those within it.
type Path = Vec<String>;

/// Which part of a list is asked for, and how it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::manage::mashery) struct Query {
    /// The members that are shown; `None` means all of them.
    fields: Option<Vec<Path>>,
    filters: Vec<(Path, String)>,
    sorts: Vec<(Path, Direction)>,
    limit: usize,
    offset: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Ascending,
    Descending,
}

/// The part of a list that an answer shows.
#[derive(Debug, PartialEq)]
pub(in crate::manage::mashery) struct Page {
    /// How many pass the filters, the page's among them.
    pub(in crate::manage::mashery) total: usize,
    /// In order, with the members asked for.
    pub(in crate::manage::mashery) elements: Vec<Value>,
}

impl Query {
    /// Reads the parameters of a request for elements of `kind`.
    ///
    /// # Errors
    /// 400 with the parameter and its rule.
    pub(in crate::manage::mashery) fn read(uri: &Uri, kind: Kind) -> Result<Self, Refusal> {
        let Pairs(pairs) = Pairs::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| Refusal::invalid("the query must be pairs such as limit=100, joined by &"))?;
        let (mut fields, mut filters, mut sorts) = (None, Vec::new(), Vec::new());
        let (mut limit, mut offset) = (None, None);
        for (name, value) in pairs {
            match name.as_str() {
                "fields" => {
                    let paths = value.split(',').map(|path| read_path("fields", path));
                    fields.get_or_insert_with(Vec::new).extend(paths.collect::<Result<Vec<_>, _>>()?);
                }
                "filter" => filters.extend(read_filters(&value, kind)?),
                "sort" => {
                    for term in value.split(',') {
                        sorts.push(read_sort(term, kind)?);
                    }
                }
                // A client that wants all asks for very many and goes on by the count.
                "limit" => read_number("limit", &value, Beyond::Clamped(LIMIT_MAX), &mut limit)?,
                "offset" => read_number("offset", &value, Beyond::Refused, &mut offset)?,
                _ => {}
            }
        }
        if fields.as_ref().map_or(0, Vec::len).max(filters.len()).max(sorts.len()) > TERMS_MAX {
            return Err(Refusal::invalid(format!("fields, filter and sort take {TERMS_MAX} terms at most")));
        }
        Ok(Self { fields, filters, sorts, limit: limit.unwrap_or(LIMIT), offset: offset.unwrap_or(0) })
    }

    /// The part of `elements`, which come in the order of creation, that is asked for.
    pub(in crate::manage::mashery) fn page(&self, elements: Vec<Map<String, Value>>) -> Page {
        let mut found: Vec<Value> = elements.into_iter().map(Value::Object).collect();
        found.retain(|element| self.filters.iter().all(|(path, text)| contains(element, path, text)));
        // A stable sort: equals keep the order of creation.
        if !self.sorts.is_empty() {
            found.sort_by(|a, b| self.compare(a, b));
        }
        // Before the page is cut out: clients page by it.
        let total = found.len();
        let page = found.into_iter().skip(self.offset).take(self.limit);
        Page { total, elements: page.map(|element| self.pick(element)).collect() }
    }

    /// The paths of the members that are asked for by name.
    pub(in crate::manage::mashery) fn wanted(&self) -> Vec<&[String]> {
        self.fields.iter().flatten().map(Vec::as_slice).collect()
    }

    /// An element with the members asked for.
    pub(in crate::manage::mashery) fn pick(&self, element: Value) -> Value {
        let Some(fields) = &self.fields else { return element };
        let paths: Vec<&[String]> = fields.iter().map(Vec::as_slice).collect();
        pick(&element, &paths).unwrap_or_default()
    }

    fn compare(&self, a: &Value, b: &Value) -> Ordering {
        let by = |(path, direction): &(Path, Direction)| {
            let order = compare(first(a, path), first(b, path));
            match direction {
                Direction::Ascending => order,
                Direction::Descending => order.reverse(),
            }
        };
        self.sorts.iter().map(by).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }
}

fn read_path(parameter: &str, text: &str) -> Result<Path, Refusal> {
    let path: Path = text.trim().split('.').map(str::to_owned).collect();
    let plain = |name: &String| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    if path.len() <= DEPTH_MAX && path.iter().all(plain) {
        return Ok(path);
    }
    // A query may be long: an answer repeats the beginning of it.
    let shown: String = text.chars().take(80).collect();
    Err(Refusal::invalid(format!("{parameter}: {shown:?} is no property such as publicDomains.address")))
}

/// One that elements of the kind can have: another would leave a filter or an order without any sense.
fn read_known(parameter: &str, text: &str, kind: Kind) -> Result<Path, Refusal> {
    let path = read_path(parameter, text)?;
    if path.first().is_some_and(|name| kind.shows(name)) {
        return Ok(path);
    }
    Err(Refusal::invalid(format!("{parameter}: there is no property {:?} here", path.join("."))))
}

/// A part without a colon goes on with the value before it, which may have commas of its own.
fn read_filters(text: &str, kind: Kind) -> Result<Vec<(Path, String)>, Refusal> {
    let mut filters: Vec<(Path, String)> = Vec::new();
    for part in text.split(',') {
        match (part.split_once(':'), filters.last_mut()) {
            (Some((path, value)), _) => {
                filters.push((read_known("filter", path, kind)?, value.to_owned()));
            }
            (None, Some((_, value))) => {
                value.push(',');
                value.push_str(part);
            }
            (None, None) => return Err(Refusal::invalid("filter: must be property:value")),
        }
    }
    Ok(filters)
}

fn read_sort(term: &str, kind: Kind) -> Result<(Path, Direction), Refusal> {
    let (path, direction) = match term.split_once(':') {
        None | Some((_, "asc")) => (term.trim_end_matches(":asc"), Direction::Ascending),
        Some((path, "desc")) => (path, Direction::Descending),
        Some(_) => return Err(Refusal::invalid("sort: a direction is asc or desc")),
    };
    Ok((read_known("sort", path, kind)?, direction))
}

/// What becomes of a number that is too large.
#[derive(Debug, Clone, Copy)]
enum Beyond {
    /// This one takes its place.
    Clamped(usize),
    /// It cannot be counted to.
    Refused,
}

fn read_number(name: &str, text: &str, beyond: Beyond, into: &mut Option<usize>) -> Result<(), Refusal> {
    // `parse` alone would take a sign.
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = match beyond {
        Beyond::Clamped(most) if plain => Some(text.parse().unwrap_or(most).min(most)),
        Beyond::Clamped(_) => None,
        Beyond::Refused => text.parse().ok().filter(|_| plain),
    };
    match number {
        Some(_) if into.is_some() => Err(Refusal::invalid(format!("{name}: must be given once"))),
        Some(number) => {
            *into = Some(number);
            Ok(())
        }
        None => Err(Refusal::invalid(format!("{name}: must be a whole number, 0 or more"))),
    }
}

/// What lies at the end of a path; lists are entered, each item of them.
fn values<'v>(value: &'v Value, path: &[String], found: &mut Vec<&'v Value>) {
    match (value, path.split_first()) {
        (Value::Array(items), _) => items.iter().for_each(|item| values(item, path, found)),
        (Value::Object(members), Some((name, rest))) => {
            if let Some(member) = members.get(name) {
                values(member, rest, found);
            }
        }
        (other, None) => found.push(other),
        (_, Some(_)) => {}
    }
}

fn contains(element: &Value, path: &[String], text: &str) -> bool {
    let mut found = Vec::new();
    values(element, path, &mut found);
    found.into_iter().any(|value| match value {
        Value::String(value) => value.contains(text),
        Value::Number(number) => number.to_string().contains(text),
        Value::Bool(flag) => flag.to_string().contains(text),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    })
}

fn first<'v>(element: &'v Value, path: &[String]) -> Option<&'v Value> {
    let mut found = Vec::new();
    values(element, path, &mut found);
    found.first().copied()
}

/// The order of two values: nothing, flags, numbers, texts, and within a kind by value.
fn compare(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    let rank = |value: Option<&Value>| match value {
        None | Some(Value::Null | Value::Array(_) | Value::Object(_)) => 0,
        Some(Value::Bool(_)) => 1,
        Some(Value::Number(_)) => 2,
        Some(Value::String(_)) => 3,
    };
    match (a, b) {
        (Some(Value::Bool(a)), Some(Value::Bool(b))) => a.cmp(b),
        // All numbers of the objects are whole.
        (Some(Value::Number(a)), Some(Value::Number(b))) => a.as_i64().cmp(&b.as_i64()),
        (Some(Value::String(a)), Some(Value::String(b))) => a.cmp(b),
        (a, b) => rank(a).cmp(&rank(b)),
    }
}

fn pick(value: &Value, paths: &[&[String]]) -> Option<Value> {
    if paths.iter().any(|path| path.is_empty()) {
        return Some(value.clone());
    }
    match value {
        Value::Object(members) => {
            let picked = members.iter().filter_map(|(name, member)| {
                let below: Vec<&[String]> = paths
                    .iter()
                    .filter_map(|path| path.split_first())
                    .filter(|(head, _)| *head == name)
                    .map(|(_, rest)| rest)
                    .collect();
                if below.is_empty() {
                    return None;
                }
                Some((name.clone(), pick(member, &below)?))
            });
            Some(Value::Object(picked.collect()))
        }
        Value::Array(items) => Some(items.iter().filter_map(|item| pick(item, paths)).collect()),
        Value::Null => Some(Value::Null),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn query(text: &str) -> Result<Query, Refusal> {
        let uri: Uri = format!("/x?{text}").parse().expect("a uri");
        Query::read(&uri, Kind::Endpoint)
    }

    fn endpoints() -> Vec<Map<String, Value>> {
        let rows = json!([
            {"id": "1", "name": "Beta", "rateLimitCeiling": 20, "publicDomains": [{"address": "a.org"}]},
            {"id": "2", "name": "alpha", "rateLimitCeiling": null, "highSecurity": true,
             "publicDomains": [{"address": "b.org"}, {"address": "c.org"}]},
            {"id": "3", "name": "Beta, two", "rateLimitCeiling": 3, "highSecurity": false,
             "publicDomains": [{"address": "c.org"}]},
        ]);
        rows.as_array().expect("rows").iter().map(|row| row.as_object().expect("a row").clone()).collect()
    }

    fn ids(text: &str) -> Vec<String> {
        let page = query(text).expect(text).page(endpoints());
        page.elements.iter().map(|element| element["id"].as_str().expect("an id").to_owned()).collect()
    }

    #[test]
    fn a_filter_keeps_what_contains_its_text() {
        assert_eq!(ids(""), ["1", "2", "3"]);
        assert_eq!(ids("filter=name:Beta"), ["1", "3"]);
        assert_eq!(ids("filter=name:beta"), [""; 0], "case counts");
        assert_eq!(ids("filter=publicDomains.address:c.o"), ["2", "3"]);
        assert_eq!(ids("filter=publicDomains:c.o"), [""; 0], "an object is no text");
        assert_eq!(ids("filter=rateLimitCeiling:2"), ["1"]);
        assert_eq!(ids("filter=highSecurity:tru"), ["2"]);
        assert_eq!(ids("filter=rateLimitCeiling:"), ["1", "3"], "what is not set contains nothing");
        assert_eq!(ids("filter=name:Beta&filter=publicDomains.address:c.org"), ["3"]);
        assert_eq!(ids("filter=name:Beta,publicDomains.address:c.org"), ["3"]);
        assert_eq!(ids("filter=name:Beta,%20two"), ["3"], "a comma of the value");
        assert_eq!(ids("filter=name.x:Beta"), [""; 0]);
        assert_eq!(query("filter=name:x&limit=1").expect("valid").page(endpoints()).total, 0);
    }

    #[test]
    fn a_sort_puts_what_is_not_set_first_and_keeps_the_order_of_equals() {
        assert_eq!(ids("sort=name"), ["1", "3", "2"]);
        assert_eq!(ids("sort=name:asc"), ["1", "3", "2"]);
        assert_eq!(ids("sort=name:desc"), ["2", "3", "1"]);
        assert_eq!(ids("sort=rateLimitCeiling"), ["2", "3", "1"], "numbers, not texts");
        assert_eq!(ids("sort=highSecurity:desc"), ["2", "3", "1"]);
        assert_eq!(ids("sort=publicDomains.address:desc,name"), ["3", "2", "1"]);
        assert_eq!(ids("sort=publicDomains"), ["1", "2", "3"]);
    }

    #[test]
    fn a_page_is_cut_out_and_the_count_is_of_all() {
        let page = |text: &str| {
            let page = query(text).expect(text).page(endpoints());
            (page.total, page.elements.len())
        };
        assert_eq!(page("limit=2"), (3, 2));
        assert_eq!(page("limit=0"), (3, 0));
        assert_eq!(page("offset=2&limit=1000"), (3, 1));
        assert_eq!(page("limit=9999"), (3, 3), "more than a page may have");
        assert_eq!(query("limit=99999999999999999999999").expect("clamped").limit, LIMIT_MAX);
        assert_eq!(page("offset=99"), (3, 0));
        assert_eq!(page("offset=18446744073709551615"), (3, 0));
        assert_eq!(page("filter=name:Beta&limit=1"), (2, 1));
    }

    #[test]
    fn fields_keep_the_members_they_name() {
        let fields = |text: &str| {
            let page = query(text).expect(text).page(endpoints());
            page.elements.get(1).cloned().expect("two")
        };
        assert_eq!(fields("fields=id"), json!({"id": "2"}));
        assert_eq!(fields("fields=id,cache,rateLimitCeiling"), json!({"id": "2", "rateLimitCeiling": null}));
        let domains = json!({"name": "alpha", "publicDomains": [{"address": "b.org"}, {"address": "c.org"}]});
        assert_eq!(fields("fields=name&fields=publicDomains.address"), domains);
        assert_eq!(fields("fields=name,publicDomains,publicDomains.nothing"), domains);
        assert_eq!(fields("fields=publicDomains.nothing"), json!({"publicDomains": [{}, {}]}));
        assert_eq!(fields("fields=name.x"), json!({}));
        assert_eq!(fields("fields=unknown"), json!({}));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "limit=x",
            "limit=-1",
            "limit=%2B1",
            "limit=",
            "limit=1&limit=2",
            "offset=1.5",
            "offset=99999999999999999999",
            "filter=name",
            "filter=:x",
            "filter=",
            "filter=color:red",
            "filter=limits.period:day",
            "filter=name..x:1",
            "sort=color",
            "sort=name:up",
            "sort=",
            "sort=name,",
            "fields=",
            "fields=a..b",
            "fields=a%00",
            "fields=a.b.c.d.e.f.g.h.i",
            "fields=a%20b",
        ] {
            assert!(matches!(query(text), Err(Refusal::Whole { .. })), "{text}");
        }
        let many = vec!["name"; 101].join(",");
        assert!(query(&format!("sort={many}")).is_err() && query(&format!("fields={many}")).is_err());
        assert!(query("page=7&fields=id&").is_ok(), "parameters of other names are passed over");
    }

    proptest! {
        /// Against a plain model: keep, stable sort, cut.
        #[test]
        fn a_page_is_what_the_model_says(
            rows in prop::collection::vec(("[ab]{0,3}", prop::option::of(0..5_i64)), 0..12),
            text in "[ab]{0,2}",
            by_number in any::<bool>(),
            descending in any::<bool>(),
            limit in 0..14_usize,
            offset in 0..14_usize,
        ) {
            let elements = rows.iter().enumerate().map(|(id, (name, number))| {
                let element = json!({"id": id, "name": name, "rateLimitCeiling": number});
                element.as_object().expect("an object").clone()
            });
            let key = if by_number { "rateLimitCeiling" } else { "name" };
            let direction = if descending { "desc" } else { "asc" };
            let asked = format!("filter=name:{text}&sort={key}:{direction}&limit={limit}&offset={offset}&fields=id");
            let page = query(&asked).expect("valid").page(elements.collect());

            let mut model: Vec<usize> = (0..rows.len()).filter(|id| rows[*id].0.contains(&text)).collect();
            model.sort_by(|a, b| {
                let order = if by_number { rows[*a].1.cmp(&rows[*b].1) } else { rows[*a].0.cmp(&rows[*b].0) };
                if descending { order.reverse() } else { order }
            });
            prop_assert_eq!(page.total, model.len());
            let expected: Vec<Value> = model.into_iter().skip(offset).take(limit).map(|id| json!({"id": id})).collect();
            prop_assert_eq!(page.elements, expected);
        }
    }
}
