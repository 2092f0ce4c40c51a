//! The API description as one page for people: plain HTML.
//!
//! Must not know: where the document comes from. What it holds is shown as it stands there.

use std::fmt::Write;

use serde_json::{Map, Value};

use crate::app::html::{self, escaped};

/// The methods in the order in which they are shown.
const METHODS: [&str; 8] = ["get", "post", "put", "patch", "delete", "options", "head", "trace"];

/// The whole page that shows an API description.
pub(super) fn page(document: &Value) -> String {
    let title = text(&document["info"], "title");
    let mut out = HtmlPage(String::new());
    out.put(&format!("<h1>{} {} API</h1>\n", escaped(title), text(&document["info"], "version")));
    out.prose(text(&document["info"], "description"));
    out.put("<p>For programs: <a href=\"/openapi.json\">/openapi.json</a>, OpenAPI 3.1. <a href=\"/docs\">The manual</a>.</p>\n");
    out.contents(document);
    for tag in list(&document["tags"]) {
        let name = text(tag, "name");
        out.put(&format!("<h2 id=\"{0}\">{0}</h2>\n", escaped(name)));
        out.prose(text(tag, "description"));
        for (method, path, operation) in operations(document, name) {
            out.operation(document, method, path, operation);
        }
    }
    out.put("<h2 id=\"schemas\">Schemas</h2>\n");
    for (name, schema) in members(&document["components"]["schemas"]) {
        out.put(&format!("<h3 id=\"schema-{0}\">{0}</h3>\n", escaped(name)));
        out.schema(schema);
    }
    html::page(&format!("{title} API"), &out.0)
}

/// The operations that are shown under one tag, by path.
fn operations<'d>(document: &'d Value, tag: &str) -> Vec<(&'static str, &'d str, &'d Value)> {
    let mut found = Vec::new();
    for (path, item) in members(&document["paths"]) {
        let known = METHODS.iter().filter_map(|method| Some((*method, item.get(*method)?)));
        // Every operation has one tag, under which it is shown once.
        let here = known.filter(|(_, operation)| operation["tags"][0] == tag);
        found.extend(here.map(|(method, operation)| (method, path.as_str(), operation)));
    }
    found
}

/// A page of HTML, to which parts are added at its end.
struct HtmlPage(String);

impl HtmlPage {
    fn put(&mut self, html: &str) {
        self.0.push_str(html);
    }

    /// Paragraphs of text in which back-quotes mark code.
    fn prose(&mut self, text: &str) {
        for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
            self.put(&format!("<p>{}</p>\n", marked(paragraph)));
        }
    }

    fn contents(&mut self, document: &Value) {
        self.put("<ul>\n");
        for tag in list(&document["tags"]) {
            let name = text(tag, "name");
            self.put(&format!("<li><a href=\"#{0}\">{0}</a>\n<ul>\n", escaped(name)));
            for (method, path, operation) in operations(document, name) {
                let (id, path, summary) =
                    (text(operation, "operationId"), escaped(path), text(operation, "summary"));
                let (method, summary) = (method.to_ascii_uppercase(), marked(summary));
                self.put(&format!("<li><a href=\"#{id}\"><code>{method} {path}</code></a> {summary}</li>\n"));
            }
            self.put("</ul></li>\n");
        }
        self.put("<li><a href=\"#schemas\">Schemas</a></li>\n</ul>\n");
    }

    fn operation(&mut self, document: &Value, method: &str, path: &str, operation: &Value) {
        let (method, path) = (method.to_ascii_uppercase(), escaped(path));
        let id = escaped(text(operation, "operationId"));
        self.put(&format!("<h3 id=\"{id}\"><code>{method} {path}</code></h3>\n"));
        self.prose(&format!("{}.", text(operation, "summary")));
        self.prose(text(operation, "description"));
        let parameters: Vec<_> = list(&operation["parameters"]).collect();
        if !parameters.is_empty() {
            self.put("<table>\n<tr><th>parameter</th><th>in</th><th>type</th><th></th></tr>\n");
            for parameter in parameters {
                let required = if parameter["required"] == true { ", required" } else { "" };
                self.put(&format!(
                    "<tr><td><code>{}</code></td><td>{}{required}</td><td>{}</td><td>{}</td></tr>\n",
                    escaped(text(parameter, "name")),
                    escaped(text(parameter, "in")),
                    kind(&parameter["schema"]),
                    marked(text(parameter, "description")),
                ));
            }
            self.put("</table>\n");
        }
        if let Some(body) = operation.get("requestBody") {
            self.put("<p>Request:</p>\n");
            self.content(body);
        }
        let shared = |response: &Value| document.pointer(text(response, "$ref").trim_start_matches('#'));
        let responses = members(&operation["responses"]);
        let responses =
            // What is the same everywhere stands in the components and is shown in its place.
            responses.map(|(status, response)| match response.get("$ref").and(shared(response)) {
                Some(shared) => (status, shared),
                None => (status, response),
            });
        for (status, response) in responses.clone().filter(|(status, _)| status.starts_with('2')) {
            self.put(&format!("<p>Answer {status}: {}</p>\n", marked(text(response, "description"))));
            self.content(response);
        }
        self.put("<table>\n<tr><th>otherwise</th><th>type</th><th></th></tr>\n");
        for (status, response) in responses.filter(|(status, _)| !status.starts_with('2')) {
            let kinds: Vec<_> = members(&response["content"]).map(|(name, _)| escaped(name)).collect();
            let told = marked(text(response, "description")).replace("\n\n", "<br>");
            self.put(&format!("<tr><td>{status}</td><td>{}</td><td>{told}</td></tr>\n", kinds.join("<br>")));
        }
        self.put("</table>\n");
    }

    /// Content types with their schemas and examples.
    fn content(&mut self, of: &Value) {
        for (name, content) in members(&of["content"]) {
            self.put(&format!("<p><code>{}</code>: {}</p>\n", escaped(name), kind(&content["schema"])));
            let named = members(&content["examples"]).map(|(_, example)| &example["value"]);
            for example in content.get("example").into_iter().chain(named) {
                self.put(&format!("<pre>{}</pre>\n", escaped(&shown(example))));
            }
        }
    }

    fn schema(&mut self, schema: &Value) {
        self.prose(text(schema, "description"));
        let parts: Vec<_> = list(&schema["allOf"]).collect();
        // A schema without parts is its own only part.
        let parts = if parts.is_empty() { vec![schema] } else { parts };
        for part in parts {
            if part.get("properties").is_none() {
                let has = if part.get("$ref").is_some() { "Has the members of " } else { "" };
                self.put(&format!("<p>{has}{}</p>\n", kind(part)));
                continue;
            }
            self.put("<table>\n<tr><th>member</th><th>type</th><th></th></tr>\n");
            for (name, member) in members(&part["properties"]) {
                let required = list(&part["required"]).any(|required| required == name.as_str());
                let optional = if required { "" } else { ", optional" };
                self.put(&format!(
                    "<tr><td><code>{}</code></td><td>{}{optional}</td><td>{}</td></tr>\n",
                    escaped(name),
                    kind(member),
                    marked(text(member, "description")),
                ));
            }
            self.put("</table>\n");
        }
    }
}

/// What a value of a schema is, in a few words, as HTML.
fn kind(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = escaped(reference.rsplit('/').next().unwrap_or_default());
        return format!("<a href=\"#schema-{name}\">{name}</a>");
    }
    let several = |word: &str, of: &str| {
        let kinds: Vec<_> = list(&schema[of]).map(kind).collect();
        (!kinds.is_empty()).then(|| kinds.join(word))
    };
    if let Some(several) = several(" or ", "oneOf").or_else(|| several(" and ", "allOf")) {
        return several;
    }
    let words: Vec<_> =
        list(&schema["enum"]).map(|word| format!("<code>{}</code>", escaped(&shown(word)))).collect();
    if !words.is_empty() {
        return words.join(" ");
    }
    let types: Vec<_> = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    let named = types.iter().map(|name| match *name {
        "array" => format!("list of {}", kind(&schema["items"])),
        "object" if schema.get("additionalProperties").is_some_and(Value::is_object) => {
            format!("object of {}", kind(&schema["additionalProperties"]))
        }
        name => escaped(name),
    });
    let named: Vec<_> = named.collect();
    let mut out = if named.is_empty() { "anything".to_owned() } else { named.join(" or ") };
    for (bound, word) in [
        ("format", ""),
        ("contentEncoding", ""),
        ("minimum", "from "),
        ("exclusiveMinimum", "above "),
        ("maximum", "to "),
        ("minLength", "from length "),
        ("maxLength", "to length "),
    ] {
        if let Some(value) = schema.get(bound) {
            // A string takes all that is written to it.
            write!(out, ", {word}{}", escaped(&shown(value))).unwrap_or_default();
        }
    }
    out
}

/// An example as it is sent.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        // Any value can be written.
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    }
}

fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value[member].as_str().unwrap_or_default()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> + Clone {
    value.as_object().into_iter().flat_map(Map::iter)
}

/// Text in which back-quotes mark code, as HTML.
fn marked(text: &str) -> String {
    let parts = text.split('`').map(escaped).enumerate();
    parts.map(|(nth, part)| if nth % 2 == 1 { format!("<code>{part}</code>") } else { part }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_document_says_is_text() {
        assert_eq!(marked("a `<b>` & \"c\""), "a <code>&lt;b&gt;</code> &amp; &quot;c&quot;");
    }

    #[test]
    fn every_operation_and_schema_has_its_place_and_every_link_leads_to_one() {
        let document = crate::app::api_doc();
        let page = page(&document);
        for item in document["paths"].as_object().expect("paths").values() {
            for operation in item.as_object().expect("an item").values() {
                let id = operation["operationId"].as_str().expect("an id");
                assert!(page.contains(&format!("<h3 id=\"{id}\">")), "{id}");
            }
        }
        for link in page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(page.contains(&format!("id=\"{link}\"")), "{link}");
        }
        assert!(!page.contains("<script") && !page.contains("http-equiv") && !page.contains("src="));
        for tag in ["html", "body", "table", "tr", "td", "ul", "li", "pre", "code", "p", "h3"] {
            let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
            let opened = page.matches(&open).count() + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&close).count(), "{tag}");
        }
    }
}
