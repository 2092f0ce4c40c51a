//! What Adobe's two APIs share (contract.md): whose request it is, bodies, times, the envelopes of answers
//! and of refusals. The APIs themselves are dialects of their own.
//!
//! ```text
//! headers -> Gateway: Scope -> body -> Collection: the dialect's own checks -> Life of the config
//!     -> names of its policies -> Authoring::change
//!     -> answer | Refusal
//! ```
//!
//! Must not know: what a config of either API says, which policies follow from it.
#![doc = include_str!("contract.md")]

pub(in crate::manage) mod answers;
pub(in crate::manage) mod api;
pub(in crate::manage) mod body;
pub(in crate::manage) mod doc;
pub(in crate::manage) mod envelope;
pub(in crate::manage) mod errors;
pub(in crate::manage) mod life;
pub(in crate::manage) mod methods;
pub(in crate::manage) mod objects;
mod options;
pub(in crate::manage) mod policies;
pub(in crate::manage) mod routing;
pub(in crate::manage) mod scope;
pub(in crate::manage) mod stamp;
#[cfg(test)]
pub(in crate::manage) mod testing;

use std::sync::Arc;

use crate::clock::Clock;
use crate::manage::Dice;
use crate::manage::adobe::envelope::{Facts, Refusal, Refusals, Voice};
use crate::manage::adobe::errors::{Failure, Failures};
use crate::manage::adobe::scope::{Gateway, Scope};
use crate::manage::adobe::stamp::Stamp;
use crate::manage::desk::{Desk, Effect, NotChanged};
use crate::manage::dialect::{Dialect, Source};
use crate::policy::{Book, Policies};

pub(crate) use options::{AdobeOptions, Identity, Sandbox, SandboxKind};

/// Where the organisation of an event comes from, for both APIs.
pub(in crate::manage) const ORG_SOURCE: Source =
    Source { label: "org", implied: None, header: Some("x-gw-ims-org-id"), otherwise: "`labels.org`" };
/// Where it comes from which part of Adobe makes a call.
pub(in crate::manage) const SERVICE_SOURCE: Source = Source {
    label: "service",
    implied: None,
    header: None,
    otherwise: "`labels.service`, else it counts as `action`",
};

/// What the routes of one API work on. Cheap to clone.
#[derive(Clone)]
pub(in crate::manage) struct Authoring {
    pub(in crate::manage) desk: Desk,
    pub(in crate::manage) options: Arc<AdobeOptions>,
    pub(in crate::manage) gateway: Gateway,
    pub(in crate::manage) refusals: Refusals,
    /// Makes the uids of configs.
    dice: Dice,
}

impl Authoring {
    pub(in crate::manage) fn new(
        dialect: &'static dyn Dialect,
        policies: Policies,
        options: AdobeOptions,
        voice: Voice,
        clock: Clock,
        random: fastrand::Rng,
    ) -> Self {
        let desk = Desk::new(dialect, policies, clock, options.drain_window);
        let (options, dice) = (Arc::new(options), Dice::new(random));
        let gateway = Gateway::new(Arc::clone(&options));
        Self { desk, options, gateway, refusals: Refusals::new(voice, dice.clone()), dice }
    }

    pub(in crate::manage) fn new_uid(&self) -> String {
        self.dice.uuid()
    }

    /// The configured identity at the present time of the wall clock.
    pub(in crate::manage) fn stamp(&self) -> Stamp {
        Stamp::of(&self.options.identity, self.desk.clock().wall())
    }

    /// Changes configs and what they make active; what cannot be becomes the operation's own `unexpected` error, and what a
    /// bound does not allow the one that it has for that.
    async fn change<T, Own: Failures>(
        &self,
        scope: &Scope,
        unexpected: Failure<Own>,
        edit: impl FnMut(&mut Book) -> Result<(T, Effect), Facts>,
    ) -> Result<T, Refusal> {
        self.desk.change_with(edit).await.map_err(|error| match error {
            NotChanged::Refused(facts) => scope.refuse(facts),
            NotChanged::Full(bound) => scope.refuse(envelope::full(&bound, unexpected)),
            NotChanged::Late(late) => scope.refuse(envelope::late(late, unexpected.into())),
            NotChanged::NotActive(_) | NotChanged::TooLarge(_) | NotChanged::Failed => {
                scope.refuse(unexpected)
            }
        })
    }
}
