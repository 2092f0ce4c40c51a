//! The rules: every setting's type and range, and what settings must agree on.

mod delivery;
mod listen;
mod manage;
mod traces;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroUsize};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

use crate::config::layers::{CLOUDEVENTS, Given, Layers, POLICY};
use crate::config::{Config, Dispatch, Egress, Log, Place, Problem, Queue, Store};
use crate::config::{cloudevents, policies};
use crate::dispatch::{BreakerPolicy, RetryPolicy};
use crate::event::Labels;
use crate::ingest::{Doomed, Unmatched};
use crate::store::embedded::EmbeddedOptions;
use crate::telemetry::logging::Format;

/// The largest segment whose positions fit into an event id.
const MAX_SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// Keeps refusals, which list them, readable.
const MAX_DECLARED_LABELS: usize = 100;
const WEEK_SECONDS: u64 = 7 * 86_400;
const YEAR_SECONDS: u64 = 366 * 86_400;

/// Checks everything and notes every problem; `None` when a value could not be made. Unless they are kept, each
/// `[[policy]]` block leaves the layers when its policy is made: thousands of both do not stand in memory together.
pub(super) fn check(layers: &mut Layers, keep_blocks: bool, problems: &mut Vec<Problem>) -> Option<Config> {
    let mut of = Checker { layers, problems };
    // Every section is checked before the first `?`, so that all problems are found.
    let listen = of.listen();
    let store = of.store();
    let queue = of.queue();
    let max_inflight = of.number("dispatch.max_inflight", 1..=65_536);
    let shutdown_grace = of.seconds("dispatch.shutdown_grace_seconds", 0..=600);
    let retry = of.retry();
    let breaker = of.breaker();
    let delivery = of.delivery();
    let names = of.names();
    let allow = of.list("egress.allow", &|text| parse_with(text, cidr, "a block such as 127.0.0.0/8"));
    let labels = of.labels();
    let known_labels = of.known_labels();
    let dialects = of.dialects(labels.as_ref(), queue.as_ref());
    let manage = of.manage();
    of.policies_of_the_file(manage.as_ref());
    let metrics = of.metrics();
    let traces = of.traces();
    let log = of.log();
    // Without knowing which labels are known none is unknown.
    let known = known_labels.as_ref().and_then(Option::as_ref);
    let policies = if keep_blocks {
        policies::policies(layers.blocks(POLICY).iter(), known, problems)
    } else {
        policies::policies(layers.take_policies().into_iter(), known, problems)
    };
    let cloudevents = cloudevents::targets(layers.blocks(CLOUDEVENTS), known, problems);
    Some(Config {
        listen: listen?,
        store: store?,
        queue: queue?,
        dispatch: Dispatch {
            max_inflight: NonZeroUsize::new(usize::try_from(max_inflight?).ok()?)?,
            shutdown_grace: shutdown_grace?,
        },
        retry: retry?,
        breaker: breaker?,
        delivery: delivery?,
        names: names?,
        egress: Egress { allow: allow? },
        labels: labels?,
        known_labels: known_labels?,
        dialects: dialects?,
        manage: manage?,
        metrics: metrics?,
        traces: traces?,
        log: log?,
        policies,
        cloudevents,
    })
}

pub(super) struct Checker<'a> {
    layers: &'a Layers,
    problems: &'a mut Vec<Problem>,
}

impl Checker<'_> {
    fn store(&mut self) -> Option<Store> {
        let data_dir = self.text("store.data_dir");
        // An empty path would mean the working directory.
        if data_dir.as_deref() == Some("") {
            return self.wrong("store.data_dir", "must name a directory".to_owned());
        }
        let segment_bytes = self.number("store.segment_bytes", 1024 * 1024..=MAX_SEGMENT_BYTES);
        let segment_age = self.seconds("store.segment_seconds", 1..=86_400);
        let scrub_bytes_per_second = self.number("store.scrub_bytes_per_second", 0..=1 << 40);
        let min_free_bytes = self.number("store.min_free_bytes", 0..=1 << 50);
        let append_timeout = self.millis("store.append_timeout_ms", 10..=600_000);
        let retention = self.seconds("store.dead_letter_retention_seconds", 60..=YEAR_SECONDS);
        let epoch_file = self.text("store.epoch_file")?;
        let is_inside = |dir: &String| !epoch_file.is_empty() && Path::new(&epoch_file).starts_with(dir);
        if data_dir.as_ref().is_some_and(is_inside) {
            let problem = "must lie outside store.data_dir: a copy of the directory would carry it along";
            return self.wrong("store.epoch_file", problem.to_owned());
        }
        Some(Store {
            data_dir: PathBuf::from(data_dir?),
            append_timeout: append_timeout?,
            embedded: EmbeddedOptions {
                segment_bytes: segment_bytes?,
                segment_age: segment_age?,
                scrub_bytes_per_second: scrub_bytes_per_second?,
                needed_bytes: min_free_bytes?,
                dead_retention: retention?,
                epoch_file: (!epoch_file.is_empty()).then(|| PathBuf::from(epoch_file)),
                ..EmbeddedOptions::default()
            },
        })
    }

    fn queue(&mut self) -> Option<Queue> {
        let ttl = self.seconds("queue.ttl_seconds", 1..=WEEK_SECONDS);
        let drain = self.seconds("queue.drain_seconds", 1..=86_400);
        let unmatched =
            self.word("queue.unmatched", &[("refuse", Unmatched::Refuse), ("pass", Unmatched::Pass)]);
        let on_doomed =
            self.word("queue.on_doomed", &[("accept", Doomed::Accept), ("refuse", Doomed::Refuse)]);
        Some(Queue { ttl: ttl?, drain: drain?, unmatched: unmatched?, on_doomed: on_doomed? })
    }

    fn retry(&mut self) -> Option<RetryPolicy> {
        let min_delay = self.millis("retry.min_delay_ms", 1..=3_600_000);
        let max_delay = self.millis("retry.max_delay_ms", 1..=86_400_000);
        let attempts = self.number("retry.max_attempts", 1..=1_000);
        self.ordered("retry.min_delay_ms", min_delay, "retry.max_delay_ms", max_delay);
        Some(RetryPolicy {
            base: min_delay?,
            cap: max_delay?,
            max_attempts: NonZeroU16::new(u16::try_from(attempts?).ok()?)?,
        })
    }

    fn breaker(&mut self) -> Option<BreakerPolicy> {
        let failures = self.number("breaker.failures", 0..=1_000_000);
        let min_hold = self.millis("breaker.min_hold_ms", 1..=3_600_000);
        let max_hold = self.millis("breaker.max_hold_ms", 1..=3_600_000);
        self.ordered("breaker.min_hold_ms", min_hold, "breaker.max_hold_ms", max_hold);
        let failures = u32::try_from(failures?).ok()?;
        Some(BreakerPolicy { failures, min_hold: min_hold?, max_hold: max_hold? })
    }

    fn labels(&mut self) -> Option<Labels> {
        let mut labels = Vec::new();
        let mut whole = true;
        for key in ["org", "sandbox", "service", "account"] {
            let setting = format!("labels.{key}");
            // Every label is looked at before the result is given up, so that all problems are found.
            let Some(value) = self.text(&setting) else {
                whole = false;
                continue;
            };
            if value.len() > 256 || value.chars().any(char::is_control) {
                let rule = "a label has at most 256 bytes without control characters";
                self.wrong::<()>(&setting, rule.to_owned());
                whole = false;
            } else if !value.is_empty() {
                labels.push((key.to_owned(), value));
            }
        }
        // Each of them was checked above.
        whole.then(|| Labels::new(labels).ok()).flatten()
    }

    /// `None` within when all labels are welcome; else those that tidegate's own parts look at, and the declared ones.
    fn known_labels(&mut self) -> Option<Option<BTreeSet<String>>> {
        let strict = self.flag("labels.strict");
        let declared = self.list("labels.declared", &label_key);
        if declared.as_ref().is_some_and(|declared| declared.len() > MAX_DECLARED_LABELS) {
            return self.wrong("labels.declared", format!("must list at most {MAX_DECLARED_LABELS} labels"));
        }
        let own = crate::manage::labels().into_iter().chain([Labels::FAIRNESS_KEY]).map(str::to_owned);
        let known = own.chain(declared?);
        strict.map(|strict| strict.then(|| known.collect()))
    }

    /// A list of tables that need some members each.
    pub(super) fn tables<T: serde::de::DeserializeOwned>(
        &mut self,
        setting: &str,
        needed: &str,
    ) -> Option<Vec<T>> {
        let value = match &self.layers.get(setting)?.given {
            Given::Typed(value) => value.clone(),
            Given::Text(text) => match toml_value(text) {
                Some(value) => value,
                None => return self.wrong(setting, "must be a TOML list of tables".to_owned()),
            },
            Given::Texts(_) => return self.wrong(setting, "must be given once".to_owned()),
        };
        match Vec::<T>::deserialize(value) {
            Ok(tables) => Some(tables),
            Err(error) => self.wrong(setting, format!("needs {needed} each: {}", error.message())),
        }
    }

    fn log(&mut self) -> Option<Log> {
        let levels = ["error", "warn", "info", "debug", "trace"].map(|level| (level, level.to_owned()));
        let level = self.word("log.level", &levels);
        let formats = [
            ("auto", Format::Auto),
            ("human", Format::Human),
            ("json", Format::Json),
            ("journald", Format::Journald),
        ];
        let format = self.word("log.format", &formats);
        Some(Log { level: level?, format: format? })
    }

    /// Notes a problem at the place of the setting's value.
    pub(super) fn wrong<T>(&mut self, setting: &str, detail: String) -> Option<T> {
        let place = self.layers.get(setting).map_or(Place::Defaults, |placed| placed.place.clone());
        self.problems.push(Problem { place, subject: setting.to_owned(), detail });
        None
    }

    fn text(&mut self, setting: &str) -> Option<String> {
        match &self.layers.get(setting)?.given {
            Given::Typed(toml::Value::String(text)) | Given::Text(text) => Some(text.clone()),
            Given::Typed(other) => self.wrong(setting, format!("must be text, not {}", kind(other))),
            Given::Texts(_) => self.wrong(setting, "must be given once".to_owned()),
        }
    }

    pub(super) fn number(&mut self, setting: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let (low, high) = (range.start(), range.end());
        let given = match &self.layers.get(setting)?.given {
            // A negative number is reported with the range, as one that is too large is.
            Given::Typed(toml::Value::Integer(number)) => u64::try_from(*number).ok(),
            Given::Typed(other) => {
                return self.wrong(setting, format!("must be a whole number, not {}", kind(other)));
            }
            Given::Text(text) => text.trim().parse().ok(),
            Given::Texts(_) => return self.wrong(setting, "must be given once".to_owned()),
        };
        match given.filter(|number| range.contains(number)) {
            Some(number) => Some(number),
            None => self.wrong(setting, format!("must be a whole number from {low} to {high}")),
        }
    }

    fn seconds(&mut self, setting: &str, range: RangeInclusive<u64>) -> Option<Duration> {
        self.number(setting, range).map(Duration::from_secs)
    }

    fn millis(&mut self, setting: &str, range: RangeInclusive<u64>) -> Option<Duration> {
        self.number(setting, range).map(Duration::from_millis)
    }

    pub(super) fn flag(&mut self, setting: &str) -> Option<bool> {
        match &self.layers.get(setting)?.given {
            Given::Typed(toml::Value::Boolean(flag)) => Some(*flag),
            Given::Text(text) if text == "true" => Some(true),
            Given::Text(text) if text == "false" => Some(false),
            _ => self.wrong(setting, "must be true or false".to_owned()),
        }
    }

    fn word<T: Clone>(&mut self, setting: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(setting)?;
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, meaning)) => Some(meaning.clone()),
            None => {
                let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                self.wrong(setting, format!("must be one of {}, not {text:?}", all.join(", ")))
            }
        }
    }

    fn list<T>(&mut self, setting: &str, parse: &dyn Fn(&str) -> Result<T, String>) -> Option<Vec<T>> {
        let texts: Vec<String> = match &self.layers.get(setting)?.given {
            Given::Typed(toml::Value::Array(values)) => {
                let texts: Option<Vec<String>> =
                    values.iter().map(|value| value.as_str().map(str::to_owned)).collect();
                match texts {
                    Some(texts) => texts,
                    None => return self.wrong(setting, "must be a list of texts".to_owned()),
                }
            }
            Given::Typed(_) => return self.wrong(setting, "must be a list of texts".to_owned()),
            Given::Text(text) => {
                text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
            }
            Given::Texts(texts) => texts.clone(),
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

    /// Notes a problem when both are there and the first exceeds the second.
    pub(super) fn ordered<T: PartialOrd>(
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

fn label_key(text: &str) -> Result<String, String> {
    if Labels::is_key(text) {
        return Ok(text.to_owned());
    }
    let most = Labels::MAX_KEY_BYTES;
    Err(format!("{text:?} is not a label: 1 to {most} letters, digits, '_', '-' or '.'"))
}

/// A single address means the block of that address alone.
fn cidr(text: &str) -> Result<IpNet, ipnet::AddrParseError> {
    IpNet::from_str(text).or_else(|error| IpAddr::from_str(text).map(IpNet::from).map_err(|_| error))
}

fn parse_with<T, E: Display>(
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
