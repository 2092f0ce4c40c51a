//! The layers: defaults, file, environment, flags. Each yields values with their places under the names of
//! settings; later layers cover earlier ones value by value.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use crate::config::{DEFAULTS, Place, Problem};

/// The file that is read when none is named.
const DEFAULT_FILE: &str = "tidegate.toml";
const PREFIX: &str = "TIDEGATE_";
/// Names the file, like `--config`.
const FILE_VARIABLE: &str = "TIDEGATE_CONFIG";
/// Longest configuration file, in bytes.
const MAX_FILE_BYTES: usize = 1024 * 1024;

/// Where values may come from, besides the defaults.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// The file to read.
    pub file: File,
    /// Environment variables; those without the prefix `TIDEGATE_` are ignored.
    pub environment: Vec<(String, String)>,
    /// Flags that were given.
    pub flags: Vec<Flag>,
}

/// Which configuration file is read.
#[derive(Debug, Clone, Default)]
pub enum File {
    /// The one that `TIDEGATE_CONFIG` names, else `tidegate.toml` in the working directory, if there is one.
    #[default]
    Usual,
    /// This one.
    Named(PathBuf),
    /// None at all.
    Absent,
}

/// A flag that sets a setting.
#[derive(Debug, Clone)]
pub struct Flag {
    /// With its dashes.
    pub flag: &'static str,
    /// `section.key`.
    pub setting: &'static str,
    /// One or, for a repeatable flag, several values.
    pub values: Vec<String>,
}

/// A value as it was given.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Given {
    /// In TOML, already typed.
    Typed(toml::Value),
    /// As text: its type is the setting's.
    Text(String),
    /// Several texts.
    Texts(Vec<String>),
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) given: Given,
    pub(super) place: Place,
}

/// Values by the name of their setting.
#[derive(Debug, Clone, Default)]
pub(super) struct Layers(BTreeMap<String, Placed>);

impl Inputs {
    /// The process's own environment beside `file` and `flags`. Variables that are not text are left out.
    #[must_use]
    pub fn of_process(file: File, flags: Vec<Flag>) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { file, environment, flags }
    }

    /// The file to read, if any, and whether it must exist.
    fn path(&self) -> Option<(PathBuf, bool)> {
        match &self.file {
            File::Absent => None,
            File::Named(path) => Some((path.clone(), true)),
            File::Usual => {
                let named = self.environment.iter().find(|(name, _)| name == FILE_VARIABLE);
                Some(named.map_or_else(
                    || (PathBuf::from(DEFAULT_FILE), false),
                    |(_, path)| (PathBuf::from(path), true),
                ))
            }
        }
    }
}

impl Layers {
    /// Reads all layers, lowest first.
    pub(super) fn read(inputs: &Inputs, problems: &mut Vec<Problem>) -> Self {
        let mut layers = Self::default();
        layers.lay_toml(DEFAULTS, &|_| Place::Defaults, None, problems);
        let known: Vec<String> = layers.0.keys().cloned().collect();
        if let Some((path, required)) = inputs.path() {
            layers.lay_file(&path, required, &known, problems);
        }
        layers.lay_environment(&inputs.environment, &known, problems);
        for flag in &inputs.flags {
            let place = Place::Flag { flag: flag.flag };
            let given = match flag.values.as_slice() {
                [value] => Given::Text(value.clone()),
                several => Given::Texts(several.to_vec()),
            };
            layers.0.insert(flag.setting.to_owned(), Placed { given, place });
        }
        layers
    }

    fn lay_file(&mut self, path: &Path, required: bool, known: &[String], problems: &mut Vec<Problem>) {
        let place = |line| Place::File { path: path.to_owned(), line };
        let mut refuse = |detail: String| {
            problems.push(Problem { place: place(None), subject: "file".to_owned(), detail });
        };
        match std::fs::read_to_string(path) {
            Ok(text) if text.len() > MAX_FILE_BYTES => {
                refuse(format!("is {} bytes long; at most {MAX_FILE_BYTES} are read", text.len()));
            }
            Ok(text) => self.lay_toml(&text, &place, Some(known), problems),
            Err(error) if !required && error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => refuse(format!("cannot be read: {error}")),
        }
    }

    /// The value in force.
    pub(super) fn get(&self, setting: &str) -> Option<&Placed> {
        self.0.get(setting)
    }

    /// Lays a TOML text over what is there. With `known`, other settings are problems.
    fn lay_toml(
        &mut self,
        text: &str,
        place: &dyn Fn(Option<usize>) -> Place,
        known: Option<&[String]>,
        problems: &mut Vec<Problem>,
    ) {
        let line_of = |offset: usize| 1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count();
        let (spans, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let line = error.span().map(|span| line_of(span.start));
            let detail = error.message().to_owned();
            problems.push(Problem { place: place(line), subject: "syntax".to_owned(), detail });
        }
        let Ok(values) = text.parse::<toml::Table>() else { return };
        for (section, body) in spans.get_ref() {
            let section_name = section.get_ref();
            let line = line_of(section.span().start);
            let (Some(rows), Some(toml::Value::Table(typed))) =
                (body.get_ref().as_table(), values.get(section_name.as_ref()))
            else {
                problems.push(Problem {
                    place: place(Some(line)),
                    subject: section_name.to_string(),
                    detail: "settings stand in sections, as [listen] address".to_owned(),
                });
                continue;
            };
            for key in rows.keys() {
                let setting = format!("{section_name}.{}", key.get_ref());
                let place = place(Some(line_of(key.span().start)));
                if let Some(known) = known.filter(|known| !known.contains(&setting)) {
                    problems.push(unknown(place, setting, known));
                } else if let Some(value) = typed.get(key.get_ref().as_ref()) {
                    self.0.insert(setting, Placed { given: Given::Typed(value.clone()), place });
                }
            }
        }
    }

    fn lay_environment(
        &mut self,
        environment: &[(String, String)],
        known: &[String],
        problems: &mut Vec<Problem>,
    ) {
        for (variable, value) in environment {
            if variable == FILE_VARIABLE || !variable.starts_with(PREFIX) {
                continue;
            }
            let place = Place::Environment { variable: variable.clone() };
            match known.iter().find(|setting| variable_of(setting) == *variable) {
                Some(setting) => {
                    let given = Given::Text(value.clone());
                    self.0.insert(setting.clone(), Placed { given, place });
                }
                None => problems.push(unknown(place, variable.clone(), &known_variables(known))),
            }
        }
    }
}

/// The environment variable of a setting.
pub(super) fn variable_of(setting: &str) -> String {
    format!("{PREFIX}{}", setting.replace('.', "_").to_ascii_uppercase())
}

fn known_variables(known: &[String]) -> Vec<String> {
    known.iter().map(|setting| variable_of(setting)).collect()
}

/// Names the nearest known name, where one is near.
fn unknown(place: Place, subject: String, known: &[String]) -> Problem {
    let nearest = known
        .iter()
        .map(|name| (distance(name, &subject), name))
        .min()
        .filter(|(distance, _)| *distance <= 3)
        .map_or_else(|| "see the commented defaults".to_owned(), |(_, name)| format!("did you mean {name}?"));
    Problem { place, subject, detail: format!("unknown setting; {nearest}") }
}

/// Edits between two names (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let next = (diagonal + usize::from(x != y)).min(left + 1).min(*cell + 1);
            diagonal = *cell;
            left = next;
            *cell = next;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}
