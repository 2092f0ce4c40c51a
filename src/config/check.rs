//! The rules: every setting's type and range, and what settings must agree on.

mod delivery;
mod listen;
mod manage;
mod outcomes;
mod settings;
mod traces;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ipnet::IpNet;

pub(super) use settings::Settings;
use settings::parse_with;

use crate::config::layers::{CLOUDEVENTS, ENDPOINT, Layers, POLICY};
use crate::config::{Config, ConfigProblem, Dispatch, Egress, KeyFile, Log, Queue, Store};
use crate::config::{cloudevents, dialects, endpoints, policies, secrets};
use crate::dispatch::{BreakerPolicy, DueShare, RetryPolicy};
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
pub(super) fn check(
    layers: &mut Layers,
    keep_blocks: bool,
    problems: &mut Vec<ConfigProblem>,
) -> Option<Config> {
    let settings = &mut Settings::new(layers, problems);
    // Every section is checked before the first `?`, so that all problems are found.
    let listen = listen::listen(settings);
    let store = store(settings);
    let queue = queue(settings);
    let max_inflight = settings.number("dispatch.max_inflight", 1..=65_536);
    let shutdown_grace = settings.seconds("dispatch.shutdown_grace_seconds", 0..=600);
    let retry = retry(settings);
    let due_share = settings.ratio("retry.max_share").map(DueShare::of);
    let adaptive_rate = settings.flag("dispatch.adaptive_rate");
    let breaker = breaker(settings);
    let delivery = delivery::delivery(settings);
    let names = delivery::names(settings);
    let allow = settings.list("egress.allow", &|text| parse_with(text, cidr, "a block such as 127.0.0.0/8"));
    let labels = labels(settings);
    let known_labels = known_labels(settings);
    let dialects = dialects::dialects(settings, labels.as_ref(), queue.as_ref());
    let manage = manage::manage(settings);
    manage::policies_of_the_file(settings, layers.blocks(POLICY), manage.as_ref());
    let metrics = manage::metrics(settings);
    let outcomes = outcomes::outcomes(settings);
    let traces = traces::traces(settings);
    let log = log(settings);
    // Without knowing which labels are known none is unknown.
    let known = known_labels.as_ref().and_then(Option::as_ref);
    let policies = if keep_blocks {
        policies::policies(layers.blocks(POLICY).iter(), known, problems)
    } else {
        policies::policies(layers.take_policies().into_iter(), known, problems)
    };
    let cloudevents = cloudevents::targets(layers.blocks(CLOUDEVENTS), known, problems);
    let for_all = endpoints::ForAllCalls {
        retry: retry.unwrap_or_default(),
        total_timeout: delivery.unwrap_or_default().total,
    };
    // Who only asks a running daemon need not be allowed to read them.
    let secrets = (!keep_blocks).then(|| layers.secret_places());
    let endpoints = endpoints::endpoints(layers.blocks(ENDPOINT), for_all, secrets.as_ref(), problems);
    Some(Config {
        listen: listen?,
        store: store?,
        queue: queue?,
        dispatch: Dispatch {
            max_inflight: NonZeroUsize::new(usize::try_from(max_inflight?).ok()?)?,
            shutdown_grace: shutdown_grace?,
        },
        retry: retry?,
        due_share: due_share?,
        adaptive_rate: adaptive_rate?,
        breaker: breaker?,
        delivery: delivery?,
        names: names?,
        egress: Egress { allow: allow? },
        labels: labels?,
        known_labels: known_labels?,
        dialects: dialects?,
        manage: manage?,
        metrics: metrics?,
        outcomes: outcomes?,
        traces: traces?,
        log: log?,
        policies,
        cloudevents,
        endpoints,
    })
}

/// What is less is used up by a few answers.
const MIN_ATTEMPTS_BYTES: u64 = 1024 * 1024;

fn store(settings: &mut Settings<'_>) -> Option<Store> {
    let data_dir = settings.text("store.data_dir");
    // An empty path would mean the working directory.
    if data_dir.as_deref() == Some("") {
        return settings.wrong("store.data_dir", "must name a directory".to_owned());
    }
    let segment_bytes = settings.number("store.segment_bytes", 1024 * 1024..=MAX_SEGMENT_BYTES);
    let segment_age = settings.seconds("store.segment_seconds", 1..=86_400);
    let scrub_bytes_per_second = settings.number("store.scrub_bytes_per_second", 0..=1 << 40);
    let min_free_bytes = settings.number("store.min_free_bytes", 0..=1 << 50);
    let append_timeout = settings.millis("store.append_timeout_ms", 10..=600_000);
    let retention = settings.seconds("store.dead_letter_retention_seconds", 60..=YEAR_SECONDS);
    let max_letters = settings.number("store.max_dead_letters", 0..=1_000_000_000);
    let max_letter_bytes = settings.number("store.max_dead_letter_bytes", 0..=1 << 50);
    let ends_max_bytes = settings.number("store.ends_max_bytes", 1 << 20..=1 << 50);
    if let (Some(most @ 1..), Some(segment)) = (max_letter_bytes, segment_bytes)
        && most < 2 * segment
    {
        // One file is being written and stays: with less than two, letters would go at once.
        let least = 2 * segment;
        let rule = format!(
            "must be 0 for no bound, or at least {least}, twice store.segment_bytes: raise it, or lower that"
        );
        return settings.wrong("store.max_dead_letter_bytes", rule);
    }
    let attempts_max_bytes = settings.number("store.attempts_max_bytes", 0..=1 << 50);
    if attempts_max_bytes.is_some_and(|most| (1..MIN_ATTEMPTS_BYTES).contains(&most)) {
        let rule = format!("must be 0 to keep none, or at least {MIN_ATTEMPTS_BYTES}");
        return settings.wrong("store.attempts_max_bytes", rule);
    }
    let key_file = key_file(settings, data_dir.as_deref());
    // 0 says that there is no bound.
    let bound = |most: u64| if most == 0 { u64::MAX } else { most };
    let epoch_file = settings.text("store.epoch_file")?;
    let is_inside = |dir: &String| !epoch_file.is_empty() && Path::new(&epoch_file).starts_with(dir);
    if data_dir.as_ref().is_some_and(is_inside) {
        let problem = "must lie outside store.data_dir: a copy of the directory would carry it along";
        return settings.wrong("store.epoch_file", problem.to_owned());
    }
    Some(Store {
        data_dir: PathBuf::from(data_dir?),
        append_timeout: append_timeout?,
        key_file: key_file?,
        embedded: EmbeddedOptions {
            segment_bytes: segment_bytes?,
            segment_age: segment_age?,
            scrub_bytes_per_second: scrub_bytes_per_second?,
            needed_bytes: min_free_bytes?,
            dead_retention: retention?,
            dead_letters: bound(max_letters?),
            dead_bytes: bound(max_letter_bytes?),
            attempts_max_bytes: attempts_max_bytes?,
            ends_max_bytes: ends_max_bytes?,
            epoch_file: (!epoch_file.is_empty()).then(|| PathBuf::from(epoch_file)),
            ..EmbeddedOptions::default()
        },
    })
}

/// `None` within when records are not encrypted.
fn key_file(settings: &mut Settings<'_>, data_dir: Option<&str>) -> Option<Option<KeyFile>> {
    let place = settings.text("store.key_file")?;
    if place.is_empty() {
        return Some(None);
    }
    if data_dir.is_some_and(|dir| Path::new(&place).starts_with(dir)) {
        let problem = "must lie outside store.data_dir: whoever gets the records would get their key";
        return settings.wrong("store.key_file", problem.to_owned());
    }
    match settings.secret_places().key_file(&place) {
        Ok(file) => Some(Some(file)),
        Err(problem) => settings.wrong("store.key_file", format!("{}: {problem}", secrets::shown(&place))),
    }
}

fn queue(settings: &mut Settings<'_>) -> Option<Queue> {
    let ttl = settings.seconds("queue.ttl_seconds", 1..=WEEK_SECONDS);
    let drain = settings.seconds("queue.drain_seconds", 1..=86_400);
    let unmatched =
        settings.word("queue.unmatched", &[("refuse", Unmatched::Refuse), ("pass", Unmatched::Pass)]);
    let on_doomed =
        settings.word("queue.on_doomed", &[("accept", Doomed::Accept), ("refuse", Doomed::Refuse)]);
    Some(Queue { ttl: ttl?, drain: drain?, unmatched: unmatched?, on_doomed: on_doomed? })
}

fn retry(settings: &mut Settings<'_>) -> Option<RetryPolicy> {
    let min_delay = settings.millis("retry.min_delay_ms", 1..=3_600_000);
    let max_delay = settings.millis("retry.max_delay_ms", 1..=86_400_000);
    let attempts = settings.number("retry.max_attempts", 0..=1_000);
    settings.ordered("retry.min_delay_ms", min_delay, "retry.max_delay_ms", max_delay);
    Some(RetryPolicy {
        base: min_delay?,
        cap: max_delay?,
        // 0 stands for no bound.
        max_attempts: NonZeroU16::new(u16::try_from(attempts?).ok()?),
    })
}

fn breaker(settings: &mut Settings<'_>) -> Option<BreakerPolicy> {
    let failures = settings.number("breaker.failures", 0..=1_000_000);
    let min_hold = settings.millis("breaker.min_hold_ms", 1..=3_600_000);
    let max_hold = settings.millis("breaker.max_hold_ms", 1..=3_600_000);
    settings.ordered("breaker.min_hold_ms", min_hold, "breaker.max_hold_ms", max_hold);
    let failures = u32::try_from(failures?).ok()?;
    Some(BreakerPolicy { failures, min_hold: min_hold?, max_hold: max_hold? })
}

fn labels(settings: &mut Settings<'_>) -> Option<Labels> {
    let mut labels = Vec::new();
    let mut whole = true;
    for key in ["org", "sandbox", "service", "account"] {
        let setting = format!("labels.{key}");
        // Every label is looked at before the result is given up, so that all problems are found.
        let Some(value) = settings.text(&setting) else {
            whole = false;
            continue;
        };
        if value.len() > 256 || value.chars().any(char::is_control) {
            let rule = "a label has at most 256 bytes without control characters";
            settings.wrong::<()>(&setting, rule.to_owned());
            whole = false;
        } else if !value.is_empty() {
            labels.push((key.to_owned(), value));
        }
    }
    // Each of them was checked above.
    whole.then(|| Labels::new(labels).ok()).flatten()
}

/// `None` within when all labels are welcome; else those that tidegate's own parts look at, and the declared ones.
fn known_labels(settings: &mut Settings<'_>) -> Option<Option<BTreeSet<String>>> {
    let strict = settings.flag("labels.strict");
    let declared = settings.list("labels.declared", &label_key);
    if declared.as_ref().is_some_and(|declared| declared.len() > MAX_DECLARED_LABELS) {
        return settings.wrong("labels.declared", format!("must list at most {MAX_DECLARED_LABELS} labels"));
    }
    let own = crate::manage::labels().into_iter().chain([Labels::FAIRNESS_KEY]).map(str::to_owned);
    let known = own.chain(declared?);
    strict.map(|strict| strict.then(|| known.collect()))
}

fn log(settings: &mut Settings<'_>) -> Option<Log> {
    let levels = ["error", "warn", "info", "debug", "trace"].map(|level| (level, level.to_owned()));
    let level = settings.word("log.level", &levels);
    let formats = [
        ("auto", Format::Auto),
        ("human", Format::Human),
        ("json", Format::Json),
        ("journald", Format::Journald),
    ];
    let format = settings.word("log.format", &formats);
    Some(Log { level: level?, format: format? })
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
