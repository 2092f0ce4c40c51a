//! Where configs are kept and what changes of them make active: elements of the policy book with their authoring state.
//!
//! Must not know: requests and answers.

use serde_json::Number;

use crate::manage::active::activate;
use crate::manage::adobe::Authoring;
use crate::manage::adobe::answers::CanDeploy;
use crate::manage::adobe::api::Collection;
use crate::manage::adobe::body::BodyError;
use crate::manage::adobe::scope::Scope;
use crate::manage::adobe::stamp::Stamp;
use crate::manage::capping::check::{self, CONNECTIONS_MAX, check};
use crate::manage::capping::errors::Failure;
use crate::manage::capping::objects::life::Life;
use crate::manage::capping::objects::{Config, KIND, Record, origin};
use crate::manage::capping::wire::{self, Element};
use crate::manage::capping::{COLLECTION, Capping, CappingApi};
use crate::manage::dialect::Unreadable;
use crate::policy::{Book, State};

impl Collection for CappingApi {
    const NAME: &'static str = COLLECTION;
    type Failure = Failure;
    type Config = Config;
    type Kept = Record;
    type Meaning = check::Checked;
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

    fn check(&self, config: &Config, _: &str) -> check::Checked {
        check(config, self.require_strategy)
    }

    fn can_deploy(checked: &check::Checked) -> CanDeploy {
        checked.can_deploy()
    }

    fn is_sound(checked: &check::Checked) -> bool {
        checked.meaning.is_ok()
    }

    fn made(config: Config, scope: &Scope, stamp: Stamp) -> Record {
        Record {
            config,
            org_id: scope.org.clone(),
            sandbox_id: scope.sandbox.id.clone(),
            sandbox_name: scope.sandbox.name.clone(),
            created: stamp.clone(),
            modified: stamp,
            last_deployed: None,
            life: Life::default(),
        }
    }

    fn show_created<'a>(uid: &'a str, record: &'a Record) -> Element<'a> {
        wire::show_created(uid, record)
    }

    fn show<'a>(uid: &'a str, record: &'a Record) -> Element<'a> {
        wire::show(uid, record)
    }

    fn content(record: &Record) -> (&Config, &str) {
        (&record.config, &record.org_id)
    }

    /// A config belongs to its organisation and sandbox.
    fn is_visible(record: &Record, scope: &Scope) -> bool {
        record.org_id == scope.org && record.sandbox_id == scope.sandbox.id
    }

    fn all(book: &Book) -> Vec<(&str, Result<Record, Unreadable>)> {
        book.elements(&origin(), KIND)
            .into_iter()
            .map(|(uid, value)| (uid, Record::kept(uid, value)))
            .collect()
    }

    fn find(book: &Book, uid: &str) -> Option<Result<Record, Unreadable>> {
        book.element(&origin(), KIND, uid).map(|value| Record::kept(uid, value))
    }

    fn count(book: &Book, org: &str) -> usize {
        book.elements(&origin(), KIND).into_iter().filter(|(_, value)| Record::is_of(value, org)).count()
    }

    fn add(&self, book: &mut Book, uid: &str, record: &Record) -> Result<(), Failure> {
        if book.element(&origin(), KIND, uid).is_some() {
            return Err(Failure::Create);
        }
        book.put_element(&origin(), KIND, uid, record.write());
        Ok(())
    }

    /// What is deployed goes on ruling until the next deploy.
    fn update(
        &self,
        book: &mut Book,
        uid: &str,
        record: Record,
        (config, stamp, _): (&Config, &Stamp, &check::Checked),
    ) -> Result<Record, Failure> {
        let mut record = Record { config: config.clone(), modified: stamp.clone(), ..record };
        record.life.update();
        book.put_element(&origin(), KIND, uid, record.write());
        Ok(record)
    }

    fn remove(&self, book: &mut Book, uid: &str, record: &Record, force: bool) -> Result<(), Failure> {
        let is_deployed = record.life.deployed().is_some();
        if is_deployed && !force {
            return Err(Failure::DeleteForbidden);
        }
        book.remove_element(&origin(), KIND, uid);
        if is_deployed { self.activate(book, Failure::Delete) } else { Ok(()) }
    }

    /// Of one that is deployed as it is written, nothing changes.
    fn deploy(
        &self,
        book: &mut Book,
        uid: &str,
        mut record: Record,
        stamp: &Stamp,
    ) -> Result<Option<Record>, Failure> {
        if record.life.state() == State::Deployed {
            return Ok(None);
        }
        check(&record.config, self.require_strategy).meaning.map_err(|_| Failure::Deploy)?;
        record.life.deploy(record.config.as_deployed());
        record.last_deployed = Some(stamp.clone());
        book.put_element(&origin(), KIND, uid, record.write());
        self.activate(book, Failure::Deploy)?;
        Ok(Some(record))
    }

    /// Of one that is not deployed, nothing changes.
    fn undeploy(&self, book: &mut Book, uid: &str, mut record: Record) -> Result<(), Failure> {
        if !record.life.undeploy() {
            return Ok(());
        }
        book.put_element(&origin(), KIND, uid, record.write());
        self.activate(book, Failure::Undeploy)
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

impl CappingApi {
    /// Makes the policies of the dialect those of its deployed configs. One config that cannot be read keeps all as
    /// they are: what is limited must not become unlimited unseen.
    fn activate(&self, book: &mut Book, unexpected: Failure) -> Result<(), Failure> {
        let (now, window) = (self.authoring.clock.now(), self.authoring.options.drain_window);
        activate(&Capping, book, now, window).map(drop).map_err(|error| {
            tracing::error!(%error, "the deployed configs cannot be applied");
            unexpected
        })
    }
}
