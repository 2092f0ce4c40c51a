//! The configuration in use as TOML, each value with its origin.

use crate::config::layers::{BLOCKS, ConfigBlock, ConfigMember, GivenValue, Layers, variable_of};
use crate::config::{ConfigPlace, DEFAULTS};
use crate::telemetry::defect;

/// Walks the defaults file, so that sections and settings come in its order; the text is itself a valid
/// configuration file.
pub(super) fn to_toml(layers: &Layers) -> String {
    let mut out = String::new();
    let mut section = "";
    for line in DEFAULTS.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
            if !out.is_empty() {
                out.push('\n');
            }
            out.push_str(&format!("[{section}]\n"));
            continue;
        }
        // Each setting of the defaults stands on a line of its own; the others are comments and blank lines.
        let Some((key, default)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let setting = format!("{section}.{key}");
        let Some(placed) = layers.get(&setting) else {
            defect!("a setting that has no value, not even its default");
            continue;
        };
        let value = match &placed.given {
            GivenValue::Typed(value) => value.to_string(),
            GivenValue::Text(text) => of_text(default, text),
            GivenValue::Texts(texts) => list(texts.iter().map(String::as_str)),
        };
        let origin = match &placed.place {
            ConfigPlace::Defaults => format!("default; {}", variable_of(&setting)),
            other => other.to_string(),
        };
        out.push_str(&format!("{key} = {value} # {origin}\n"));
    }
    for kind in BLOCKS {
        for ConfigBlock { place, members } in layers.blocks(kind) {
            out.push_str(&format!("\n[[{kind}]] # {place}\n"));
            for ConfigMember { name, value, place, .. } in members {
                out.push_str(&format!("{name} = {value} # {place}\n"));
            }
        }
    }
    out
}

/// Text takes the type of the setting, which its default shows.
fn of_text(default: &str, text: &str) -> String {
    match default.chars().next() {
        Some('"') => toml::Value::String(text.to_owned()).to_string(),
        // Variables and flags give lists by commas; only lists of tables come as TOML.
        Some('[') if !text.trim_start().starts_with('[') => {
            list(text.split(',').map(str::trim).filter(|part| !part.is_empty()))
        }
        _ => text.trim().to_owned(),
    }
}

fn list<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    toml::Value::Array(texts.map(|text| toml::Value::String(text.to_owned())).collect()).to_string()
}
