//! What is received and shown of a config, member by member in the order of the published samples
//! (adobe/contract.md 3, contract.md 1, 2).

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Number, Value};
use utoipa::ToSchema;

use crate::manage::adobe::answers::{FORMAT_VERSION, show_state};
use crate::manage::adobe::body::{BodyError, WrongType, object, text, text_set};
use crate::manage::adobe::doc::state;
use crate::manage::adobe::life::Active;
use crate::manage::adobe::stamp::Metadata;
use crate::manage::capping::objects::{Config, Rating, Record, Service};

/// Reads a config of this organisation. `null` counts as absent, a `url` that is no text as well: a semantic fault
/// (contract.md 3).
///
/// # Errors
/// A body that is not JSON, not an object, has a wrong type in a known member or names another organisation is refused
/// as a whole.
pub(super) fn read_config(body: &[u8], org: &str) -> Result<Config, BodyError> {
    let mut members = object(body)?;
    // Stored as sent it would belong to somebody else; left out, the author would believe so. A blank one names nobody:
    // collections of requests send it where a variable has no value.
    if text(&mut members, "orgId")?.is_some_and(|given| !given.trim().is_empty() && given != org) {
        return Err(BodyError::Invalid);
    }
    // A fault that can be shown is better than a refusal, which would lose the rest of the config.
    let url = match members.remove("url") {
        Some(Value::String(url)) => Some(url),
        _ => None,
    };
    let services = match members.remove("services") {
        None | Some(Value::Null) => None,
        Some(Value::Object(services)) => Some(read_services(services)?),
        Some(_) => return Err(BodyError::Invalid),
    };
    Ok(Config { url, methods: text_set(&mut members, "methods")?, services })
}

fn read_services(services: Map<String, Value>) -> Result<BTreeMap<String, Service>, WrongType> {
    // `null` counts as absent, also as a whole service.
    let given = services.into_iter().filter(|(_, service)| !service.is_null());
    given
        .map(|(name, service)| match service {
            Value::Object(service) => Ok((name, read_service(service)?)),
            _ => Err(WrongType),
        })
        .collect()
}

fn read_service(mut members: Map<String, Value>) -> Result<Service, WrongType> {
    let rating = match members.remove("rating") {
        None | Some(Value::Null) => None,
        Some(Value::Object(mut rating)) => Some(Rating {
            max_calls_count: number(&mut rating, "maxCallsCount")?,
            period_in_ms: number(&mut rating, "periodInMs")?,
        }),
        Some(_) => return Err(WrongType),
    };
    Ok(Service {
        strategy: text(&mut members, "strategy")?,
        max_http_connections: number(&mut members, "maxHttpConnections")?,
        rating,
    })
}

fn number(members: &mut Map<String, Value>, name: &str) -> Result<Option<Number>, WrongType> {
    match members.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => Ok(Some(number)),
        Some(_) => Err(WrongType),
    }
}

/// A config as it is shown.
#[derive(Serialize, ToSchema)]
#[schema(as = CappingConfigElement)]
#[serde(rename_all = "camelCase")]
pub(in crate::manage) struct Element<'a> {
    #[serde(rename = "_id", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) id: Option<&'a str>,
    #[serde(flatten)]
    pub(super) config: ShownConfig<'a>,
    pub(super) metadata: Metadata<'a>,
    #[schema(schema_with = state)]
    pub(super) state: &'static str,
    #[serde(flatten)]
    pub(super) owner: Owner<'a>,
    pub(super) authoring_format_version: &'static str,
    pub(super) has_been_deployed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) deployed_config: Option<DeployedConfig<'a>>,
}

/// What was deployed.
#[derive(Serialize, ToSchema)]
#[schema(as = CappingConfigDeployed)]
pub(super) struct DeployedConfig<'a> {
    #[serde(rename = "_id")]
    pub(super) id: &'a str,
    #[serde(flatten)]
    pub(super) config: ShownConfig<'a>,
    #[serde(flatten)]
    pub(super) owner: Owner<'a>,
}

/// Where a config belongs.
#[derive(Serialize, Clone, Copy, ToSchema)]
#[schema(as = CappingConfigOwner)]
#[serde(rename_all = "camelCase")]
pub(super) struct Owner<'a> {
    pub(super) org_id: &'a str,
    pub(super) tenant_id: &'static str,
    pub(super) uid: &'a str,
    pub(super) sandbox_name: &'a str,
    pub(super) sandbox_id: &'a str,
}

#[derive(Serialize, ToSchema)]
#[schema(as = CappingConfigShown)]
pub(super) struct ShownConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    methods: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    services: Option<BTreeMap<&'a str, ShownService<'a>>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = CappingServiceShown)]
#[serde(rename_all = "camelCase")]
struct ShownService<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    strategy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = f64, nullable = false)]
    max_http_connections: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    rating: Option<ShownRating<'a>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = CappingRatingShown)]
#[serde(rename_all = "camelCase")]
struct ShownRating<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = f64, nullable = false)]
    max_calls_count: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = f64, nullable = false)]
    period_in_ms: Option<&'a Number>,
}

impl<'a> From<&'a Config> for ShownConfig<'a> {
    fn from(config: &'a Config) -> Self {
        let services = config.services.as_ref();
        Self {
            url: config.url.as_deref(),
            methods: config.methods.as_deref(),
            services: services
                .map(|services| services.iter().map(|(name, it)| (&**name, it.into())).collect()),
        }
    }
}

impl<'a> From<&'a Service> for ShownService<'a> {
    fn from(service: &'a Service) -> Self {
        Self {
            strategy: service.strategy.as_deref(),
            max_http_connections: service.max_http_connections.as_ref(),
            rating: service.rating.as_ref().map(|rating| ShownRating {
                max_calls_count: rating.max_calls_count.as_ref(),
                period_in_ms: rating.period_in_ms.as_ref(),
            }),
        }
    }
}

/// The `tenantId` of every config: there is one tenant here.
const TENANT: &str = "prod";

/// How a config is shown by the create answer: without `_id`.
pub(super) fn show_created<'a>(uid: &'a str, record: &'a Record) -> Element<'a> {
    Element { id: None, ..show(uid, record) }
}

/// How a config is shown by every other answer.
pub(super) fn show<'a>(uid: &'a str, record: &'a Record) -> Element<'a> {
    let Record { config, org_id, sandbox_id, sandbox_name, created, modified, last_deployed, life, .. } =
        record;
    let owner = Owner { org_id, tenant_id: TENANT, uid, sandbox_name, sandbox_id };
    // What an older book did not keep cannot be shown.
    let deployed = match life.active() {
        Active::As(config) => Some(DeployedConfig { id: uid, config: config.into(), owner }),
        Active::Nothing | Active::Unknown => None,
    };
    Element {
        id: Some(uid),
        config: config.into(),
        metadata: Metadata::of(created, modified, last_deployed.as_ref()),
        state: show_state(life.state()),
        owner,
        authoring_format_version: FORMAT_VERSION,
        has_been_deployed: life.is_deployed(),
        deployed_config: deployed,
    }
}
