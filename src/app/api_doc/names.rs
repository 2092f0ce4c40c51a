//! Names for schemas: what a generator of clients makes a type of stands once in the API description, as a component.
//!
//! Must not know: what is described.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::telemetry::defect;

/// Moves every schema that is worth a type to the components. Its name is its `title`, or else made of where it stands.
pub(super) fn name_schemas(document: &mut Value) {
    let Some(Value::Object(schemas)) = document.pointer_mut("/components/schemas").map(Value::take) else {
        defect!("an API description without schemas");
        return;
    };
    // By their whole text: schemas that say the same become one type.
    let known = schemas.iter().map(|(name, schema)| (schema.to_string(), name.clone())).collect();
    let mut names = SchemaNames { known, schemas };
    for name in names.schemas.keys().cloned().collect::<Vec<_>>() {
        let mut schema = names.schemas.get_mut(&name).map(Value::take).unwrap_or_default();
        names.inside(&name, &mut schema);
        names.schemas.insert(name, schema);
    }
    let paths = document.get_mut("paths").and_then(Value::as_object_mut).into_iter().flatten();
    for (_, operation) in paths.filter_map(|(_, item)| item.as_object_mut()).flatten() {
        let name = pascal(operation["operationId"].as_str().unwrap_or_default());
        for content in operation.get_mut("requestBody").into_iter().flat_map(contents) {
            names.place(&format!("{name}Request"), &mut content["schema"]);
        }
        for (status, response) in operation["responses"].as_object_mut().into_iter().flatten() {
            for content in contents(response) {
                names.place(&format!("{name}{status}"), &mut content["schema"]);
            }
        }
    }
    document["components"]["schemas"] = names.schemas.into();
}

fn contents(body: &mut Value) -> impl Iterator<Item = &mut Value> {
    let contents = body.get_mut("content").and_then(Value::as_object_mut);
    contents.into_iter().flat_map(|contents| contents.values_mut())
}

/// The components of the document, as far as they are named.
struct SchemaNames {
    /// Their names by what they were at first.
    known: BTreeMap<String, String>,
    schemas: Map<String, Value>,
}

impl SchemaNames {
    /// Names a schema that stands somewhere, if it is worth it, and what stands in it.
    fn place(&mut self, place: &str, schema: &mut Value) {
        if !is_type(schema) {
            return self.inside(place, schema);
        }
        let content = schema.to_string();
        let known = self.known.get(&content).cloned();
        let name = known.unwrap_or_else(|| {
            let mut own = schema.clone();
            let title = own.as_object_mut().and_then(|own| own.remove("title"));
            let mut name = title.as_ref().and_then(Value::as_str).unwrap_or(place).to_owned();
            while self.schemas.contains_key(&name) {
                name.push('_');
            }
            self.known.insert(content, name.clone());
            // Takes the name before what stands within is named, which might get the same one.
            self.schemas.insert(name.clone(), Value::Null);
            self.inside(&name, &mut own);
            self.schemas.insert(name.clone(), own);
            name
        });
        *schema = json!({"$ref": format!("#/components/schemas/{name}")});
    }

    /// Names what stands in a schema.
    fn inside(&mut self, name: &str, schema: &mut Value) {
        for (keyword, rule) in schema.as_object_mut().into_iter().flatten() {
            match (keyword.as_str(), rule) {
                ("properties", Value::Object(members)) => {
                    members.iter_mut().for_each(|(member, schema)| {
                        self.place(&format!("{name}{}", pascal(member)), schema)
                    });
                }
                ("items", rule) => self.place(&format!("{name}Item"), rule),
                ("additionalProperties", rule) => self.place(&format!("{name}Value"), rule),
                ("oneOf" | "anyOf", Value::Array(kinds)) => {
                    (1..)
                        .zip(kinds)
                        .for_each(|(nth, kind): (u32, _)| self.place(&format!("{name}{nth}"), kind));
                }
                // A part is no type of its own.
                ("allOf", Value::Array(parts)) => parts.iter_mut().for_each(|part| self.inside(name, part)),
                _ => {}
            }
        }
    }
}

/// Whether there is more to a schema than a simple type: members, several words, or several kinds.
fn is_type(schema: &Value) -> bool {
    let several = |keyword: &str| {
        let kinds = schema[keyword].as_array().into_iter().flatten();
        kinds.filter(|kind| **kind != json!({"type": "null"})).count() > 1
    };
    schema.get("properties").is_some() || ["enum", "oneOf", "anyOf", "allOf"].into_iter().any(several)
}

fn pascal(name: &str) -> String {
    let words = name.split('_').filter_map(|word| word.split_at_checked(1));
    words.map(|(first, rest)| first.to_ascii_uppercase() + rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_worth_a_type_is_a_component_once() {
        let words = |title: Option<&str>| {
            let mut words = json!({"type": "string", "enum": ["red", "green"]});
            title.into_iter().for_each(|title| words["title"] = json!(title));
            words
        };
        let reference = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
        let door = json!({"properties": {"colour": words(None), "width_mm": {"type": "integer"}}});
        let mut document = json!({
            "components": {"schemas": {
                "Door": door,
                "House": {"properties": {
                    "door": door,
                    "roof_colour": {"oneOf": [{"type": "null"}, words(Some("Colour"))]},
                    "wall": {"allOf": [reference("Door"), {"properties": {"colour": words(Some("Colour"))}}]},
                }},
            }},
            "paths": {"/house": {"get": {"operationId": "show_house", "responses": {"200": {"content": {
                "application/json": {"schema": {"type": "array", "items": {"properties": {"id": {}}}}},
                "text/plain": {"schema": words(Some("Colour"))},
            }}}}}},
        });
        name_schemas(&mut document);
        let plain = words(None);
        let expected = json!({
            "Colour": plain,
            "Door": {"properties": {"colour": reference("DoorColour"), "width_mm": {"type": "integer"}}},
            "DoorColour": plain,
            "House": {"properties": {
                "door": reference("Door"),
                "roof_colour": {"oneOf": [{"type": "null"}, reference("Colour")]},
                "wall": reference("HouseWall"),
            }},
            "HouseWall": {"allOf": [reference("Door"), {"properties": {"colour": reference("Colour")}}]},
            "ShowHouse200Item": {"properties": {"id": {}}},
        });
        assert_eq!(document["components"]["schemas"], expected);
        let contents = &document["paths"]["/house"]["get"]["responses"]["200"]["content"];
        assert_eq!(contents["application/json"]["schema"]["items"], reference("ShowHouse200Item"));
        assert_eq!(contents["text/plain"]["schema"], reference("Colour"));
    }
}
