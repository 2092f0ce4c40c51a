//! The layers: defaults, file, environment, flags. Each yields values with their places under the names of
//! settings; later layers cover earlier ones value by value. The file has blocks beside them, such as `[[policy]]`.
//!
//! Must not know: which values are right.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use crate::config::environment::{FILE_VARIABLE, Variable};
use crate::config::secrets::{CREDENTIALS_VARIABLE, SecretPlaces};
use crate::config::{ConfigPlace, ConfigProblem, DEFAULTS};
use crate::policy::nearest;

/// The file that is read when none is named.
const DEFAULT_FILE: &str = "tidegate.toml";
const PREFIX: &str = "TIDEGATE_";
/// The blocks that are not settings, as `[[policy]]`, in the order in which they are printed.
pub(super) const BLOCKS: [&str; 3] = [CLOUDEVENTS, ENDPOINT, POLICY];
pub(super) const POLICY: &str = "policy";
pub(super) const CLOUDEVENTS: &str = "cloudevents";
pub(super) const ENDPOINT: &str = "endpoint";
/// Longest configuration file that is read, in bytes.
const MAX_FILE_BYTES: usize = 1024 * 1024;

/// Where values may come from, besides the defaults.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// Which configuration file is read, if any.
    pub file: File,
    /// Environment variables; those without the prefix `TIDEGATE_` are ignored, and so are empty ones.
    pub environment: Vec<(String, String)>,
    /// The flags that were given, each of which sets one setting.
    pub flags: Vec<Flag>,
}

/// Which configuration file is read, and whether it has to be there.
#[derive(Debug, Clone, Default)]
pub enum File {
    /// The one that `TIDEGATE_CONFIG` names, else `tidegate.toml` in the working directory, if there is one.
    #[default]
    Usual,
    /// The file at this path, which has to be there.
    Named(PathBuf),
    /// No file, even where there is one.
    Absent,
}

/// A flag that sets a setting.
#[derive(Debug, Clone)]
pub struct Flag {
    /// The flag with its two dashes, such as `--listen`.
    pub flag: &'static str,
    /// The setting that it sets, as `section.key`.
    pub setting: &'static str,
    /// One or, for a repeatable flag, several values.
    pub values: Vec<String>,
}

/// A value as it was given.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum GivenValue {
    /// A value in TOML, which has a type already.
    Typed(toml::Value),
    /// As text: its type is the setting's.
    Text(String),
    /// The texts of a flag that was given several times.
    Texts(Vec<String>),
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct PlacedValue {
    pub(super) given: GivenValue,
    pub(super) place: ConfigPlace,
}

/// A table whose members know where they stand.
#[derive(Debug, Clone)]
pub(super) struct ConfigBlock {
    pub(super) place: ConfigPlace,
    /// In the order of the text.
    pub(super) members: Vec<ConfigMember>,
}

/// A member of a [`ConfigBlock`], with its place.
#[derive(Debug, Clone)]
pub(super) struct ConfigMember {
    pub(super) name: String,
    pub(super) value: toml::Value,
    pub(super) place: ConfigPlace,
    /// The members of a value that is itself a table.
    pub(super) within: Option<ConfigBlock>,
}

/// Values by the name of their setting, and the blocks beside them.
#[derive(Debug, Clone, Default)]
pub(super) struct Layers {
    settings: BTreeMap<String, PlacedValue>,
    /// Blocks in the order of the file, by their name as in [`BLOCKS`].
    blocks: BTreeMap<&'static str, Vec<ConfigBlock>>,
    warnings: Vec<ConfigProblem>,
    /// The directory of the unit's credentials, where systemd has given one.
    credentials: Option<PathBuf>,
}

impl Inputs {
    /// The process's own environment beside the rest. Variables that are not text are left out.
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
                let names_it = |(name, path): &&(String, String)| name == FILE_VARIABLE && !path.is_empty();
                let named = self.environment.iter().find(names_it);
                // A file that somebody has named has to be there; the usual one may be missing.
                Some(named.map_or_else(
                    || (PathBuf::from(DEFAULT_FILE), false),
                    |(_, path)| (PathBuf::from(path), true),
                ))
            }
        }
    }
}

impl Layers {
    /// Where secrets are found.
    pub(super) fn secret_places(&self) -> SecretPlaces {
        SecretPlaces { credentials: self.credentials.clone() }
    }

    /// Reads all layers, the lowest first: a later one covers an earlier one.
    pub(super) fn read(inputs: &Inputs, problems: &mut Vec<ConfigProblem>) -> Self {
        let mut layers = Self::default();
        // First, and without a list of known settings: the defaults are that list.
        layers.lay_toml(DEFAULTS, &|_| ConfigPlace::Defaults, None, problems);
        let known: Vec<String> = layers.settings.keys().cloned().collect();
        if let Some((path, required)) = inputs.path() {
            layers.lay_file(&path, required, &known, problems);
        }
        layers.lay_environment(&inputs.environment, &known, problems);
        let given = inputs.environment.iter().find(|(name, _)| name == CREDENTIALS_VARIABLE);
        layers.credentials = given.map(|(_, directory)| PathBuf::from(directory));
        for flag in &inputs.flags {
            let place = ConfigPlace::Flag { flag: flag.flag };
            let given = match flag.values.as_slice() {
                [value] => GivenValue::Text(value.clone()),
                several => GivenValue::Texts(several.to_vec()),
            };
            layers.settings.insert(flag.setting.to_owned(), PlacedValue { given, place });
        }
        layers
    }

    /// A text alone, as if it were a file of this name.
    pub(super) fn of_text(text: &str, called: &Path, problems: &mut Vec<ConfigProblem>) -> Self {
        let mut defaults = Self::default();
        defaults.lay_toml(DEFAULTS, &|_| ConfigPlace::Defaults, None, problems);
        let known: Vec<String> = defaults.settings.keys().cloned().collect();
        let mut layers = Self::default();
        let path: Arc<Path> = called.into();
        let place = |line| ConfigPlace::File { path: Arc::clone(&path), line };
        layers.lay_toml(text, &place, Some(&known), problems);
        layers
    }

    fn lay_file(&mut self, path: &Path, required: bool, known: &[String], problems: &mut Vec<ConfigProblem>) {
        let shared: Arc<Path> = path.into();
        let place = |line| ConfigPlace::File { path: Arc::clone(&shared), line };
        let mut refuse = |detail: String| {
            problems.push(ConfigProblem { place: place(None), subject: "file".to_owned(), detail });
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

    /// The value that is in use, with its place.
    pub(super) fn get(&self, setting: &str) -> Option<&PlacedValue> {
        self.settings.get(setting)
    }

    /// The blocks of one of the names [`BLOCKS`], in the order of the file.
    pub(super) fn blocks(&self, name: &str) -> &[ConfigBlock] {
        self.blocks.get(name).map_or(&[], Vec::as_slice)
    }

    /// The `[[policy]]` blocks, which are not kept.
    pub(super) fn take_policies(&mut self) -> Vec<ConfigBlock> {
        self.blocks.remove(POLICY).unwrap_or_default()
    }

    /// Variables that were passed over and look as if they were meant for tidegate.
    pub(super) fn warnings(&self) -> &[ConfigProblem] {
        &self.warnings
    }

    /// The settings whose values are given otherwise in `other`, in the order of their names.
    pub(super) fn differing(&self, other: &Self) -> Vec<&str> {
        let same = |setting: &str, placed: &PlacedValue| {
            other.get(setting).is_some_and(|there| there.given == placed.given)
        };
        // Both have every setting of the defaults, so that one direction is enough.
        let settings = self.settings.iter().filter(|(setting, placed)| !same(setting, placed));
        settings.map(|(setting, _)| setting.as_str()).collect()
    }

    /// Lays a TOML text over what is there. With `known`, other settings are problems.
    fn lay_toml(
        &mut self,
        text: &str,
        place: &dyn Fn(Option<usize>) -> ConfigPlace,
        known: Option<&[String]>,
        problems: &mut Vec<ConfigProblem>,
    ) {
        // Found once: thousands of policies ask for the lines of all their members.
        let ends: Vec<usize> = text.match_indices('\n').map(|(end, _)| end).collect();
        let line_of = |offset: usize| 1 + ends.partition_point(|end| *end < offset);
        // It goes on after an error, so that all errors of a file are reported together.
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let line = error.span().map(|span| line_of(span.start));
            let detail = error.message().to_owned();
            problems.push(ConfigProblem { place: place(line), subject: "syntax".to_owned(), detail });
        }
        // What a broken text seems to say is not judged: its settings would only bring further problems.
        if !errors.is_empty() {
            return;
        }
        let at = |offset: usize| place(Some(line_of(offset)));
        for (section, body) in table.into_inner() {
            let section_name = section.get_ref();
            let block_name = BLOCKS.into_iter().find(|name| section_name == name);
            match (body.into_inner(), block_name) {
                (DeValue::Array(blocks), Some(name)) => {
                    let of_name = self.blocks.entry(name).or_default();
                    // By value: each goes when its block is made, and there may be thousands.
                    for block in blocks {
                        match block.get_ref().as_table() {
                            Some(rows) => of_name.push(block_of(at(block.span().start), rows, &at)),
                            None => problems.push(no_block(at(block.span().start), name)),
                        }
                    }
                }
                (_, Some(name)) => problems.push(no_block(at(section.span().start), name)),
                (DeValue::Table(rows), None) => self.lay_section(section_name, &rows, &at, known, problems),
                (_, None) => problems.push(ConfigProblem {
                    place: at(section.span().start),
                    subject: section_name.to_string(),
                    detail: "settings stand in sections, as [listen] address".to_owned(),
                }),
            }
        }
    }

    fn lay_section(
        &mut self,
        section: &str,
        rows: &DeTable<'_>,
        at: &dyn Fn(usize) -> ConfigPlace,
        known: Option<&[String]>,
        problems: &mut Vec<ConfigProblem>,
    ) {
        for (key, value) in rows {
            let setting = format!("{section}.{}", key.get_ref());
            let place = at(key.span().start);
            if let Some(known) = known.filter(|known| !known.contains(&setting)) {
                problems.push(unknown(place, setting, known));
            } else {
                self.settings
                    .insert(setting, PlacedValue { given: GivenValue::Typed(typed(value.get_ref())), place });
            }
        }
    }

    fn lay_environment(
        &mut self,
        environment: &[(String, String)],
        known: &[String],
        problems: &mut Vec<ConfigProblem>,
    ) {
        let variables: Vec<String> = known.iter().map(|setting| variable_of(setting)).collect();
        for (variable, value) in environment {
            let place = ConfigPlace::Environment { variable: variable.clone() };
            match Variable::of(variable, value, known) {
                Variable::Other => {}
                Variable::Setting(setting) => {
                    let given = GivenValue::Text(value.clone());
                    self.settings.insert(setting.to_owned(), PlacedValue { given, place });
                }
                Variable::Mistaken => problems.push(unknown(place, variable.clone(), &variables)),
                Variable::Unknown => self.warnings.push(unknown(place, variable.clone(), &variables)),
            }
        }
    }
}

/// The members of a table with their places.
fn block_of(place: ConfigPlace, rows: &DeTable<'_>, at: &dyn Fn(usize) -> ConfigPlace) -> ConfigBlock {
    let mut rows: Vec<_> = rows.iter().collect();
    // The table need not keep the order of the text, in which members are shown and reported.
    rows.sort_by_key(|(key, _)| key.span().start);
    let members = rows.into_iter().map(|(key, value)| {
        let place = at(key.span().start);
        let within = value.get_ref().as_table().map(|rows| block_of(place.clone(), rows, at));
        ConfigMember { name: key.get_ref().to_string(), value: typed(value.get_ref()), place, within }
    });
    ConfigBlock { place, members: members.collect() }
}

/// The value that a text stands for. A number that is too large for its type becomes a float, so that its setting
/// can name the range.
fn typed(value: &DeValue<'_>) -> toml::Value {
    let float = |text: &str| toml::Value::Float(text.parse().unwrap_or(f64::INFINITY));
    match value {
        DeValue::String(text) => toml::Value::String(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| float(number.as_str()), toml::Value::Integer),
        DeValue::Float(number) => float(number.as_str()),
        DeValue::Boolean(flag) => toml::Value::Boolean(*flag),
        DeValue::Datetime(date) => toml::Value::Datetime(*date),
        DeValue::Array(values) => {
            toml::Value::Array(values.iter().map(|value| typed(value.get_ref())).collect())
        }
        DeValue::Table(rows) => toml::Value::Table(
            rows.iter().map(|(key, value)| (key.get_ref().to_string(), typed(value.get_ref()))).collect(),
        ),
    }
}

fn no_block(place: ConfigPlace, name: &str) -> ConfigProblem {
    let what = match name {
        POLICY => "policies",
        ENDPOINT => "rules for endpoints",
        _ => "targets of CloudEvents",
    };
    let detail = format!("{what} stand in blocks of their own, each under a line [[{name}]]");
    ConfigProblem { place, subject: name.to_owned(), detail }
}

/// The environment variable of a setting.
pub(super) fn variable_of(setting: &str) -> String {
    format!("{PREFIX}{}", setting.replace('.', "_").to_ascii_uppercase())
}

/// Names the nearest known name, where one is near, else the ones of the same section.
fn unknown(place: ConfigPlace, subject: String, known: &[String]) -> ConfigProblem {
    let way_out = match nearest(&subject, known.iter().map(String::as_str)) {
        Some(name) => format!("did you mean {name}?"),
        None => {
            let section = section_of(&subject);
            let same: Vec<&str> =
                known.iter().map(String::as_str).filter(|name| section_of(name) == section).collect();
            if same.is_empty() { "see the commented defaults".to_owned() } else { same.join(", ") + " exist" }
        }
    };
    ConfigProblem { place, subject, detail: format!("unknown setting; {way_out}") }
}

/// The part of a setting's or its variable's name that says the section.
fn section_of(name: &str) -> &str {
    let rest = name.strip_prefix(PREFIX).unwrap_or(name);
    rest.split(['.', '_']).next().unwrap_or(rest)
}
