//! A server that is started on a configuration file, and the receiver that its policies name.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::world::{Api, Receiver, ServerOptions};

/// All files below a directory, with their paths.
pub(crate) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory").filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found
}

/// A directory with a configuration file, and how to start on it.
pub(crate) struct Configured {
    _dir: tempfile::TempDir,
    pub(crate) file: PathBuf,
    pub(crate) options: ServerOptions,
    pub(crate) receiver: Receiver,
}

impl Configured {
    pub(crate) fn new(receiver: Receiver) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("limits.toml");
        let mut options = ServerOptions::new(&dir.path().join("data"));
        options.args = ["--config", &file.display().to_string()].map(str::to_owned).to_vec();
        Self { _dir: dir, file, options, receiver }
    }

    pub(crate) fn write(&self, text: &str) {
        std::fs::write(&self.file, text).expect("written");
    }

    /// A block for all calls below `/name/`.
    pub(crate) fn policy(&self, name: &str, limits: &str) -> String {
        let url = self.receiver.url(&format!("/{name}/*"));
        format!("[[policy]]\nname = \"{name}\"\nurl = \"{url}\"\n{limits}\n")
    }

    pub(crate) async fn event(&self, api: &Api, name: &str) -> (u16, Value) {
        let url = self.receiver.url(&format!("/{name}/x"));
        api.json("POST", "/v1/events", &json!({"url": url, "body": {"n": 0}})).await
    }
}
