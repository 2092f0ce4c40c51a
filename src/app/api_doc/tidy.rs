//! What the derives say awkwardly in the API description, said as its readers expect it.
//!
//! Must not know: what is described.

use serde_json::{Map, Value, json};

/// Joins the lines of descriptions, which are broken as the source is; says of what is optional that it may be left out
/// where it is never null; makes one object of members that were derived in parts.
pub(super) fn tidy(document: &mut Value) {
    simplify(document);
    let schemas = document.pointer("/components/schemas").cloned().unwrap_or_default();
    let all = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut);
    all.into_iter().flatten().for_each(|(_, schema)| join_parts(schema, &schemas));
}

fn simplify(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(simplify),
        Value::Object(members) => {
            if let Some(Value::String(text)) = members.get_mut("description") {
                let paragraphs: Vec<_> = text.split("\n\n").map(|text| text.replace('\n', " ")).collect();
                *text = paragraphs.join("\n\n");
            }
            if members.contains_key("in")
                && let Some(schema) = members.get_mut("schema")
            {
                without_null(schema);
                // A parameter that may be missing is derived as a type or null; the type stands first.
                if let Some(first) = schema["type"].get(0).cloned() {
                    schema["type"] = first;
                }
            }
            let body = members.get_mut("requestBody").and_then(|body| body.get_mut("content"));
            if let Some(Value::Object(contents)) = body {
                contents.values_mut().filter_map(|content| content.get_mut("schema")).for_each(without_null);
            }
            members.values_mut().for_each(simplify);
        }
        _ => {}
    }
}

/// A request body that may be missing is described as a value or null.
fn without_null(schema: &mut Value) {
    if let Some(value) = or_null(schema) {
        *schema = value.clone();
    }
}

/// What a schema of a value or null says of the value.
fn or_null(schema: &Value) -> Option<&Value> {
    let null = json!({"type": "null"});
    match schema["oneOf"].as_array()?.as_slice() {
        [value, other] | [other, value] if *other == null => Some(value),
        _ => None,
    }
}

/// Members that stand among those of the whole are derived as a part of `allOf`. A part that may be absent is a value or null
/// there, but what is absent is members: they are optional members of the whole.
fn join_parts(schema: &mut Value, schemas: &Value) {
    let Some(Value::Array(parts)) = schema.get("allOf") else { return };
    let (mut others, mut own) = (Vec::new(), Map::new());
    for part in parts {
        match or_null(part) {
            Some(part) => own_members(&mut own, target(part, schemas), false),
            None if part.get("properties").is_some() => own_members(&mut own, part, true),
            None => others.push(part.clone()),
        }
    }
    let own = Value::Object(own);
    let Value::Object(members) = schema else { return };
    if others.is_empty() {
        members.remove("allOf");
        members.extend(own.as_object().cloned().unwrap_or_default());
    } else {
        others.push(own);
        members.insert("allOf".to_owned(), others.into());
    }
}

/// Adds the members of one object to those of another.
fn own_members(whole: &mut Map<String, Value>, part: &Value, required: bool) {
    let properties = part["properties"].as_object().cloned().unwrap_or_default();
    whole.insert("type".to_owned(), json!("object"));
    if let Value::Object(known) = whole.entry("properties").or_insert_with(|| json!({})) {
        known.extend(properties);
    }
    // Members of a part that may be absent are never required of the whole.
    let names = part["required"].as_array().filter(|_| required).cloned().unwrap_or_default();
    if let Value::Array(known) = whole.entry("required").or_insert_with(|| json!([])) {
        known.extend(names);
    }
}

fn target<'s>(schema: &'s Value, schemas: &'s Value) -> &'s Value {
    let name = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
    name.map_or(schema, |name| &schemas[name])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_parts_become_members_of_the_whole() {
        let late =
            json!({"type": "object", "properties": {"late": {"type": "string"}}, "required": ["late"]});
        let parts = json!([
            {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Late"}]},
            {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
        ]);
        let mut whole = json!({"description": "It.", "allOf": parts});
        join_parts(&mut whole, &json!({"Late": late}));
        let members = json!({"id": {"type": "string"}, "late": {"type": "string"}});
        let expected =
            json!({"description": "It.", "type": "object", "properties": members, "required": ["id"]});
        assert_eq!(whole, expected);

        let base = json!({"$ref": "#/components/schemas/Base"});
        let mut whole = json!({"allOf": [base, late]});
        join_parts(&mut whole, &json!({}));
        assert_eq!(whole, json!({"allOf": [base, late]}));
    }

    #[test]
    fn a_request_body_is_never_null() {
        let mut document = json!({"requestBody": {"content": {"application/json": {
            "schema": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Page"}]},
        }}}});
        tidy(&mut document);
        let schema = document.pointer("/requestBody/content/application~1json/schema");
        assert_eq!(schema, Some(&json!({"$ref": "#/components/schemas/Page"})));
    }
}
