//! Why no token was had, in words that hold nothing of what the token server answered: that may repeat a secret.
//!
//! Must not know: how it is asked.

/// Why a token server gave no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenFailure {
    /// No connection, no name, or a connection that broke.
    #[error("the token server cannot be reached")]
    Unreachable,
    /// It took too long.
    #[error("the token server does not answer in time")]
    Timeout,
    /// The guard denies its address.
    #[error("egress.allow denies the address of the token server; list its block and send SIGHUP")]
    Blocked,
    /// This process lacks a descriptor, a port or memory.
    #[error("tidegate is short of descriptors, ports or memory")]
    Shortage,
    /// Another answer than 2xx, without a reason that is known.
    #[error("the token server answers {0}")]
    Refused(u16),
    /// The same with one of the reasons of RFC 6749 5.2.
    #[error("the token server answers {status}, {code}")]
    RefusedAs {
        /// The status of the answer.
        status: u16,
        /// The error code of its answer.
        code: &'static str,
    },
    /// No JSON, no token in it, one that no header may have, or an answer that is too long.
    #[error("the answer of the token server holds no token that can be sent")]
    Unreadable,
    /// The settings of TLS, or of the proxy, make no client.
    #[error("no connection to the token server can be set up")]
    Setup,
}

impl TokenFailure {
    /// The value of `result` in `tidegate_token_requests_total`.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Blocked => "blocked",
            Self::Shortage => "shortage",
            Self::Refused(_) | Self::RefusedAs { .. } => "refused",
            Self::Unreadable => "unreadable",
            Self::Setup => "setup",
        }
    }
}
