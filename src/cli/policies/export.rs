//! `tidegate policies export`: what a daemon has, as blocks of a configuration file.
//!
//! Must not know: how the blocks are read.

use std::fmt::Write;

use serde::Serialize;
use serde_json::Value;

use crate::cli::policies::fetched::FetchedPolicy;
use crate::config::policy_block;

/// What a daemon has, in the words of the file.
#[derive(Debug, Serialize)]
pub(super) struct Export {
    policies: Vec<Value>,
    left_out: Vec<LeftOut>,
    #[serde(skip)]
    origins: Vec<String>,
}

/// A policy that says what no block can say.
#[derive(Debug, Serialize)]
struct LeftOut {
    id: String,
    origin: String,
    state: String,
}

impl Export {
    /// Of those that are authored; what was deleted and drains is gone.
    pub(super) fn of(listed: Vec<FetchedPolicy>) -> Self {
        let mut export = Self { policies: Vec::new(), left_out: Vec::new(), origins: Vec::new() };
        for FetchedPolicy { id, origin, state, definition, etag, .. } in listed {
            // Without an edition it was deleted and only drains.
            match definition.filter(|_| etag.is_some()) {
                Some(definition) => {
                    export.policies.push(definition);
                    export.origins.push(origin);
                }
                None if etag.is_some() => export.left_out.push(LeftOut { id, origin, state }),
                None => {}
            }
        }
        export
    }

    /// As the text of a file; what is left out stands in comments.
    pub(super) fn to_toml(&self) -> String {
        let mut text = String::new();
        for (definition, origin) in self.policies.iter().zip(&self.origins) {
            // Writing to a text never fails.
            let _ = writeln!(text, "# origin: {origin}\n{}", policy_block(definition));
        }
        if !self.left_out.is_empty() {
            text.push_str("# No block can say what these say; the APIs that have made them have them:\n");
        }
        for LeftOut { id, origin, state } in &self.left_out {
            let _ = writeln!(text, "# {id} (origin: {origin}, {state})");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::cli::policies::fetched;
    use crate::config::FilePolicy;

    fn listed(id: &str, origin: &str, definition: &Value, etag: Option<&str>) -> FetchedPolicy {
        let policy = json!({
            "id": id, "origin": origin, "state": "deployed", "definition": definition, "etag": etag, "limits": null,
            "generations": [], "hold": null,
        });
        fetched::read(&policy).expect("reads")
    }

    #[test]
    fn what_is_exported_reads_as_a_file_and_the_rest_is_named() {
        let one = json!({
            "name": "a", "url": "https://h.org/*", "labels": {"a.b": "\"x\""}, "pace": 0.5,
            "window": {"calls": 1, "per_ms": 2}, "methods": ["GET"],
        });
        let export = Export::of(vec![
            listed("a", "api", &one, Some("\"1\"")),
            listed("t", "throttling", &Value::Null, Some("\"2\"")),
            listed("d", "api", &Value::Null, None),
        ]);
        let text = export.to_toml();
        let read = FilePolicy::read_all(&text, Path::new("FILE")).expect("valid");
        assert_eq!(read.iter().map(FilePolicy::definition).collect::<Vec<_>>(), [one]);
        assert!(text.contains("\n# t (origin: throttling, deployed)\n") && !text.contains("# d "), "{text}");
        assert_eq!(Export::of(Vec::new()).to_toml(), "");
    }
}
