//! What Adobe's two APIs share (contract.md): whose request it is, bodies, times, the envelopes of answers
//! and of refusals. The APIs themselves are dialects of their own.
//!
//! ```text
//! headers -> Scope -> body -> Collection: the dialect's own checks -> Authoring::change -> answer | Refusal
//! ```
//!
//! Must not know: what a config of either API says, how its life goes.
#![doc = include_str!("contract.md")]

pub(in crate::manage) mod answers;
pub(in crate::manage) mod api;
pub(in crate::manage) mod body;
pub(in crate::manage) mod doc;
pub(in crate::manage) mod envelope;
pub(in crate::manage) mod methods;
mod options;
pub(in crate::manage) mod routing;
pub(in crate::manage) mod scope;
pub(in crate::manage) mod stamp;
#[cfg(test)]
pub(in crate::manage) mod testing;

use std::sync::Arc;

use crate::clock::Clock;
use crate::manage::Dice;
use crate::manage::adobe::envelope::{Failures, Refusal, Voice};
use crate::manage::adobe::scope::Scope;
use crate::manage::adobe::stamp::Stamp;
use crate::policy::{Book, ChangeError, Policies, PolicyError};

pub use options::{AdobeOptions, Identity, Sandbox, SandboxKind};

/// What the routes of one API work on. Cheap to clone.
#[derive(Clone)]
pub(in crate::manage) struct Authoring {
    pub(in crate::manage) policies: Policies,
    pub(in crate::manage) options: Arc<AdobeOptions>,
    pub(in crate::manage) clock: Clock,
    voice: Voice,
    /// Makes uids and request ids.
    dice: Dice,
}

impl Authoring {
    pub(in crate::manage) fn new(
        policies: Policies,
        options: AdobeOptions,
        voice: Voice,
        clock: Clock,
        random: fastrand::Rng,
    ) -> Self {
        Self { policies, options: Arc::new(options), clock, voice, dice: Dice::new(random) }
    }

    pub(in crate::manage) fn new_uid(&self) -> String {
        self.dice.uuid()
    }

    /// 32 letters and digits.
    fn new_request_id(&self) -> String {
        self.dice.letters(32)
    }

    /// The configured identity, now.
    pub(in crate::manage) fn stamp(&self) -> Stamp {
        Stamp::of(&self.options.identity, self.clock.wall())
    }

    /// Changes the book; what the store cannot do becomes the operation's own `unexpected` error, and what a bound does not
    /// allow the one that it has for that.
    pub(in crate::manage) async fn change<T, F: Failures>(
        &self,
        scope: &Scope,
        unexpected: F,
        edit: impl FnMut(&mut Book) -> Result<T, F>,
    ) -> Result<T, Refusal> {
        self.policies.change(edit).await.map_err(|error| match error {
            ChangeError::Refused(failure) => scope.refuse(failure),
            ChangeError::Failed(PolicyError::Full(bound)) => scope.refuse(envelope::full(&bound, unexpected)),
            ChangeError::Failed(error) => {
                tracing::error!(operation = ?unexpected, %error, "a config was not changed");
                match error.late() {
                    Some(late) => scope.refuse(envelope::late(late, unexpected.into())),
                    None => scope.refuse(unexpected),
                }
            }
        })
    }
}
