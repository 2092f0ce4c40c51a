//! What a config says, as it is stored: an element of the policy book. Where configs go their own way beside those of the
//! other API of Adobe.
//!
//! Must not know: requests and answers, what a policy says.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Number;
use utoipa::ToSchema;

use crate::manage::adobe::Authoring;
use crate::manage::adobe::answers::CanDeploy;
use crate::manage::adobe::api::Collection;
use crate::manage::adobe::body::BodyError;
use crate::manage::adobe::life::State;
use crate::manage::adobe::objects::{self, Found};
use crate::manage::adobe::policies::Parts;
use crate::manage::adobe::scope::Scope;
use crate::manage::capping::check::{CONNECTIONS_MAX, Checked, ServiceKind, check};
use crate::manage::capping::derive;
use crate::manage::capping::errors::{Failure, Own};
use crate::manage::capping::wire::{self, Element};
use crate::manage::capping::{COLLECTION, Capping, CappingApi, doc};
use crate::manage::dialect::{Dialect, Unreadable};

/// A config as it was sent, stripped of unknown members (contract.md 1).
///
/// Described as it is sent; it is stored under the names of these fields.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = CappingConfig, rename_all = "camelCase", description = doc::ABOUT_CONFIG)]
pub(in crate::manage) struct Config {
    /// As sent if it is text.
    #[schema(example = "https://api.example.org/data/*")]
    pub(super) url: Option<String>,
    /// In the order sent, without repeats.
    pub(super) methods: Option<Vec<String>>,
    /// By name, `action` and `dataSource`.
    pub(super) services: Option<BTreeMap<String, Service>>,
}

/// What is capped for one kind of callers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = CappingService, rename_all = "camelCase")]
pub(in crate::manage) struct Service {
    /// `capping`, or left out unless `capping.require_strategy` is set.
    pub(super) strategy: Option<String>,
    /// Calls under way at the same time, at most 400 of them; without bound when missing or less than one.
    #[schema(value_type = Option<i64>)]
    pub(super) max_http_connections: Option<Number>,
    pub(super) rating: Option<Rating>,
}

/// So many calls in any period.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = CappingRating, rename_all = "camelCase")]
pub(in crate::manage) struct Rating {
    /// 1 to 10⁹.
    #[schema(value_type = Option<i64>)]
    pub(super) max_calls_count: Option<Number>,
    /// 1 to 2 678 400 000, that is 31 days.
    #[schema(value_type = Option<i64>)]
    pub(super) period_in_ms: Option<Number>,
}

/// A config with what the system adds to it when it is stored.
pub(super) type Record = objects::Record<Config>;

impl Config {
    /// Whether the config names this service, with or without a cap.
    pub(super) fn has(&self, service: ServiceKind) -> bool {
        self.services.as_ref().is_some_and(|services| services.contains_key(service.name()))
    }

    /// As it is deployed: a missing `maxHttpConnections` is written as -1, the default of the system (contract.md 1).
    fn as_deployed(&self) -> Self {
        let mut config = self.clone();
        for service in config.services.iter_mut().flat_map(BTreeMap::values_mut) {
            // Written out for `deployedConfig`, which shows what is active.
            service.max_http_connections.get_or_insert_with(|| Number::from(-1));
        }
        config
    }
}

impl Collection for CappingApi {
    const NAME: &'static str = COLLECTION;
    const DIALECT: &'static dyn Dialect = &Capping;
    const KIND: &'static str = "endpointConfig";
    const CALLED: &'static str = "endpoint config";
    type Own = Own;
    type Config = Config;
    type Meaning = Checked;
    type Element<'a> = Element<'a>;

    fn authoring(&self) -> &Authoring {
        &self.authoring
    }

    fn most(&self) -> usize {
        self.max_configs_per_org
    }

    fn read_config(&self, body: &[u8], scope: &Scope) -> Result<Config, BodyError> {
        wire::read_config(body, &scope.org)
    }

    fn check(&self, config: &Config, _: &str) -> Checked {
        check(config, self.require_strategy)
    }

    fn can_deploy(checked: &Checked) -> CanDeploy {
        checked.can_deploy()
    }

    fn is_sound(checked: &Checked) -> bool {
        checked.meaning.is_ok()
    }

    fn show_created<'a>(uid: &'a str, record: &'a Record) -> Element<'a> {
        wire::show_created(uid, record)
    }

    fn show<'a>(uid: &'a str, record: &'a Record) -> Element<'a> {
        wire::show(uid, record)
    }

    /// A config belongs to its organisation and sandbox.
    fn is_visible(record: &Record, scope: &Scope) -> bool {
        record.org_id == scope.org && record.sandbox_id == scope.sandbox.id
    }

    /// What is deployed stays active until the next deploy.
    fn active_at_once(_: &Config, _: &Checked) -> Option<Config> {
        None
    }

    /// Of one that is deployed as it is written, nothing changes.
    fn deployable(&self, record: &Record) -> Result<Option<Config>, Failure> {
        if record.life.state() == State::Deployed {
            return Ok(None);
        }
        // Checked again: the options may have changed since the config was saved.
        check(&record.config, self.require_strategy).meaning.map_err(|_| Failure::Deploy)?;
        Ok(Some(record.config.as_deployed()))
    }

    fn undeploy_idle() -> Result<(), Failure> {
        Ok(())
    }

    /// One that cannot be read keeps all of them from changing.
    fn wanted(uid: &str, found: &Found<Self>) -> Result<Parts, Unreadable> {
        derive::wanted(uid, found.as_ref().map_err(Clone::clone)?)
    }

    /// One line for each service that asks for more connections than are enforced (contract.md 1).
    fn deployed(uid: &str, record: &Record) {
        let most = u64::from(CONNECTIONS_MAX.get());
        for (service, it) in record.config.services.iter().flatten() {
            let given = it.max_http_connections.as_ref().and_then(Number::as_u64).unwrap_or_default();
            if given > most {
                tracing::warn!(
                    uid,
                    service,
                    given,
                    most,
                    "fewer connections are allowed than the config says"
                );
            }
        }
    }
}
