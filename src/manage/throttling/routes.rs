//! The routes, under both base paths (contracts.md 1.1, 1.2). Order of checks: headers, sandbox exists,
//! production, JSON, then the state of the config (contracts.md 2.3).

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State as Shared};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderMap, StatusCode, header};

use crate::event::PolicyId;
use crate::manage::throttling::SandboxKind;
use crate::manage::throttling::ThrottlingApi;
use crate::manage::throttling::doc;
use crate::manage::throttling::errors::{Failure, GatewayError, Refusal, json};
use crate::manage::throttling::map::{can_deploy, check, show, show_created, stamp};
use crate::manage::throttling::record::{Config, Record};
use crate::manage::throttling::request::{Uid, attribute, is_forced, is_json, read_body, require};
use crate::manage::throttling::wire::{Checked, Created, List, One, Updated, read_config, read_page};
use crate::policy::{Book, BookError, ChangeError, Lifecycle, Origin, TransitionError};

/// Where the routes are found.
pub(super) const BASES: [&str; 2] = ["/authoring", "/journey/orchestration"];

/// All routes of the dialect under `/authoring` and `/journey/orchestration`.
pub fn router(api: ThrottlingApi) -> Router {
    let routes = Router::new()
        .route("/list/throttlingConfigs", post(list))
        .route("/throttlingConfigs", post(create))
        .route(
            "/throttlingConfigs/{uid}",
            get(read).head(async || no_head("GET,PUT,DELETE")).put(update).delete(delete),
        )
        .route(
            "/throttlingConfigs/{uid}/canDeploy",
            get(may_deploy).head(async || no_head("GET,POST")).post(may_deploy),
        )
        .route("/throttlingConfigs/{uid}/deploy", post(deploy))
        .route("/throttlingConfigs/{uid}/undeploy", post(undeploy))
        .with_state(api);
    BASES.iter().fold(Router::new(), |router, base| router.nest(base, routes.clone()))
}

type Answer = Result<Response, Refusal>;

/// List the configs of the organisation
#[utoipa::path(
    post, path = "/list/throttlingConfigs", tag = "throttling", operation_id = "listThrottlingConfigs",
    params(doc::Headers),
    request_body(content = Option<doc::Page>, example = json!({})),
    responses(
        (status = 200, description = "The configs, oldest first.", body = List<'_>, example = json!(doc::list())),
        doc::ListRefused,
    ),
)]
pub(super) async fn list(Shared(api): Shared<ThrottlingApi>, headers: HeaderMap, body: Body) -> Response {
    api.answer(api.list(&headers, body).await)
}

/// Create a config
///
/// It rules nothing until it is deployed. One with faults is saved; `canDeploy` tells them.
#[utoipa::path(
    post, path = "/throttlingConfigs", tag = "throttling", operation_id = "createThrottlingConfig",
    params(doc::Headers),
    request_body(content = Config, example = json!(doc::config())),
    responses(
        (status = 200, description = "It is saved.", body = Created<'_>, example = json!(doc::created())),
        doc::CreateRefused,
    ),
)]
pub(super) async fn create(Shared(api): Shared<ThrottlingApi>, headers: HeaderMap, body: Body) -> Response {
    api.answer(api.create(&headers, body).await)
}

/// Show a config
#[utoipa::path(
    get, path = "/throttlingConfigs/{uid}", tag = "throttling", operation_id = "getThrottlingConfig",
    params(("uid" = String, Path, description = "The uid of the config."), doc::Headers),
    responses(
        (status = 200, description = "The config.", body = One<'_>, example = json!(doc::one())),
        doc::ReadRefused,
    ),
)]
pub(super) async fn read(Shared(api): Shared<ThrottlingApi>, uid: Uid, headers: HeaderMap) -> Response {
    api.answer(api.read(&uid, &headers))
}

/// Replace a config
///
/// A deployed one rules by its new values from the answer on, unless they have faults.
#[utoipa::path(
    put, path = "/throttlingConfigs/{uid}", tag = "throttling", operation_id = "updateThrottlingConfig",
    params(("uid" = String, Path, description = "The uid of the config."), doc::Headers),
    request_body(content = Config, example = json!(doc::config())),
    responses(
        (status = 200, description = "It is saved.", body = Updated<'_>, example = json!(doc::updated())),
        doc::UpdateRefused,
    ),
)]
pub(super) async fn update(
    Shared(api): Shared<ThrottlingApi>,
    uid: Uid,
    headers: HeaderMap,
    body: Body,
) -> Response {
    api.answer(api.update(&uid, &headers, body).await)
}

/// Delete a config
#[utoipa::path(
    delete, path = "/throttlingConfigs/{uid}", tag = "throttling", operation_id = "deleteThrottlingConfig",
    params(
        ("uid" = String, Path, description = "The uid of the config."),
        ("forceDelete" = Option<bool>, Query, description = "Undeploys it first; a deployed one is not deleted otherwise."),
        doc::Headers,
    ),
    responses(
        (status = 200, description = "It is gone; an empty object.", body = doc::Empty, example = json!({})),
        doc::DeleteRefused,
    ),
)]
pub(super) async fn delete(
    Shared(api): Shared<ThrottlingApi>,
    uid: Uid,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    api.answer(api.delete(&uid, query.as_deref(), &headers).await)
}

/// Whether a config can be deployed
#[utoipa::path(
    post, path = "/throttlingConfigs/{uid}/canDeploy", tag = "throttling", operation_id = "canDeployThrottlingConfig",
    params(("uid" = String, Path, description = "The uid of the config."), doc::Headers),
    responses(
        (status = 200, description = "Its faults, if it has any.", body = Checked, example = json!(doc::checked())),
        doc::CheckRefused,
    ),
)]
pub(super) async fn may_deploy(Shared(api): Shared<ThrottlingApi>, uid: Uid, headers: HeaderMap) -> Response {
    api.answer(api.may_deploy(&uid, &headers))
}

/// Deploy a config
#[utoipa::path(
    post, path = "/throttlingConfigs/{uid}/deploy", tag = "throttling", operation_id = "deployThrottlingConfig",
    params(("uid" = String, Path, description = "The uid of the config."), doc::Headers),
    responses((status = 204, description = "It rules."), doc::DeployRefused),
)]
pub(super) async fn deploy(Shared(api): Shared<ThrottlingApi>, uid: Uid, headers: HeaderMap) -> Response {
    api.answer(api.deploy(&uid, &headers).await)
}

/// Undeploy a config
///
/// What waits under it goes on for at most 24 hours.
#[utoipa::path(
    post, path = "/throttlingConfigs/{uid}/undeploy", tag = "throttling", operation_id = "undeployThrottlingConfig",
    params(("uid" = String, Path, description = "The uid of the config."), doc::Headers),
    responses((status = 204, description = "It rules no new calls."), doc::UndeployRefused),
)]
pub(super) async fn undeploy(Shared(api): Shared<ThrottlingApi>, uid: Uid, headers: HeaderMap) -> Response {
    api.answer(api.undeploy(&uid, &headers).await)
}

/// The contract has no HEAD, which would otherwise be answered like GET.
fn no_head(allowed: &'static str) -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, allowed)]).into_response()
}

/// On whose behalf a request is made.
struct Scope {
    org: String,
    sandbox_name: String,
    sandbox_id: String,
}

impl Scope {
    fn refuse(&self, failure: Failure) -> Refusal {
        Refusal::Service { failure, sandbox: self.sandbox_name.clone() }
    }
}

impl ThrottlingApi {
    fn answer(&self, answer: Answer) -> Response {
        answer.unwrap_or_else(|refusal| self.refuse(&refusal))
    }

    async fn list(&self, headers: &HeaderMap, body: Body) -> Answer {
        let scope = self.scope(headers, false)?;
        let body = read_body(body).await.map_err(|failure| scope.refuse(failure))?;
        let (skip, take) = read_page(&body).map_err(|_| scope.refuse(Failure::InvalidPayload))?;
        let book = self.policies.book();
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

    async fn create(&self, headers: &HeaderMap, body: Body) -> Answer {
        let scope = self.scope(headers, true)?;
        let config = self.read_config(&scope, body).await?;
        let checked = check(&config, &scope.org, &self.options);
        let stamp = stamp(&self.options, self.clock.wall());
        let record = Record {
            config,
            org_id: scope.org.clone(),
            sandbox_id: scope.sandbox_id.clone(),
            sandbox_name: scope.sandbox_name.clone(),
            created: stamp.clone(),
            modified: stamp,
            deployed: None,
        };
        let uid = self.new_uid();
        let id = PolicyId::parse(&uid).map_err(|_| scope.refuse(Failure::Create))?;
        let refused = self.options.reject_invalid && checked.is_err();
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
        self.change(&scope, Failure::Create, edit).await?;
        let answer = Created {
            can_deploy: can_deploy(&checked),
            created_element: show_created(&uid, &record),
            uid: &uid,
            uri: uri(&uid),
            res_status: "created",
        };
        Ok(json(StatusCode::OK, &answer))
    }

    fn read(&self, uid: &Uid, headers: &HeaderMap) -> Answer {
        let scope = self.scope(headers, false)?;
        let book = self.policies.book();
        let (id, record, life) = find(&book, uid, &scope.org, Failure::Get).map_err(|f| scope.refuse(f))?;
        Ok(json(StatusCode::OK, &One { result: show(id.as_str(), &record, life) }))
    }

    async fn update(&self, uid: &Uid, headers: &HeaderMap, body: Body) -> Answer {
        let scope = self.scope(headers, true)?;
        let config = self.read_config(&scope, body).await?;
        let checked = check(&config, &scope.org, &self.options);
        let stamp = stamp(&self.options, self.clock.wall());
        let refused = self.options.reject_invalid && checked.is_err();
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
        let (id, record, life) = self.change(&scope, Failure::Update, edit).await?;
        let answer = Updated {
            updated_element: show(id.as_str(), &record, &life),
            uid: id.as_str(),
            uri: uri(id.as_str()),
            res_status: "updated",
            can_deploy: can_deploy(&checked),
        };
        Ok(json(StatusCode::OK, &answer))
    }

    async fn delete(&self, uid: &Uid, query: Option<&str>, headers: &HeaderMap) -> Answer {
        let scope = self.scope(headers, false)?;
        let force = is_forced(query);
        let (now, window) = (self.clock.now(), self.options.drain_window);
        let edit = |book: &mut Book| {
            let (id, ..) = find(book, uid, &scope.org, Failure::Delete)?;
            book.delete(&id, now, window, force).map_err(|error| book_failure(error, Failure::Delete))
        };
        self.change(&scope, Failure::Delete, edit).await?;
        Ok(json(StatusCode::OK, &serde_json::Map::new()))
    }

    fn may_deploy(&self, uid: &Uid, headers: &HeaderMap) -> Answer {
        let scope = self.scope(headers, false)?;
        let book = self.policies.book();
        let (_, record, _) = find(&book, uid, &scope.org, Failure::Get).map_err(|f| scope.refuse(f))?;
        let checked = check(&record.config, &record.org_id, &self.options);
        Ok(json(StatusCode::OK, &Checked { can_deploy: can_deploy(&checked) }))
    }

    async fn deploy(&self, uid: &Uid, headers: &HeaderMap) -> Answer {
        let scope = self.scope(headers, false)?;
        let stamp = stamp(&self.options, self.clock.wall());
        let edit = |book: &mut Book| {
            let (id, record, life) = find(book, uid, &scope.org, Failure::Deploy)?;
            if life.is_deployed() {
                return Err(Failure::AlreadyDeployed);
            }
            let spec = check(&record.config, &record.org_id, &self.options).map_err(|_| Failure::Deploy)?;
            let record = Record { deployed: Some(stamp.clone()), ..record };
            book.deploy(&id, record.write(), spec).map_err(|error| book_failure(error, Failure::Deploy))
        };
        self.change(&scope, Failure::Deploy, edit).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    async fn undeploy(&self, uid: &Uid, headers: &HeaderMap) -> Answer {
        let scope = self.scope(headers, false)?;
        let (now, window) = (self.clock.now(), self.options.drain_window);
        let edit = |book: &mut Book| {
            let (id, ..) = find(book, uid, &scope.org, Failure::Undeploy)?;
            book.undeploy(&id, now, window).map_err(|error| book_failure(error, Failure::Undeploy))
        };
        self.change(&scope, Failure::Undeploy, edit).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    /// Headers, then the sandbox. Absent headers take the defaults unless they are required.
    fn scope(&self, headers: &HeaderMap, with_body: bool) -> Result<Scope, Refusal> {
        let options = &*self.options;
        if options.require_headers {
            require(headers, "authorization", GatewayError::NoToken)?;
            require(headers, "x-api-key", GatewayError::NoApiKey)?;
            require(headers, "x-gw-ims-org-id", GatewayError::MissingHeader)?;
            require(headers, "x-sandbox-name", GatewayError::MissingHeader)?;
            if with_body && !is_json(headers) {
                return Err(Refusal::Gateway(GatewayError::ContentType));
            }
        }
        let org = attribute(headers, "x-gw-ims-org-id", &options.default_org)?;
        let name = attribute(headers, "x-sandbox-name", &options.default_sandbox)?;
        let refuse = |failure| Refusal::Service { failure, sandbox: name.clone() };
        let sandbox = options.sandboxes.iter().find(|sandbox| sandbox.name == name);
        let sandbox = sandbox.ok_or_else(|| refuse(Failure::UnknownSandbox))?;
        match sandbox.kind {
            SandboxKind::Production => {}
            SandboxKind::Development => return Err(refuse(Failure::NonProdSandbox)),
        }
        Ok(Scope { org, sandbox_name: sandbox.name.clone(), sandbox_id: sandbox.id.clone() })
    }

    async fn read_config(&self, scope: &Scope, body: Body) -> Result<Config, Refusal> {
        let body = read_body(body).await.map_err(|failure| scope.refuse(failure))?;
        read_config(&body).map_err(|_| scope.refuse(Failure::InvalidPayload))
    }

    /// Changes the book; what the store cannot do becomes the operation's own `unexpected error`.
    async fn change<T>(
        &self,
        scope: &Scope,
        unexpected: Failure,
        edit: impl FnMut(&mut Book) -> Result<T, Failure>,
    ) -> Result<T, Refusal> {
        self.policies.change(edit).await.map_err(|error| match error {
            ChangeError::Refused(failure) => scope.refuse(failure),
            ChangeError::Failed(error) => {
                tracing::error!(operation = ?unexpected, %error, "a throttling config was not changed");
                scope.refuse(unexpected)
            }
        })
    }
}

/// The origin of this dialect's policies.
fn origin() -> Origin {
    Origin::new("throttling")
}

/// Always this path, whatever base the request came through.
fn uri(uid: &str) -> String {
    format!("/voyager/apis/throttlingConfigs/{uid}")
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
    let records =
        book.of_origin(&origin()).into_iter().filter_map(|(_, policy)| Record::read(policy.record()));
    records.filter(|record| record.org_id == org).count()
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
