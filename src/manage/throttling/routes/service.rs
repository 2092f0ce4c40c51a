//! What each route does. Order of checks: headers, sandbox exists, production, JSON, then the state of the config
//! (contract.md 3).

use axum::body::Body;
use axum::extract::Path;
use axum::response::IntoResponse;
use http::{HeaderMap, StatusCode};

use crate::event::PolicyId;
use crate::manage::adobe::SandboxKind;
use crate::manage::adobe::answers::{Checked, Created, List, One, Updated, json, uri};
use crate::manage::adobe::body;
use crate::manage::adobe::envelope::{Answer, Refusal};
use crate::manage::adobe::routing::{Uid, is_forced};
use crate::manage::adobe::scope::Scope;
use crate::manage::throttling::check::{can_deploy, check};
use crate::manage::throttling::errors::Failure;
use crate::manage::throttling::objects::{Config, Record, origin};
use crate::manage::throttling::wire::{read_config, show, show_created};
use crate::manage::throttling::{COLLECTION, ThrottlingApi};
use crate::policy::{Book, BookError, Lifecycle, TransitionError};

impl ThrottlingApi {
    pub(in crate::manage::throttling) async fn list(&self, headers: &HeaderMap, body: Body) -> Answer {
        let scope = self.scope(headers, false)?;
        let refuse = |error| scope.refuse(Failure::from(error));
        let body = body::read(body).await.map_err(refuse)?;
        if !body.is_empty() {
            self.authoring.content_type(headers)?;
        }
        let (skip, take) = body::page(&body).map_err(refuse)?;
        let book = self.authoring.policies.book();
        let mut configs = Vec::new();
        for (uid, policy) in book.of_origin(&origin()) {
            let record = Record::read(policy.record()).ok_or_else(|| scope.refuse(Failure::Get))?;
            if record.org_id == scope.org {
                configs.push((uid.as_str(), record, policy.lifecycle()));
            }
        }
        let page = configs.iter().skip(skip).take(take);
        let results = page.map(|(uid, record, life)| show(uid, record, life)).collect();
        Ok(json(StatusCode::OK, &List { results }))
    }

    pub(in crate::manage::throttling) async fn create(&self, headers: &HeaderMap, body: Body) -> Answer {
        let scope = self.scope(headers, true)?;
        let config = self.read_config(&scope, body).await?;
        let checked = check(&config, &scope.org, &self.options);
        let stamp = self.authoring.stamp();
        let record = Record {
            config,
            org_id: scope.org.clone(),
            sandbox_id: scope.sandbox.id.clone(),
            sandbox_name: scope.sandbox.name.clone(),
            created: stamp.clone(),
            modified: stamp,
            deployed: None,
        };
        let uid = self.authoring.new_uid();
        let id = PolicyId::parse(&uid).map_err(|_| scope.refuse(Failure::Create))?;
        let refused = self.authoring.options.reject_invalid && checked.is_err();
        let value = record.write();
        let edit = |book: &mut Book| {
            if configs_of(book, &scope.org) >= self.options.max_configs_per_org {
                return Err(Failure::CreateLimit);
            }
            if refused {
                return Err(Failure::Create);
            }
            book.create(id.clone(), origin(), value.clone())
                .map_err(|error| book_failure(error, Failure::Create))
        };
        self.authoring.change(&scope, Failure::Create, edit).await?;
        let answer = Created {
            can_deploy: can_deploy(&checked),
            created_element: show_created(&uid, &record),
            uid: &uid,
            uri: uri(COLLECTION, &uid),
            res_status: "created",
        };
        Ok(json(StatusCode::OK, &answer))
    }

    pub(in crate::manage::throttling) fn read(&self, uid: &Uid, headers: &HeaderMap) -> Answer {
        let scope = self.scope(headers, false)?;
        let book = self.authoring.policies.book();
        let (id, record, life) = find(&book, uid, &scope.org, Failure::Get).map_err(|f| scope.refuse(f))?;
        Ok(json(StatusCode::OK, &One { result: show(id.as_str(), &record, life) }))
    }

    pub(in crate::manage::throttling) async fn update(
        &self,
        uid: &Uid,
        headers: &HeaderMap,
        body: Body,
    ) -> Answer {
        let scope = self.scope(headers, true)?;
        let config = self.read_config(&scope, body).await?;
        let checked = check(&config, &scope.org, &self.options);
        let stamp = self.authoring.stamp();
        let refused = self.authoring.options.reject_invalid && checked.is_err();
        let edit = |book: &mut Book| {
            let (id, record, _) = find(book, uid, &scope.org, Failure::Update)?;
            if refused {
                return Err(Failure::Update);
            }
            let record = Record { config: config.clone(), modified: stamp.clone(), ..record };
            book.update(&id, record.write(), checked.as_ref().ok().cloned())
                .map_err(|error| book_failure(error, Failure::Update))?;
            let life = book.get(&id).ok_or(Failure::Update)?.lifecycle().clone();
            Ok((id, record, life))
        };
        let (id, record, life) = self.authoring.change(&scope, Failure::Update, edit).await?;
        let answer = Updated {
            updated_element: show(id.as_str(), &record, &life),
            uid: id.as_str(),
            uri: uri(COLLECTION, id.as_str()),
            res_status: "updated",
            can_deploy: can_deploy(&checked),
        };
        Ok(json(StatusCode::OK, &answer))
    }

    pub(in crate::manage::throttling) async fn delete(
        &self,
        uid: &Uid,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Answer {
        let scope = self.scope(headers, false)?;
        let force = is_forced(query);
        let (now, window) = (self.authoring.clock.now(), self.authoring.options.drain_window);
        let edit = |book: &mut Book| {
            let (id, ..) = find(book, uid, &scope.org, Failure::Delete)?;
            book.delete(&id, now, window, force).map_err(|error| book_failure(error, Failure::Delete))
        };
        self.authoring.change(&scope, Failure::Delete, edit).await?;
        Ok(json(StatusCode::OK, &serde_json::Map::new()))
    }

    pub(in crate::manage::throttling) fn may_deploy(&self, uid: &Uid, headers: &HeaderMap) -> Answer {
        let scope = self.scope(headers, false)?;
        let book = self.authoring.policies.book();
        let (_, record, _) = find(&book, uid, &scope.org, Failure::Get).map_err(|f| scope.refuse(f))?;
        let checked = check(&record.config, &record.org_id, &self.options);
        Ok(json(StatusCode::OK, &Checked { can_deploy: can_deploy(&checked) }))
    }

    pub(in crate::manage::throttling) async fn deploy(&self, uid: &Uid, headers: &HeaderMap) -> Answer {
        let scope = self.scope(headers, false)?;
        let stamp = self.authoring.stamp();
        let edit = |book: &mut Book| {
            let (id, record, life) = find(book, uid, &scope.org, Failure::Deploy)?;
            if life.is_deployed() {
                return Err(Failure::AlreadyDeployed);
            }
            let spec = check(&record.config, &record.org_id, &self.options).map_err(|_| Failure::Deploy)?;
            let record = Record { deployed: Some(stamp.clone()), ..record };
            book.deploy(&id, record.write(), spec).map_err(|error| book_failure(error, Failure::Deploy))
        };
        self.authoring.change(&scope, Failure::Deploy, edit).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    pub(in crate::manage::throttling) async fn undeploy(&self, uid: &Uid, headers: &HeaderMap) -> Answer {
        let scope = self.scope(headers, false)?;
        let (now, window) = (self.authoring.clock.now(), self.authoring.options.drain_window);
        let edit = |book: &mut Book| {
            let (id, ..) = find(book, uid, &scope.org, Failure::Undeploy)?;
            book.undeploy(&id, now, window).map_err(|error| book_failure(error, Failure::Undeploy))
        };
        self.authoring.change(&scope, Failure::Undeploy, edit).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    /// Headers, the sandbox, and that it is for production.
    fn scope(&self, headers: &HeaderMap, with_body: bool) -> Result<Scope, Refusal> {
        let scope = self.authoring.scope(headers, with_body)?;
        match scope.sandbox.kind {
            SandboxKind::Production => Ok(scope),
            SandboxKind::Development => Err(scope.refuse(Failure::NonProdSandbox)),
        }
    }

    async fn read_config(&self, scope: &Scope, body: Body) -> Result<Config, Refusal> {
        let refuse = |error| scope.refuse(Failure::from(error));
        let body = body::read(body).await.map_err(refuse)?;
        read_config(&body).map_err(refuse)
    }
}

/// A config of the organisation; that of another is not found.
fn find<'a>(
    book: &'a Book,
    uid: &Uid,
    org: &str,
    unreadable: Failure,
) -> Result<(PolicyId, Record, &'a Lifecycle), Failure> {
    let Ok(Path(uid)) = uid else { return Err(Failure::NotFound) };
    let id = PolicyId::parse(uid).map_err(|_| Failure::NotFound)?;
    let policy = book.get(&id).filter(|policy| *policy.origin() == origin()).ok_or(Failure::NotFound)?;
    let record = Record::read(policy.record()).ok_or(unreadable)?;
    if record.org_id != org {
        return Err(Failure::NotFound);
    }
    Ok((id, record, policy.lifecycle()))
}

fn configs_of(book: &Book, org: &str) -> usize {
    let configs = book.of_origin(&origin()).into_iter();
    configs.filter(|(_, policy)| Record::is_of(policy.record(), org)).count()
}

const fn book_failure(error: BookError, unexpected: Failure) -> Failure {
    match error {
        BookError::NotFound => Failure::NotFound,
        BookError::Exists => unexpected,
        BookError::State(TransitionError::AlreadyDeployed) => Failure::AlreadyDeployed,
        BookError::State(TransitionError::NotDeployed) => Failure::NotDeployed,
        BookError::State(TransitionError::StillDeployed) => Failure::DeleteForbidden,
        BookError::State(TransitionError::NotActive) => Failure::UpdateNotActive,
    }
}
