//! Outcomes of attempts and what the queue makes of them.

use std::fmt;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::event::{NameFailure, Said, Shortage, Tries, Wait};

/// What became of one attempt, as far as it is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint answered 2xx with a complete head.
    Delivered {
        /// The status code, from 200 to 299.
        status: u16,
    },
    /// It failed in a way that may heal.
    Retry {
        /// Why it failed this time.
        cause: Cause,
        /// How long the endpoint asked to be left alone, if it did.
        retry_after: Option<Duration>,
    },
    /// It failed, and it is proven that the endpoint has processed nothing of it: no connection was made, no byte of
    /// the request was written, or the endpoint refused it in a way that the protocol defines as unprocessed.
    Unprocessed {
        /// Why it failed before anything was processed.
        cause: Cause,
    },
    /// tidegate itself was short of something before a byte of the request was written: this says nothing about the
    /// endpoint.
    Shortage {
        /// What was short: [`Cause::Shortage`], or [`Cause::Dns`] of [`NameFailure::Shortage`].
        cause: Cause,
    },
    /// The endpoint is busy or over a limit of its own, and it is known when it will not be: no failure of the
    /// call nor of the endpoint.
    Wait(Wait),
    /// The endpoint answered, and said beside that when it wants the next call.
    Paced {
        /// What became of this attempt: delivered, failed or refused by the answer.
        end: Box<Self>,
        /// How long to leave the endpoint alone.
        next: Wait,
    },
    /// The egress guard denies its address, and the guard by which the event was accepted may have allowed it: no
    /// connection was made. The next change of the guard may allow it again.
    Withheld,
    /// The endpoint refused the token that went with the call, which is being renewed: the call may be tried again with
    /// the next one.
    TokenRefused {
        /// After which time there is another one, if the token server answers.
        wait: Duration,
    },
    /// It failed in a way that will not heal by itself.
    Reject {
        /// Why it failed for good.
        cause: Cause,
    },
}

impl Outcome {
    /// What became of the attempt, whatever the endpoint said about the next one.
    #[must_use]
    pub fn end(&self) -> &Self {
        match self {
            Self::Paced { end, .. } => end,
            other => other,
        }
    }

    /// Whether the request was sent, at least in part, and no answer says whether the endpoint has acted on it.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        matches!(self.end(), Self::Retry { cause, .. } if cause.status().is_none())
    }

    /// How long the endpoint wants to be left alone although it has taken or refused the call.
    #[must_use]
    pub const fn next(&self) -> Option<Wait> {
        match self {
            Self::Paced { next, .. } => Some(*next),
            _ => None,
        }
    }

    /// How long the endpoint asks to be left alone, if it does.
    #[must_use]
    pub const fn asked(&self) -> Option<Duration> {
        match self {
            Self::Retry { retry_after, .. } => *retry_after,
            Self::Wait(wait) | Self::Paced { next: wait, .. } => Some(wait.length()),
            _ => None,
        }
    }

    /// The same outcome where the endpoint asks to be left alone for `longest` at most.
    #[must_use]
    pub fn within(&self, longest: Duration) -> Self {
        let shorter = |wait: &Wait| Wait::new(wait.said(), wait.length().min(longest));
        match self {
            Self::Retry { cause, retry_after } => {
                Self::Retry { cause: cause.clone(), retry_after: retry_after.map(|asked| asked.min(longest)) }
            }
            Self::Wait(wait) => Self::Wait(shorter(wait)),
            Self::Paced { end, next } => Self::Paced { end: end.clone(), next: shorter(next) },
            other => other.clone(),
        }
    }

    /// Why it did not succeed; `None` when it did.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        match self {
            Self::Delivered { .. } => None,
            Self::Retry { cause, .. }
            | Self::Unprocessed { cause }
            | Self::Shortage { cause }
            | Self::Reject { cause } => Some(cause.clone()),
            Self::Wait(wait) => Some(Cause::Busy(wait.said())),
            Self::Paced { end, .. } => end.cause(),
            Self::Withheld => Some(Cause::Blocked),
            Self::TokenRefused { .. } => Some(Cause::Status(401)),
        }
    }
}

/// Why an attempt did not succeed. The label is a bounded set: it is used in metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// An answer with this status, outside 2xx.
    Status(u16),
    /// A deadline passed: connect, head or whole call.
    Timeout,
    /// No TCP connection could be made to the endpoint.
    Connect,
    /// The name did not resolve; no connection was attempted.
    Dns(NameFailure),
    /// The TLS handshake or the certificate failed.
    Tls,
    /// The connection broke before a complete head: the endpoint may have acted on the call.
    Closed,
    /// The endpoint refused the stream, or ended the connection before it (HTTP/2 REFUSED_STREAM, GOAWAY).
    Refused,
    /// tidegate had no socket for the call.
    Shortage(Shortage),
    /// The egress guard denied the address.
    Blocked,
    /// The answer was not HTTP, or its head was too large.
    Malformed,
    /// The endpoint said that it is busy or over a limit of its own.
    Busy(Said),
    /// The endpoint said that it will never take the call.
    Denied(Said),
    /// The attempt died inside tidegate, as by a panic.
    Internal,
}

impl Cause {
    /// The status of the answer, where there was one that this is about.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Status(status) => Some(*status),
            _ => None,
        }
    }

    /// The metric label: `3xx`, `4xx`, `429`, `5xx`, `timeout`, `connect`, …
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            // Before the other 4xx: it says that calls come too fast, and is shown by itself.
            Self::Status(429) => "429",
            Self::Status(100..=199) => "1xx",
            Self::Status(200..=299) => "2xx",
            Self::Status(300..=399) => "3xx",
            Self::Status(400..=499) => "4xx",
            Self::Status(_) => "5xx",
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Dns(NameFailure::Shortage) | Self::Shortage(_) => "shortage",
            Self::Dns(_) => "dns",
            Self::Tls => "tls",
            Self::Closed => "closed",
            Self::Refused => "refused",
            Self::Blocked => "blocked",
            Self::Malformed => "malformed",
            Self::Busy(said) | Self::Denied(said) => said.label,
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "http_{status}"),
            Self::Busy(said) | Self::Denied(said) => f.write_str(said.code),
            Self::Dns(failure) => write!(f, "dns_{}", failure.label()),
            Self::Shortage(shortage) => write!(f, "shortage_{}", shortage.word()),
            other => f.write_str(other.label()),
        }
    }
}

/// What the queue does with an entry that the dispatcher is done with for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// Gone: the endpoint has accepted it.
    Delivered,
    /// Comes back at `due_at` with `tries` on record.
    Reschedule {
        /// When it may be tried again.
        due_at: Timestamp,
        /// Tries made so far, counted and free.
        tries: Tries,
        /// When that was decided, if the clock was in doubt then: a correction of the clock moves `due_at` with the
        /// line of time ([`crate::clock::corrected`]).
        doubted_at: Option<Timestamp>,
    },
    /// Parked for a person, as a dead letter.
    Dead {
        /// A short fact such as `http_404`, `attempts_exhausted: timeout` or `ambiguous: closed`.
        reason: String,
        /// Attempts that counted, in all.
        attempts: u16,
    },
    /// Dropped: it outlived its time, and no doubt held its lane.
    Expired,
    /// Dropped: it outlived its time while a doubt about reads or about its generation held its lane.
    ExpiredHeld,
    /// Dropped: the drain window of its undeployed policy is over.
    Drained,
    /// Dropped on request, by a purge of its policy.
    Cancelled,
    /// Its bytes are damaged, or an operator gave it up: it cannot be sent any more.
    Lost,
}

impl Settlement {
    /// The metric label of an entry's end; `None` while it goes on living.
    #[must_use]
    pub const fn outcome_label(&self) -> Option<&'static str> {
        match self {
            Self::Delivered => Some("delivered"),
            Self::Reschedule { .. } => None,
            Self::Dead { .. } => Some("dead"),
            Self::Expired | Self::ExpiredHeld => Some("expired"),
            Self::Drained => Some("config_drained"),
            Self::Cancelled => Some("cancelled"),
            Self::Lost => Some("lost"),
        }
    }

    /// Why it ended as [`Settlement::outcome_label`] says, where that word leaves it open: `held`.
    #[must_use]
    pub const fn cause_label(&self) -> Option<&'static str> {
        match self {
            Self::ExpiredHeld => Some("held"),
            _ => None,
        }
    }
}
