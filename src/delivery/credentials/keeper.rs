//! Who asks for tokens: one future for the life of the process, which asks for those that calls were found to lack or will
//! soon lack, several at the same time, but one for each endpoint.
//!
//! Must not know: how a question is asked, which calls there are.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::fetch::{self, FailedFetch, TokenWay};
use super::{Credentials, Readiness, TokenFailure};
use crate::clock::{Clock, Timestamp};
use crate::delivery::{CallOptions, DeliveryError};
use crate::telemetry::TokenAsked;

/// What tokens have to be asked for. Bounded in fact: each endpoint has one question under way at most.
pub(in crate::delivery) struct TokenRequests {
    wanted: mpsc::UnboundedSender<Arc<CallOptions>>,
    /// `None` while they are being asked for.
    open: Mutex<Option<mpsc::UnboundedReceiver<Arc<CallOptions>>>>,
}

impl Default for TokenRequests {
    fn default() -> Self {
        let (wanted, open) = mpsc::unbounded_channel();
        Self { wanted, open: Mutex::new(Some(open)) }
    }
}

impl TokenRequests {
    /// Whether calls that are made like this may start at `now`; what they lack, or will soon lack, is asked for.
    pub(in crate::delivery) fn look(&self, options: &Arc<CallOptions>, now: Timestamp) -> Readiness {
        let Some(credentials) = &options.credentials else { return Readiness::Ready };
        let (readiness, asks) = credentials.look(now);
        if asks {
            // Without anybody who asks the process is ending, and no call starts any more.
            let _nobody = self.wanted.send(Arc::clone(options));
        }
        readiness
    }

    /// Asks for tokens until `cancelled`; `way` says how the token server of an endpoint is reached. What is under way then
    /// is given up.
    pub(in crate::delivery) async fn serve(
        &self,
        clock: &Clock,
        way: impl Fn(&CallOptions) -> Result<TokenWay, DeliveryError>,
        cancelled: CancellationToken,
    ) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut wanted) = open else { return };
        let mut questions = FuturesUnordered::new();
        loop {
            tokio::select! {
                () = cancelled.cancelled() => return,
                Some(options) = wanted.recv() => questions.push(self.ask(options, clock, &way)),
                Some(()) = questions.next(), if !questions.is_empty() => {}
            }
        }
    }

    async fn ask(
        &self,
        options: Arc<CallOptions>,
        clock: &Clock,
        way: impl Fn(&CallOptions) -> Result<TokenWay, DeliveryError>,
    ) {
        let Some(credentials) = &options.credentials else { return };
        let asked_at = clock.now();
        let answer = match way(&options) {
            Ok(way) => fetch::fetch(&credentials.source, way, clock.wall()).await,
            Err(_setup) => Err(TokenFailure::Setup.into()),
        };
        let (answer, alone) = match answer {
            Ok(granted) => (Ok(granted), None),
            Err(FailedFetch { failure, alone }) => (Err(failure), alone),
        };
        let result = answer.as_ref().map_or_else(|failure| failure.label(), |_| "granted");
        TokenAsked { result }.emit();
        tell(credentials, answer.as_ref().err());
        credentials.cache().answered(answer, alone, asked_at, clock.now());
    }
}

/// Tells when the questions of an endpoint begin to fail, or fail in another way, and when they no longer do.
fn tell(credentials: &Credentials, failure: Option<&TokenFailure>) {
    let endpoint = &*credentials.name;
    match (credentials.cache().last_failure(), failure) {
        (before, Some(failure)) if before != Some(*failure) => {
            warn!(endpoint, "no token for the calls to an endpoint: {failure}; it is asked for again");
        }
        (Some(_), None) => info!(endpoint, "there is a token again for the calls to an endpoint"),
        _ => {}
    }
}
