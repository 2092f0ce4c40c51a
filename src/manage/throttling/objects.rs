//! What a config says, as it is stored: an element of the policy book. Where configs go their own way beside those of the
//! other API of Adobe.
//!
//! Must not know: requests and answers, what a policy says.

use serde::{Deserialize, Serialize};
use serde_json::Number;
use utoipa::ToSchema;

use crate::event::PolicyId;
use crate::manage::adobe::answers::CanDeploy;
use crate::manage::adobe::api::Collection;
use crate::manage::adobe::body::BodyError;
use crate::manage::adobe::envelope::Refusal;
use crate::manage::adobe::objects::{self, Found};
use crate::manage::adobe::policies::{Parts, name_of};
use crate::manage::adobe::scope::Scope;
use crate::manage::adobe::{Authoring, SandboxKind};
use crate::manage::dialect::{Dialect, Unreadable};
use crate::manage::throttling::check::{self, Fault, check};
use crate::manage::throttling::derive;
use crate::manage::throttling::errors::{Failure, Own};
use crate::manage::throttling::wire::{self, Element};
use crate::manage::throttling::{COLLECTION, Throttling, ThrottlingApi, doc};
use crate::policy::{Book, Spec, Wanted};

/// A config as it was sent, stripped of unknown members (contract.md 1).
///
/// Described as it is sent; it is stored under the names of these fields.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = ThrottlingConfig, rename_all = "camelCase", description = doc::ABOUT_CONFIG)]
pub(in crate::manage) struct Config {
    pub(super) name: Option<String>,
    pub(super) description: Option<String>,
    #[schema(example = "https://api.example.org/data/*")]
    pub(super) url_pattern: Option<String>,
    /// In the order sent, without repeats.
    pub(super) methods: Option<Vec<String>>,
    /// 200 to 5000. Another number is kept as it was sent, and cannot be deployed.
    #[schema(value_type = Option<i64>)]
    pub(super) max_throughput: Option<Number>,
}

/// What comes behind the uid in the name of its policy: a config is one.
const WHOLE: &str = "";

/// A config with what the system adds.
pub(super) type Record = objects::Record<Config>;

impl Collection for ThrottlingApi {
    const NAME: &'static str = COLLECTION;
    const DIALECT: &'static dyn Dialect = &Throttling;
    /// Books up to format 4 had no kinds of configs; theirs are read as this one.
    const KIND: &'static str = "config";
    const CALLED: &'static str = "throttling config";
    type Own = Own;
    type Config = Config;
    type Meaning = Result<Spec, Vec<Fault>>;
    type Element<'a> = Element<'a>;

    fn authoring(&self) -> &Authoring {
        &self.authoring
    }

    fn most(&self) -> usize {
        self.options.max_configs_per_org
    }

    /// Only through a sandbox for production (contract.md 3).
    fn admit(&self, scope: Scope) -> Result<Scope, Refusal> {
        match scope.sandbox.kind {
            SandboxKind::Production => Ok(scope),
            SandboxKind::Development => Err(scope.refuse(Failure::Own(Own::NonProdSandbox))),
        }
    }

    fn read_config(&self, body: &[u8], _: &Scope) -> Result<Config, BodyError> {
        wire::read_config(body)
    }

    fn check(&self, config: &Config, org: &str) -> Self::Meaning {
        check(config, org, self.options.throughput())
    }

    fn can_deploy(meaning: &Self::Meaning) -> CanDeploy {
        check::can_deploy(meaning)
    }

    fn is_sound(meaning: &Self::Meaning) -> bool {
        meaning.is_ok()
    }

    fn show_created<'a>(uid: &'a str, record: &'a Record) -> Element<'a> {
        wire::show_created(uid, record)
    }

    fn show<'a>(uid: &'a str, record: &'a Record) -> Element<'a> {
        wire::show(uid, record)
    }

    /// Configs belong to the organisation, whatever the sandbox.
    fn is_visible(record: &Record, scope: &Scope) -> bool {
        record.org_id == scope.org
    }

    /// New values of a deployed config are active at once; with faults they are saved, and the last valid ones stay
    /// active.
    fn active_at_once(config: &Config, meaning: &Self::Meaning) -> Option<Config> {
        meaning.is_ok().then(|| config.clone())
    }

    /// One that counts as deployed has an active policy.
    fn may_update(book: &Book, uid: &str, record: &Record) -> Result<(), Failure> {
        let name = name_of(&record.names, uid, WHOLE);
        let policy = PolicyId::parse(&name).ok().and_then(|id| book.get(&id));
        // In the book and not in the runtime: the edit sees what it is about to change.
        let is_active = policy.is_some_and(|policy| policy.lifecycle().active().is_some());
        if record.life.is_deployed() && !is_active { Err(Failure::Own(Own::UpdateNotActive)) } else { Ok(()) }
    }

    fn deployable(&self, record: &Record) -> Result<Option<Config>, Failure> {
        if record.life.is_deployed() {
            return Err(Failure::Own(Own::AlreadyDeployed));
        }
        let meaning = self.check(&record.config, &record.org_id);
        meaning.map(|_| Some(record.config.clone())).map_err(|_| Failure::Deploy)
    }

    fn undeploy_idle() -> Result<(), Failure> {
        Err(Failure::Own(Own::NotDeployed))
    }

    /// Left as it is where the config cannot be read, and not refused as a whole: one such config must not keep others from
    /// changing.
    fn wanted(_: &str, found: &Found<Self>) -> Result<Parts, Unreadable> {
        Ok(vec![(WHOLE, found.as_ref().map_or(Wanted::AsItIs, derive::wanted))])
    }
}
