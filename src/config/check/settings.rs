//! The values of settings: each is read as the type that it has to have, and what is wrong with it is noted with the
//! place where it stands.
//!
//! Must not know: which settings there are.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;

use crate::config::layers::{GivenValue, Layers};
use crate::config::secrets::SecretPlaces;
use crate::config::{ConfigPlace, ConfigProblem};

/// The settings of all layers, and the problems that were found so far.
pub(in crate::config) struct Settings<'a> {
    layers: &'a Layers,
    problems: &'a mut Vec<ConfigProblem>,
}

impl<'a> Settings<'a> {
    pub(super) fn new(layers: &'a Layers, problems: &'a mut Vec<ConfigProblem>) -> Self {
        Self { layers, problems }
    }

    /// Where secrets are found.
    pub(super) fn secret_places(&self) -> SecretPlaces {
        self.layers.secret_places()
    }

    /// Notes a problem at the place of the setting's value.
    pub(in crate::config) fn wrong<T>(&mut self, setting: &str, detail: String) -> Option<T> {
        let place = self.layers.get(setting).map_or(&ConfigPlace::Defaults, |placed| &placed.place);
        self.wrong_at(place, setting, detail);
        None
    }

    /// Notes a problem at a place that breaks the rule of a setting which stands elsewhere.
    pub(super) fn wrong_at(&mut self, place: &ConfigPlace, setting: &str, detail: String) {
        self.problems.push(ConfigProblem { place: place.clone(), subject: setting.to_owned(), detail });
    }

    pub(in crate::config) fn text(&mut self, setting: &str) -> Option<String> {
        match &self.layers.get(setting)?.given {
            GivenValue::Typed(toml::Value::String(text)) | GivenValue::Text(text) => Some(text.clone()),
            GivenValue::Typed(other) => self.wrong(setting, format!("must be text, not {}", kind(other))),
            GivenValue::Texts(_) => self.wrong(setting, "must be given once".to_owned()),
        }
    }

    pub(in crate::config) fn number(&mut self, setting: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let (low, high) = (range.start(), range.end());
        let given = match &self.layers.get(setting)?.given {
            // A negative number is reported with the range, as one that is too large is.
            GivenValue::Typed(toml::Value::Integer(number)) => u64::try_from(*number).ok(),
            GivenValue::Typed(other) => {
                return self.wrong(setting, format!("must be a whole number, not {}", kind(other)));
            }
            GivenValue::Text(text) => text.trim().parse().ok(),
            GivenValue::Texts(_) => return self.wrong(setting, "must be given once".to_owned()),
        };
        match given.filter(|number| range.contains(number)) {
            Some(number) => Some(number),
            None => self.wrong(setting, format!("must be a whole number from {low} to {high}")),
        }
    }

    pub(in crate::config) fn seconds(
        &mut self,
        setting: &str,
        range: RangeInclusive<u64>,
    ) -> Option<Duration> {
        self.number(setting, range).map(Duration::from_secs)
    }

    pub(in crate::config) fn millis(
        &mut self,
        setting: &str,
        range: RangeInclusive<u64>,
    ) -> Option<Duration> {
        self.number(setting, range).map(Duration::from_millis)
    }

    /// A number from 0 to 1.
    pub(super) fn ratio(&mut self, setting: &str) -> Option<f64> {
        let given = match &self.layers.get(setting)?.given {
            GivenValue::Typed(toml::Value::Float(number)) => Some(*number),
            // TOML takes 0 and 1 without a point for integers.
            GivenValue::Typed(toml::Value::Integer(0)) => Some(0.0),
            GivenValue::Typed(toml::Value::Integer(1)) => Some(1.0),
            GivenValue::Typed(toml::Value::Integer(_)) => None,
            GivenValue::Typed(other) => {
                return self.wrong(setting, format!("must be a number from 0 to 1, not {}", kind(other)));
            }
            GivenValue::Text(text) => text.trim().parse().ok(),
            GivenValue::Texts(_) => return self.wrong(setting, "must be given once".to_owned()),
        };
        // `nan`, which TOML knows, is in no range.
        match given.filter(|number| (0.0..=1.0).contains(number)) {
            Some(number) => Some(number),
            None => self.wrong(setting, "must be a number from 0 to 1".to_owned()),
        }
    }

    pub(in crate::config) fn flag(&mut self, setting: &str) -> Option<bool> {
        match &self.layers.get(setting)?.given {
            GivenValue::Typed(toml::Value::Boolean(flag)) => Some(*flag),
            GivenValue::Text(text) if text == "true" => Some(true),
            GivenValue::Text(text) if text == "false" => Some(false),
            _ => self.wrong(setting, "must be true or false".to_owned()),
        }
    }

    pub(in crate::config) fn word<T: Clone>(&mut self, setting: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(setting)?;
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, meaning)) => Some(meaning.clone()),
            None => {
                let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                self.wrong(setting, format!("must be one of {}, not {text:?}", all.join(", ")))
            }
        }
    }

    pub(in crate::config) fn list<T>(
        &mut self,
        setting: &str,
        parse: &dyn Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let texts: Vec<String> = match &self.layers.get(setting)?.given {
            GivenValue::Typed(toml::Value::Array(values)) => {
                let texts: Option<Vec<String>> =
                    values.iter().map(|value| value.as_str().map(str::to_owned)).collect();
                match texts {
                    Some(texts) => texts,
                    None => return self.wrong(setting, "must be a list of texts".to_owned()),
                }
            }
            GivenValue::Typed(_) => return self.wrong(setting, "must be a list of texts".to_owned()),
            GivenValue::Text(text) => {
                text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
            }
            GivenValue::Texts(texts) => texts.clone(),
        };
        let mut parsed = Vec::with_capacity(texts.len());
        for text in &texts {
            match parse(text) {
                Ok(item) => parsed.push(item),
                // The others are parsed all the same: each wrong one is a problem of its own.
                Err(detail) => drop(self.wrong::<()>(setting, detail)),
            }
        }
        (parsed.len() == texts.len()).then_some(parsed)
    }

    /// A list of tables that need some members each.
    pub(in crate::config) fn tables<T: serde::de::DeserializeOwned>(
        &mut self,
        setting: &str,
        needed: &str,
    ) -> Option<Vec<T>> {
        let value = match &self.layers.get(setting)?.given {
            GivenValue::Typed(value) => value.clone(),
            GivenValue::Text(text) => match toml_value(text) {
                Some(value) => value,
                None => return self.wrong(setting, "must be a TOML list of tables".to_owned()),
            },
            GivenValue::Texts(_) => return self.wrong(setting, "must be given once".to_owned()),
        };
        match Vec::<T>::deserialize(value) {
            Ok(tables) => Some(tables),
            Err(error) => self.wrong(setting, format!("needs {needed} each: {}", error.message())),
        }
    }

    /// Notes a problem when both are there and the first exceeds the second.
    pub(in crate::config) fn ordered<T: PartialOrd>(
        &mut self,
        low: &str,
        low_value: Option<T>,
        high: &str,
        high_value: Option<T>,
    ) {
        // A value that was not made has a problem already.
        if let (Some(a), Some(b)) = (low_value, high_value)
            && a > b
        {
            self.wrong::<()>(low, format!("must not exceed {high}"));
        }
    }
}

pub(super) fn parse_with<T, E: Display>(
    text: &str,
    parse: impl Fn(&str) -> Result<T, E>,
    expected: &str,
) -> Result<T, String> {
    parse(text).map_err(|error| format!("{text:?} is not {expected}: {error}"))
}

fn toml_value(text: &str) -> Option<toml::Value> {
    // A value alone is no TOML text: it is read as the only member of one.
    format!("value = {text}").parse::<toml::Table>().ok()?.remove("value")
}

fn kind(value: &toml::Value) -> &'static str {
    value.type_str()
}
