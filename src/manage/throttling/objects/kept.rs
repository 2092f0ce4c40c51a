//! Where configs are kept and what changes of them make active: each is a policy of the book, with its record.
//!
//! Must not know: requests and answers.

use crate::event::PolicyId;
use crate::manage::adobe::answers::CanDeploy;
use crate::manage::adobe::api::Collection;
use crate::manage::adobe::body::BodyError;
use crate::manage::adobe::envelope::Refusal;
use crate::manage::adobe::scope::Scope;
use crate::manage::adobe::stamp::Stamp;
use crate::manage::adobe::{Authoring, SandboxKind};
use crate::manage::dialect::Unreadable;
use crate::manage::throttling::check::{self, Fault, check};
use crate::manage::throttling::errors::Failure;
use crate::manage::throttling::objects::{Config, Kept, Record, origin};
use crate::manage::throttling::wire::{self, Element};
use crate::manage::throttling::{COLLECTION, ThrottlingApi};
use crate::policy::{Book, BookError, Lifecycle, Policy, Spec, TransitionError};

impl Collection for ThrottlingApi {
    const NAME: &'static str = COLLECTION;
    type Failure = Failure;
    type Config = Config;
    type Kept = Kept;
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
            SandboxKind::Development => Err(scope.refuse(Failure::NonProdSandbox)),
        }
    }

    fn read_config(&self, body: &[u8], _: &Scope) -> Result<Config, BodyError> {
        wire::read_config(body)
    }

    fn check(&self, config: &Config, org: &str) -> Self::Meaning {
        check(config, org, &self.options)
    }

    fn can_deploy(meaning: &Self::Meaning) -> CanDeploy {
        check::can_deploy(meaning)
    }

    fn is_sound(meaning: &Self::Meaning) -> bool {
        meaning.is_ok()
    }

    fn made(config: Config, scope: &Scope, stamp: Stamp) -> Kept {
        let record = Record {
            config,
            org_id: scope.org.clone(),
            sandbox_id: scope.sandbox.id.clone(),
            sandbox_name: scope.sandbox.name.clone(),
            created: stamp.clone(),
            modified: stamp,
            deployed: None,
        };
        Kept { record, life: Lifecycle::created() }
    }

    fn show_created<'a>(uid: &'a str, kept: &'a Kept) -> Element<'a> {
        wire::show_created(uid, &kept.record)
    }

    fn show<'a>(uid: &'a str, kept: &'a Kept) -> Element<'a> {
        wire::show(uid, &kept.record, &kept.life)
    }

    fn content(kept: &Kept) -> (&Config, &str) {
        (&kept.record.config, &kept.record.org_id)
    }

    /// Configs belong to the organisation, whatever the sandbox.
    fn is_visible(kept: &Kept, scope: &Scope) -> bool {
        kept.record.org_id == scope.org
    }

    fn all(book: &Book) -> Vec<(&str, Result<Kept, Unreadable>)> {
        book.of_origin(&origin()).into_iter().map(|(id, policy)| (id.as_str(), kept(id, policy))).collect()
    }

    fn find(book: &Book, uid: &str) -> Option<Result<Kept, Unreadable>> {
        let id = PolicyId::parse(uid).ok()?;
        let policy = book.get(&id).filter(|policy| *policy.origin() == origin())?;
        Some(kept(&id, policy))
    }

    fn count(book: &Book, org: &str) -> usize {
        let configs = book.of_origin(&origin()).into_iter();
        configs.filter(|(_, policy)| Record::is_of(policy.record(), org)).count()
    }

    fn add(&self, book: &mut Book, uid: &str, kept: &Kept) -> Result<(), Failure> {
        let id = id(uid, Failure::Create)?;
        book.create(id, origin(), kept.record.write()).map_err(|error| failure(error, Failure::Create))
    }

    /// New values of a deployed config are active at once; with faults they are saved, and the last valid ones stay
    /// active.
    fn update(
        &self,
        book: &mut Book,
        uid: &str,
        kept: Kept,
        (config, stamp, meaning): (&Config, &Stamp, &Self::Meaning),
    ) -> Result<Kept, Failure> {
        let id = id(uid, Failure::Update)?;
        let record = Record { config: config.clone(), modified: stamp.clone(), ..kept.record };
        book.update(&id, record.write(), meaning.as_ref().ok().cloned())
            .map_err(|error| failure(error, Failure::Update))?;
        let life = book.get(&id).ok_or(Failure::Update)?.lifecycle().clone();
        Ok(Kept { record, life })
    }

    fn remove(&self, book: &mut Book, uid: &str, _: &Kept, force: bool) -> Result<(), Failure> {
        let (now, window) = (self.authoring.clock.now(), self.authoring.options.drain_window);
        book.delete(&id(uid, Failure::Delete)?, now, window, force)
            .map_err(|error| failure(error, Failure::Delete))
    }

    fn deploy(&self, book: &mut Book, uid: &str, kept: Kept, stamp: &Stamp) -> Result<Option<Kept>, Failure> {
        let Kept { record, life } = kept;
        if life.is_deployed() {
            return Err(Failure::AlreadyDeployed);
        }
        let spec = check(&record.config, &record.org_id, &self.options).map_err(|_| Failure::Deploy)?;
        let record = Record { deployed: Some(stamp.clone()), ..record };
        book.deploy(&id(uid, Failure::Deploy)?, record.write(), spec)
            .map_err(|error| failure(error, Failure::Deploy))?;
        Ok(Some(Kept { record, life }))
    }

    fn undeploy(&self, book: &mut Book, uid: &str, _: Kept) -> Result<(), Failure> {
        let (now, window) = (self.authoring.clock.now(), self.authoring.options.drain_window);
        book.undeploy(&id(uid, Failure::Undeploy)?, now, window)
            .map_err(|error| failure(error, Failure::Undeploy))
    }
}

fn kept(id: &PolicyId, policy: &Policy) -> Result<Kept, Unreadable> {
    let record = Record::read(policy.record());
    let record = record.ok_or_else(|| Unreadable { object: format!("the stored throttling config {id}") })?;
    Ok(Kept { record, life: policy.lifecycle().clone() })
}

/// The policy of a config: it has the same name.
fn id(uid: &str, unexpected: Failure) -> Result<PolicyId, Failure> {
    PolicyId::parse(uid).map_err(|_| unexpected)
}

const fn failure(error: BookError, unexpected: Failure) -> Failure {
    match error {
        BookError::NotFound => Failure::NotFound,
        BookError::Exists => unexpected,
        BookError::State(TransitionError::AlreadyDeployed) => Failure::AlreadyDeployed,
        BookError::State(TransitionError::NotDeployed) => Failure::NotDeployed,
        BookError::State(TransitionError::StillDeployed) => Failure::DeleteForbidden,
        BookError::State(TransitionError::NotActive) => Failure::UpdateNotActive,
    }
}
