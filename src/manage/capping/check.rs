//! What a config means, or all its faults (contract.md 1, 3).

use std::num::NonZeroU32;

use http::Method;
use serde_json::Number;

use crate::event::{CanonicalUrl, UrlError};
use crate::manage::adobe::answers::{CanDeploy, CheckError, CheckWarning, WarningScope};
use crate::manage::adobe::methods::read_method;
use crate::manage::capping::objects::{Config, Rating, Service};
use crate::policy::{PatternError, UrlPattern, Window};

/// Most connections that are enforced; more are stored as sent (contract.md 1).
pub(super) const CONNECTIONS_MAX: NonZeroU32 = NonZeroU32::MIN.saturating_add(399);

/// A semantic fault of a config. It is saved and shown, but cannot be deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::manage) enum Fault {
    /// 100: missing, not text, empty, or not http(s).
    Url,
    /// 101: the url does not parse.
    MalformedUrl,
    /// 102: it parses, but with a wildcard in host or port.
    WildcardInHost,
    /// 103: no methods, or an empty list of them.
    Methods,
    /// 104: no service, or one without a rating.
    Rating,
    /// 107: `maxCallsCount` missing, not a whole number or out of range.
    Calls,
    /// 108: `periodInMs` missing, not a whole number or out of range.
    Period,
    /// 111: what no other code names.
    Payload,
    /// A service of another name than `action` and `dataSource`.
    ServiceName(String),
}

/// A service that can be capped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServiceKind {
    /// Custom actions, also calls without the label `service`.
    Action,
    /// Data sources, which calls name in the label `service`.
    DataSource,
}

/// What a config without faults means for calls.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Meaning {
    pub(super) pattern: UrlPattern,
    pub(super) methods: Vec<Method>,
    pub(super) caps: Vec<Cap>,
}

impl Meaning {
    /// The limits of a service, if it is capped.
    pub(super) fn cap(&self, service: ServiceKind) -> Option<Cap> {
        self.caps.iter().find(|cap| cap.service == service).copied()
    }
}

/// The limits of one service of a config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cap {
    pub(super) service: ServiceKind,
    pub(super) window: Window,
    /// At most [`CONNECTIONS_MAX`]; `None` means without bound.
    pub(super) connections: Option<NonZeroU32>,
}

/// What came of the check of a config, with its faults and warnings.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::manage) struct Checked {
    pub(super) meaning: Result<Meaning, Vec<Fault>>,
    /// The services whose connections are not bounded.
    unbounded: Vec<ServiceKind>,
    url: Option<String>,
}

impl ServiceKind {
    pub(super) const ALL: [Self; 2] = [Self::Action, Self::DataSource];

    fn parse(name: &str) -> Option<Self> {
        [Self::Action, Self::DataSource].into_iter().find(|kind| kind.name() == name)
    }

    /// The name in configs, also the value of the label `service`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::DataSource => "dataSource",
        }
    }
}

/// Checks everything. With `require_strategy` a service must have one.
pub(super) fn check(config: &Config, require_strategy: bool) -> Checked {
    let mut faults = Vec::new();
    let mut unbounded = Vec::new();
    let pattern = noted(read_url(config.url.as_deref()), &mut faults);
    let methods = noted(read_methods(config.methods.as_deref()), &mut faults);
    let mut caps = Vec::new();
    let services = config.services.iter().flatten();
    // A config without services would cap nothing, which the contract has no other code for.
    if services.clone().next().is_none() {
        faults.push(Fault::Rating);
    }
    for (name, service) in services {
        let Some(kind) = ServiceKind::parse(name) else {
            faults.push(Fault::ServiceName(name.clone()));
            continue;
        };
        // Everything is checked although something is wrong already: the answer names all faults at once.
        let connections = noted(read_connections(service.max_http_connections.as_ref()), &mut faults);
        // A warning and no fault: the contract lets such a service be deployed.
        if connections == Some(None) {
            unbounded.push(kind);
        }
        if !has_valid_strategy(service, require_strategy) {
            faults.push(Fault::Payload);
        }
        if let Some(window) = read_rating(service.rating.as_ref(), &mut faults) {
            caps.push(Cap { service: kind, window, connections: connections.flatten() });
        }
    }
    let meaning = match (pattern, methods) {
        (Some(pattern), Some(methods)) if faults.is_empty() => Ok(Meaning { pattern, methods, caps }),
        _ => Err(faults),
    };
    debug_assert!(
        meaning.as_ref().err().is_none_or(|faults| !faults.is_empty()),
        "an author learns why a config cannot be deployed"
    );
    Checked { meaning, unbounded, url: config.url.clone() }
}

fn noted<T>(read: Result<T, Fault>, faults: &mut Vec<Fault>) -> Option<T> {
    read.map_err(|fault| faults.push(fault)).ok()
}

/// The port goes before the wildcard, as in the published sample: one that does not parse is 101 also when the host has
/// a wildcard.
fn read_url(url: Option<&str>) -> Result<UrlPattern, Fault> {
    // The code depends on where the url fails: 100 before it is parsed, 101 by parsing, 102 by its wildcards.
    let url = url.filter(|url| !url.is_empty()).ok_or(Fault::Url)?;
    match CanonicalUrl::parse(url) {
        Ok(_) => {}
        Err(UrlError::Scheme { .. }) => return Err(Fault::Url),
        Err(
            UrlError::Malformed { .. }
            | UrlError::TooLong { .. }
            | UrlError::UserInfo
            | UrlError::Ambiguous { .. },
        ) => {
            return Err(Fault::MalformedUrl);
        }
    }
    UrlPattern::parse(url).map_err(|error| match error {
        PatternError::WildcardInHost | PatternError::WildcardInPort => Fault::WildcardInHost,
        PatternError::Malformed { .. } | PatternError::TooManyWildcards { .. } => Fault::MalformedUrl,
    })
}

fn read_methods(methods: Option<&[String]>) -> Result<Vec<Method>, Fault> {
    let methods = methods.filter(|methods| !methods.is_empty()).ok_or(Fault::Methods)?;
    // A verb that is unknown is not left out: a cap on fewer calls than its author meant is none.
    let methods: Option<Vec<Method>> = methods.iter().map(|method| read_method(method)).collect();
    methods.ok_or(Fault::Payload)
}

fn has_valid_strategy(service: &Service, required: bool) -> bool {
    service.strategy.as_deref().map_or(!required, |strategy| strategy == "capping")
}

/// `None` within means without bound: not given, or less than one.
fn read_connections(given: Option<&Number>) -> Result<Option<NonZeroU32>, Fault> {
    let Some(given) = given else { return Ok(None) };
    // Whatever its spelling: what is below one means no bound, and beyond the most it does not matter by how much.
    let count = given.as_f64().ok_or(Fault::Payload)?;
    if count < 1.0 {
        Ok(None)
    } else if count.fract() == 0.0 {
        Ok(NonZeroU32::new(count.min(CONNECTIONS_MAX.get().into()) as u32))
    } else {
        Err(Fault::Payload)
    }
}

fn read_rating(rating: Option<&Rating>, faults: &mut Vec<Fault>) -> Option<Window> {
    /// Stands in for the other one, so that each is checked on its own.
    const ANY: i64 = 1;
    let Some(rating) = rating else {
        faults.push(Fault::Rating);
        return None;
    };
    let whole = |number: &Option<Number>| number.as_ref().and_then(Number::as_i64);
    // One call of `Window::new` would name the first fault only.
    let calls = whole(&rating.max_calls_count).filter(|calls| Window::new(*calls, ANY).is_ok());
    let period_ms = whole(&rating.period_in_ms).filter(|period_ms| Window::new(ANY, *period_ms).is_ok());
    if calls.is_none() {
        faults.push(Fault::Calls);
    }
    if period_ms.is_none() {
        faults.push(Fault::Period);
    }
    Window::new(calls?, period_ms?).ok()
}

impl Checked {
    /// The validation status, with all faults and with a warning for each unbounded service.
    pub(super) fn can_deploy(&self) -> CanDeploy {
        let faults = self.meaning.as_ref().err().map(Vec::as_slice).unwrap_or_default();
        let warning = |service: &ServiceKind| CheckWarning {
            warning_code: "ERR_ENDPOINTCONFIG_106",
            warning: "capping config: max HTTP connections not defined: no limitation by default",
            scope: WarningScope {
                endpoint_config_service: service.name().to_owned(),
                endpoint_config_url: self.url.clone(),
            },
        };
        CanDeploy::of(
            faults.iter().map(Fault::render).collect(),
            self.unbounded.iter().map(warning).collect(),
        )
    }
}

impl Fault {
    fn render(&self) -> CheckError {
        let (error_code, error) = match self {
            Self::Url => ("ERR_ENDPOINTCONFIG_100", "capping config: missing or invalid url"),
            Self::MalformedUrl => ("ERR_ENDPOINTCONFIG_101", "capping config: malformed url"),
            Self::WildcardInHost => (
                "ERR_ENDPOINTCONFIG_102",
                "capping config: malformed url: wildchar in url not allowed in host:port",
            ),
            Self::Methods => ("ERR_ENDPOINTCONFIG_103", "capping config: missing HTTP methods"),
            Self::Rating => ("ERR_ENDPOINTCONFIG_104", "capping config: no call rating defined"),
            Self::Calls => {
                ("ERR_ENDPOINTCONFIG_107", "capping config: invalid max calls count (maxCallsCount)")
            }
            Self::Period => {
                ("ERR_ENDPOINTCONFIG_108", "capping config: invalid max calls count (periodInMs)")
            }
            Self::Payload => {
                ("ERR_ENDPOINTCONFIG_111", "capping config: can't create endpoint config: invalid payload")
            }
            Self::ServiceName(name) => {
                let error = format!("invalid service name '{name}': must be 'dataSource' or 'action'");
                return CheckError { error_code: "ERR_AUTHORING_ENDPOINTCONFIG_1", error };
            }
        };
        CheckError { error_code, error: error.to_owned() }
    }
}
