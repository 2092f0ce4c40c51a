//! The sections of the dialects and what `[manage]` says to all of them, each with its rules, become the options of the
//! dialects. Which objects a dialect may list in its section is its own business; what can be found out without it is
//! checked here, so that all problems of a file are reported together.
//!
//! Must not know: what the dialects do with their settings.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;

use crate::config::Queue;
use crate::config::check::Settings;
use crate::event::{CanonicalUrl, Labels};
use crate::manage::adobe::{AdobeOptions, Sandbox, SandboxKind};
use crate::manage::capping::CappingOptions;
use crate::manage::mashery::MasheryOptions;
use crate::manage::mediarithmics::MediarithmicsOptions;
use crate::manage::responsys::{Block, RawAccount, ResponsysOptions, Statuses};
use crate::manage::throttling::ThrottlingOptions;
use crate::manage::{Options, Place};

/// What `[manage]` says to several dialects.
struct CommonOptions {
    require_headers: bool,
    reject_invalid: bool,
    error_as_object: bool,
    sandboxes: Vec<Sandbox>,
}

/// A sandbox as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "struct Sandbox")]
struct SandboxTable {
    /// Name in lower-case letters, digits and dashes; unique.
    name: String,
    /// The id of the sandbox, a UUID; unique.
    id: String,
    /// Whether throttling configs may live in it.
    production: bool,
}

/// An account as it is written; which functions it may name is the dialect's business.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "struct ResponsysAccount")]
struct AccountTable {
    name: String,
    #[serde(default)]
    limits: BTreeMap<String, i64>,
    #[serde(default)]
    blocked: Vec<BlockTable>,
    #[serde(default)]
    users: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "struct ResponsysBlock")]
struct BlockTable {
    user: String,
    apis: Vec<String>,
}

/// Every section is checked before the first `?`, so that all problems are found.
pub(super) fn dialects(
    settings: &mut Settings<'_>,
    labels: Option<&Labels>,
    queue: Option<&Queue>,
) -> Option<Options> {
    let throttling = throttling(settings);
    let usage_headers = settings.flag("mashery.usage_headers");
    let capping = capping(settings);
    let responsys = responsys(settings);
    let mediarithmics = mediarithmics(settings);
    let common = common(settings);
    // From here on nothing is checked any more: what is missing has been reported.
    let (common, labels, drain_window) = (common?, labels?, queue?.drain);
    let require_headers = common.require_headers;
    let adobe = common.adobe(labels, drain_window);
    Some(Options {
        throttling: ThrottlingOptions {
            // Both of Adobe's APIs go by the same organisations and sandboxes.
            adobe: adobe.clone(),
            error_as_object: common.error_as_object,
            ..throttling?
        },
        capping: CappingOptions { adobe, ..capping? },
        mashery: MasheryOptions { require_headers, drain_window, usage_headers: usage_headers? },
        mediarithmics: MediarithmicsOptions { require_headers, drain_window, ..mediarithmics? },
        responsys: ResponsysOptions {
            require_headers,
            // The API lists the limits of the account to which events without the label belong.
            default_account: labels.get("account").map(str::to_owned),
            drain_window,
            ..responsys?
        },
    })
}

fn throttling(settings: &mut Settings<'_>) -> Option<ThrottlingOptions> {
    let min = settings.number("throttling.min", 1..=1_000_000);
    let max = settings.number("throttling.max", 1..=1_000_000);
    let configs = settings.number("throttling.max_configs_per_org", 1..=100_000);
    settings.ordered("throttling.min", min, "throttling.max", max);
    Some(ThrottlingOptions {
        throughput_min: u32::try_from(min?).ok()?,
        throughput_max: u32::try_from(max?).ok()?,
        max_configs_per_org: usize::try_from(configs?).ok()?,
        ..ThrottlingOptions::default()
    })
}

fn capping(settings: &mut Settings<'_>) -> Option<CappingOptions> {
    let status = match settings.number("capping.status", 100..=599) {
        // The draft of the API says 409 with the words of 429, so that callers may expect either.
        Some(409) => Some(StatusCode::CONFLICT),
        Some(429) => Some(StatusCode::TOO_MANY_REQUESTS),
        Some(_) => settings.wrong("capping.status", "must be 429 or 409".to_owned()),
        None => None,
    };
    let require_strategy = settings.flag("capping.require_strategy");
    let configs = settings.number("capping.max_configs_per_org", 1..=100_000);
    Some(CappingOptions {
        status: status?,
        require_strategy: require_strategy?,
        max_configs_per_org: usize::try_from(configs?).ok()?,
        ..CappingOptions::default()
    })
}

fn responsys(settings: &mut Settings<'_>) -> Option<ResponsysOptions> {
    let limit = error_status(settings, "responsys.limit_status");
    let blocked = error_status(settings, "responsys.blocked_status");
    let accounts: Option<Vec<AccountTable>> = settings.tables("responsys.accounts", "name");
    let account_in = place(settings, "responsys.account_in");
    let user_in = place(settings, "responsys.user_in");
    let endpoint = base(settings, "responsys.endpoint");
    Some(ResponsysOptions {
        statuses: Statuses { limit: limit?, blocked: blocked? },
        account_in: account_in?,
        user_in: user_in?,
        endpoint: endpoint?,
        accounts: accounts?.into_iter().map(AccountTable::named).collect(),
        ..ResponsysOptions::default()
    })
}

fn mediarithmics(settings: &mut Settings<'_>) -> Option<MediarithmicsOptions> {
    let plugin_version_in = place(settings, "mediarithmics.plugin_version_in");
    let datamart_in = place(settings, "mediarithmics.datamart_in");
    let organisation_in = place(settings, "mediarithmics.organisation_in");
    let container_in = place(settings, "mediarithmics.container_in");
    Some(MediarithmicsOptions {
        plugin_version_in: plugin_version_in?,
        datamart_in: datamart_in?,
        organisation_in: organisation_in?,
        container_in: container_in?,
        ..MediarithmicsOptions::default()
    })
}

/// A place of calls; `None` within for an empty text, which names none.
fn place(settings: &mut Settings<'_>, setting: &str) -> Option<Option<Place>> {
    let text = settings.text(setting)?;
    if text.is_empty() {
        return Some(None);
    }
    match text.parse() {
        Ok(place) => Some(Some(place)),
        Err(error) => settings.wrong(setting, format!("{error}; it may be empty")),
    }
}

/// The start of an address, without a slash at its end; `None` within for an empty text.
fn base(settings: &mut Settings<'_>, setting: &str) -> Option<Option<String>> {
    let text = settings.text(setting)?;
    let base = text.trim_end_matches('/');
    let is_base = CanonicalUrl::parse(base).is_ok() && !base.contains(['?', '#']);
    if base.is_empty() || is_base {
        return Some((!base.is_empty()).then(|| base.to_owned()));
    }
    settings.wrong(setting, "must be the start of an http or https address, or empty".to_owned())
}

fn error_status(settings: &mut Settings<'_>, setting: &str) -> Option<StatusCode> {
    let number = u16::try_from(settings.number(setting, 400..=599)?).ok()?;
    StatusCode::from_u16(number).ok()
}

fn common(settings: &mut Settings<'_>) -> Option<CommonOptions> {
    let require_headers = settings.flag("manage.require_headers");
    let reject_invalid = settings.flag("manage.reject_invalid");
    let error_as_object = settings.flag("manage.error_as_object");
    let sandboxes = sandboxes(settings);
    Some(CommonOptions {
        require_headers: require_headers?,
        reject_invalid: reject_invalid?,
        error_as_object: error_as_object?,
        sandboxes: sandboxes?,
    })
}

fn sandboxes(settings: &mut Settings<'_>) -> Option<Vec<Sandbox>> {
    const SETTING: &str = "manage.sandboxes";
    let sandboxes: Vec<SandboxTable> = settings.tables(SETTING, "name, id and production")?;
    let mut seen = BTreeSet::new();
    for sandbox in &sandboxes {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if sandbox.name.is_empty() || !sandbox.name.bytes().all(plain) {
            settings.wrong::<()>(
                SETTING,
                format!("name {:?} must be lower-case letters, digits, '-'", sandbox.name),
            );
        }
        if uuid::Uuid::try_parse(&sandbox.id).is_err() {
            settings.wrong::<()>(SETTING, format!("id {:?} of {:?} is not a UUID", sandbox.id, sandbox.name));
        }
        // In one set: a name that is the id of another one would be ambiguous.
        for key in [&sandbox.name, &sandbox.id] {
            if !seen.insert(key) {
                settings.wrong::<()>(SETTING, format!("{key:?} is there twice"));
            }
        }
    }
    Some(sandboxes.into_iter().map(SandboxTable::sandbox).collect())
}

impl CommonOptions {
    /// What both of Adobe's APIs go by.
    fn adobe(&self, labels: &Labels, drain_window: Duration) -> AdobeOptions {
        let defaults = AdobeOptions::default();
        let label = |name: &str| labels.get(name).map(str::to_owned);
        AdobeOptions {
            default_org: label("org").unwrap_or(defaults.default_org),
            default_sandbox: label("sandbox").unwrap_or(defaults.default_sandbox),
            sandboxes: self.sandboxes.clone(),
            reject_invalid: self.reject_invalid,
            require_headers: self.require_headers,
            drain_window,
            identity: defaults.identity,
        }
    }
}

impl SandboxTable {
    fn sandbox(self) -> Sandbox {
        let Self { name, id, production } = self;
        let kind = if production { SandboxKind::Production } else { SandboxKind::Development };
        Sandbox { name, id, kind }
    }
}

impl AccountTable {
    fn named(self) -> (String, RawAccount) {
        let block = |BlockTable { user, apis }| Block { user, apis };
        let blocked = self.blocked.into_iter().map(block).collect();
        (self.name, RawAccount { limits: self.limits, blocked, users: self.users })
    }
}
