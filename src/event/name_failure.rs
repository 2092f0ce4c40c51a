//! Why a name did not lead to an address. What is proven (there is no such name) is told apart from what is unknown (no
//! server answered) and from a shortage of tidegate's own.
//!
//! Must not know: how names are resolved.

use std::fmt;

/// Why a name did not lead to an address. No connection was attempted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NameFailure {
    /// The name does not exist (NXDOMAIN).
    NoSuchName,
    /// The name exists and has no address.
    NoAddress,
    /// The name server refused the question (REFUSED).
    Refused,
    /// The name server answered with another error, such as SERVFAIL.
    ServerFailed,
    /// The answer could not be read.
    Garbled,
    /// No name server answered in time.
    Timeout,
    /// No name server could be reached.
    Unreachable,
    /// tidegate could not ask: too many names are being resolved, or the system gave no socket.
    Shortage,
}

impl NameFailure {
    /// The metric label: a bounded set.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoSuchName => "no_such_name",
            Self::NoAddress => "no_address",
            Self::Refused => "refused",
            Self::ServerFailed => "server_failed",
            Self::Garbled => "garbled",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Shortage => "shortage",
        }
    }

    /// Whether a name server has answered that there is nothing to connect to; for every other failure this is unknown.
    #[must_use]
    pub const fn is_an_answer(self) -> bool {
        matches!(self, Self::NoSuchName | Self::NoAddress)
    }
}

impl fmt::Display for NameFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchName => "there is no such name",
            Self::NoAddress => "it has no address",
            Self::Refused => "the name server refused the question",
            Self::ServerFailed => "the name server failed",
            Self::Garbled => "the answer of the name server could not be read",
            Self::Timeout => "no name server answered in time",
            Self::Unreachable => "no name server could be reached",
            Self::Shortage => "too many names are being resolved, or sockets are short",
        })
    }
}
