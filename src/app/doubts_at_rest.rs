//! The desk of the doubts over a data directory that nobody has open, for the command line: the same requests and
//! answers as over HTTP.
//!
//! Must not know: the command line.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Method, Request, StatusCode, header};
use tower::ServiceExt;

use crate::app::AppError;
use crate::app::build::embedded_options;
use crate::app::doubts::doubt_desk;
use crate::clock::Clock;
use crate::config::Config;
use crate::ops::{DecisionError, Decisions, DoubtDesk, doubt_routes};
use crate::queue::Queue;
use crate::store::doubts::Doubt;
use crate::store::embedded::EmbeddedStore;
use crate::store::embedded::clock_mark;
use crate::store::embedded::directory::DataDir;
use crate::store::{DirectoryError, Doubts, EntryStore, StoreError};

/// Longest answer that is taken from the desk, in bytes.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// Who answers for the data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DirectoryUse {
    /// A process has it open and holds its lock.
    InUse,
    /// It is there, and no process has it open.
    AtRest,
    /// There is no directory of this name.
    Missing,
}

/// Whether a process has the data directory.
///
/// # Errors
/// [`AppError`] when the system does not let that be found out.
pub(crate) fn directory_use(config: &Config) -> Result<DirectoryUse, AppError> {
    let root = &config.store.data_dir;
    if !root.is_dir() {
        return Ok(DirectoryUse::Missing);
    }
    match DataDir::hold(root) {
        // The lock is released here. A process that takes it before the caller does is found when the caller locks.
        Ok(_) => Ok(DirectoryUse::AtRest),
        Err(StoreError::Directory(DirectoryError::Locked { .. })) => Ok(DirectoryUse::InUse),
        Err(error) => Err(error.into()),
    }
}

/// Answers a request to the desk of the doubts over the data directory, which nobody may have open. A request that has
/// to read or settle events (`opens`) opens the whole store and closes it again; others touch the list of doubts alone.
///
/// # Errors
/// [`AppError`] when the directory is in use, or cannot be read or written.
pub(crate) async fn doubts_at_rest(
    config: &Config,
    (method, path, body): (Method, &str, Option<&serde_json::Value>),
    opens: bool,
) -> Result<(StatusCode, Bytes), AppError> {
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    let request =
        Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
    let request = request.body(body).map_err(|error| AppError::other(error.to_string()))?;
    if opens { over_store(config, request).await } else { over_list(&config.store.data_dir, request).await }
}

async fn over_list(root: &Path, request: Request<Body>) -> Result<(StatusCode, Bytes), AppError> {
    // Held until the list is written.
    let _hold = DataDir::hold_to_change(root)?;
    let doubts = Doubts::open(root, Clock::system().now())?;
    let decisions = Arc::new(OverList { root: root.to_owned(), doubts: doubts.clone() });
    let answer = answer(doubt_routes(DoubtDesk { doubts: doubts.clone(), decisions }), request).await?;
    // Also after a refusal, which has changed nothing.
    doubts.save(root)?;
    Ok(answer)
}

async fn over_store(config: &Config, request: Request<Body>) -> Result<(StatusCode, Bytes), AppError> {
    let clock = Clock::system();
    let (root, options, of_store) = (config.store.data_dir.clone(), embedded_options(config), clock.clone());
    let opening = tokio::task::spawn_blocking(move || EmbeddedStore::open(&root, options, of_store));
    let store = opening.await.map_err(|error| AppError::other(format!("opening the store: {error}")))??;
    let store: Arc<dyn EntryStore> = Arc::new(store);
    let (queue, _signals) = Queue::open(Arc::clone(&store), clock.clone()).await?;
    let answer = answer(doubt_routes(doubt_desk(&queue, &clock)), request).await;
    // An error of the answer is returned only after the store was closed in good order.
    queue.flush().await;
    store.close().await?;
    answer
}

async fn answer(router: Router, request: Request<Body>) -> Result<(StatusCode, Bytes), AppError> {
    let response = match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let (head, body) = response.into_parts();
    let body = axum::body::to_bytes(body, MAX_ANSWER_BYTES).await;
    Ok((head.status, body.map_err(|error| AppError::other(error.to_string()))?))
}

/// Carries out the decisions for which the list of doubts is enough.
struct OverList {
    root: PathBuf,
    doubts: Doubts,
}

impl Decisions for OverList {
    fn retry<'a>(&'a self, _: &'a Doubt) -> BoxFuture<'a, Result<(), DecisionError>> {
        async { Err(needs_store()) }.boxed()
    }

    fn give_up<'a>(&'a self, _: &'a Doubt) -> BoxFuture<'a, Result<u64, DecisionError>> {
        async { Err(needs_store()) }.boxed()
    }

    /// The next start takes it into account.
    fn confirm<'a>(&'a self, doubt: &'a Doubt) -> BoxFuture<'a, Result<(), DecisionError>> {
        async move {
            clock_mark::confirm(&self.root).map_err(|error| DecisionError::Other(error.to_string()))?;
            self.doubts.remove(doubt.id);
            Ok(())
        }
        .boxed()
    }
}

fn needs_store() -> DecisionError {
    DecisionError::Other("it needs the store to be opened".to_owned())
}
