//! What each route does. Order of checks: headers, sandbox exists, JSON, types, then the state of the config.

use axum::body::Body;
use axum::extract::Path;
use axum::response::IntoResponse;
use http::{HeaderMap, StatusCode};
use serde_json::Number;

use crate::manage::active::activate;
use crate::manage::adobe::answers::{Checked, Created, List, One, Updated, json, uri};
use crate::manage::adobe::body;
use crate::manage::adobe::envelope::{Answer, Refusal};
use crate::manage::adobe::routing::{Uid, is_forced};
use crate::manage::adobe::scope::Scope;
use crate::manage::capping::check::{CONNECTIONS_MAX, check};
use crate::manage::capping::errors::Failure;
use crate::manage::capping::objects::life::Life;
use crate::manage::capping::objects::{Config, KIND, Record, origin};
use crate::manage::capping::wire::{read_config, show, show_created};
use crate::manage::capping::{COLLECTION, Capping, CappingApi};
use crate::policy::{Book, State};

impl CappingApi {
    pub(in crate::manage::capping) async fn list(&self, headers: &HeaderMap, body: Body) -> Answer {
        let scope = self.authoring.scope(headers, false)?;
        let refuse = |error| scope.refuse(Failure::from(error));
        let body = body::read(body).await.map_err(refuse)?;
        if !body.is_empty() {
            self.authoring.content_type(headers)?;
        }
        let (skip, take) = body::page(&body).map_err(refuse)?;
        let book = self.authoring.policies.book();
        let mut configs = Vec::new();
        for (uid, value) in book.elements(&origin(), KIND) {
            let record = Record::read(value).ok_or_else(|| scope.refuse(Failure::Get))?;
            if belongs(&record, &scope) {
                configs.push((uid, record));
            }
        }
        let page = configs.iter().skip(skip).take(take);
        Ok(json(StatusCode::OK, &List { results: page.map(|(uid, record)| show(uid, record)).collect() }))
    }

    pub(in crate::manage::capping) async fn create(&self, headers: &HeaderMap, body: Body) -> Answer {
        let scope = self.authoring.scope(headers, true)?;
        let config = self.read_config(&scope, body).await?;
        let checked = check(&config, self.require_strategy);
        let refused = self.authoring.options.reject_invalid && checked.meaning.is_err();
        let stamp = self.authoring.stamp();
        let record = Record {
            config,
            org_id: scope.org.clone(),
            sandbox_id: scope.sandbox.id.clone(),
            sandbox_name: scope.sandbox.name.clone(),
            created: stamp.clone(),
            modified: stamp,
            last_deployed: None,
            life: Life::default(),
        };
        let uid = self.authoring.new_uid();
        let edit = |book: &mut Book| {
            if configs_of(book, &scope.org) >= self.max_configs_per_org {
                return Err(Failure::CreateLimit);
            }
            if refused {
                return Err(Failure::InvalidPayload);
            }
            if book.element(&origin(), KIND, &uid).is_some() {
                return Err(Failure::Create);
            }
            book.put_element(&origin(), KIND, &uid, record.write());
            Ok(())
        };
        self.authoring.change(&scope, Failure::Create, edit).await?;
        let answer = Created {
            can_deploy: checked.can_deploy(),
            created_element: show_created(&uid, &record),
            uid: &uid,
            uri: uri(COLLECTION, &uid),
            res_status: "created",
        };
        Ok(json(StatusCode::OK, &answer))
    }

    pub(in crate::manage::capping) fn read(&self, uid: &Uid, headers: &HeaderMap) -> Answer {
        let scope = self.authoring.scope(headers, false)?;
        let book = self.authoring.policies.book();
        let (uid, record) = find(&book, uid, &scope, Failure::Get).map_err(|f| scope.refuse(f))?;
        Ok(json(StatusCode::OK, &One { result: show(uid, &record) }))
    }

    /// What is deployed goes on ruling until the next deploy.
    pub(in crate::manage::capping) async fn update(
        &self,
        uid: &Uid,
        headers: &HeaderMap,
        body: Body,
    ) -> Answer {
        let scope = self.authoring.scope(headers, true)?;
        let config = self.read_config(&scope, body).await?;
        let checked = check(&config, self.require_strategy);
        let refused = self.authoring.options.reject_invalid && checked.meaning.is_err();
        let stamp = self.authoring.stamp();
        let edit = |book: &mut Book| {
            let (uid, record) = find(book, uid, &scope, Failure::Update)?;
            if refused {
                return Err(Failure::InvalidPayload);
            }
            let mut record = Record { config: config.clone(), modified: stamp.clone(), ..record };
            record.life.update();
            book.put_element(&origin(), KIND, uid, record.write());
            Ok((uid, record))
        };
        let (uid, record) = self.authoring.change(&scope, Failure::Update, edit).await?;
        let answer = Updated {
            updated_element: show(uid, &record),
            uid,
            uri: uri(COLLECTION, uid),
            res_status: "updated",
            can_deploy: checked.can_deploy(),
        };
        Ok(json(StatusCode::OK, &answer))
    }

    pub(in crate::manage::capping) async fn delete(
        &self,
        uid: &Uid,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Answer {
        let scope = self.authoring.scope(headers, false)?;
        let force = is_forced(query);
        let edit = |book: &mut Book| {
            let (uid, record) = find(book, uid, &scope, Failure::Delete)?;
            let deployed = record.life.deployed().is_some();
            if deployed && !force {
                return Err(Failure::DeleteForbidden);
            }
            book.remove_element(&origin(), KIND, uid);
            if deployed { self.activate(book, Failure::Delete) } else { Ok(()) }
        };
        self.authoring.change(&scope, Failure::Delete, edit).await?;
        Ok(json(StatusCode::OK, &serde_json::Map::new()))
    }

    pub(in crate::manage::capping) fn may_deploy(&self, uid: &Uid, headers: &HeaderMap) -> Answer {
        let scope = self.authoring.scope(headers, false)?;
        let book = self.authoring.policies.book();
        let (_, record) = find(&book, uid, &scope, Failure::Get).map_err(|f| scope.refuse(f))?;
        let can_deploy = check(&record.config, self.require_strategy).can_deploy();
        Ok(json(StatusCode::OK, &Checked { can_deploy }))
    }

    /// Of one that is deployed as it is written, nothing changes.
    pub(in crate::manage::capping) async fn deploy(&self, uid: &Uid, headers: &HeaderMap) -> Answer {
        let scope = self.authoring.scope(headers, false)?;
        let stamp = self.authoring.stamp();
        let edit = |book: &mut Book| {
            let (uid, mut record) = find(book, uid, &scope, Failure::Deploy)?;
            if record.life.state() == State::Deployed {
                return Ok(None);
            }
            check(&record.config, self.require_strategy).meaning.map_err(|_| Failure::Deploy)?;
            record.life.deploy(record.config.as_deployed());
            record.last_deployed = Some(stamp.clone());
            book.put_element(&origin(), KIND, uid, record.write());
            self.activate(book, Failure::Deploy)?;
            Ok(Some((uid, record.config)))
        };
        if let Some((uid, config)) = self.authoring.change(&scope, Failure::Deploy, edit).await? {
            warn_of_connections(uid, &config);
        }
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    /// Of one that is not deployed, nothing changes.
    pub(in crate::manage::capping) async fn undeploy(&self, uid: &Uid, headers: &HeaderMap) -> Answer {
        let scope = self.authoring.scope(headers, false)?;
        let edit = |book: &mut Book| {
            let (uid, mut record) = find(book, uid, &scope, Failure::Undeploy)?;
            if !record.life.undeploy() {
                return Ok(());
            }
            book.put_element(&origin(), KIND, uid, record.write());
            self.activate(book, Failure::Undeploy)
        };
        self.authoring.change(&scope, Failure::Undeploy, edit).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    async fn read_config(&self, scope: &Scope, body: Body) -> Result<Config, Refusal> {
        let refuse = |error| scope.refuse(Failure::from(error));
        let body = body::read(body).await.map_err(refuse)?;
        read_config(&body, &scope.org).map_err(refuse)
    }

    /// Makes the policies of the dialect those of its deployed configs. One config that cannot be read keeps all as
    /// they are: what rules must not fall away unseen.
    fn activate(&self, book: &mut Book, unexpected: Failure) -> Result<(), Failure> {
        let (now, window) = (self.authoring.clock.now(), self.authoring.options.drain_window);
        activate(&Capping, book, now, window).map(drop).map_err(|error| {
            tracing::error!(%error, "the deployed configs cannot be applied");
            unexpected
        })
    }
}

/// A config of the organisation and sandbox; that of another is not found.
fn find<'u>(
    book: &Book,
    uid: &'u Uid,
    scope: &Scope,
    unreadable: Failure,
) -> Result<(&'u str, Record), Failure> {
    let Ok(Path(uid)) = uid else { return Err(Failure::NotFound) };
    let value = book.element(&origin(), KIND, uid).ok_or(Failure::NotFound)?;
    let record = Record::read(value).ok_or(unreadable)?;
    if belongs(&record, scope) { Ok((uid, record)) } else { Err(Failure::NotFound) }
}

/// Over all sandboxes.
fn configs_of(book: &Book, org: &str) -> usize {
    book.elements(&origin(), KIND).into_iter().filter(|(_, value)| Record::is_of(value, org)).count()
}

fn belongs(record: &Record, scope: &Scope) -> bool {
    record.org_id == scope.org && record.sandbox_id == scope.sandbox.id
}

/// One line for each service that asks for more connections than are enforced (contract.md 1).
fn warn_of_connections(uid: &str, config: &Config) {
    let most = u64::from(CONNECTIONS_MAX.get());
    for (service, it) in config.services.iter().flatten() {
        let given = it.max_http_connections.as_ref().and_then(Number::as_u64).unwrap_or_default();
        if given > most {
            tracing::warn!(uid, service, given, most, "fewer connections are allowed than the config says");
        }
    }
}
