//! Why tidegate cannot start or go on, by what a supervisor should do about it.

use std::io;

use crate::app::listen::ListenError;
use crate::delivery::DeliveryError;
use crate::policy::PolicyError;
use crate::queue::QueueError;
use crate::store::{DirectoryError, StoreError};
use crate::telemetry::RecorderError;

/// Why tidegate cannot start or go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct AppError {
    /// What kind of failure it is: decides the exit code.
    pub kind: AppErrorKind,
    /// What happened and what to do about it.
    pub detail: String,
}

/// Kinds of failures that a supervisor tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppErrorKind {
    /// The store failed: a restart may heal it.
    Store,
    /// The data directory is damaged: a restart does not heal it.
    Damaged,
    /// Another process has the data directory.
    InUse,
    /// The system denies access to a file or an address.
    Permission,
    /// What is configured cannot be applied.
    Config,
    /// None of these: the text says what happened.
    Other,
}

impl AppError {
    pub(super) fn other(detail: impl Into<String>) -> Self {
        Self { kind: AppErrorKind::Other, detail: detail.into() }
    }

    /// The same, and what it is about before it.
    pub(super) fn about(self, what: &str) -> Self {
        Self { detail: format!("{what}: {}", self.detail), ..self }
    }

    /// The same, and what to do after it.
    pub(super) fn with(self, way_out: &str) -> Self {
        Self { detail: format!("{}; {way_out}", self.detail), ..self }
    }
}

impl From<StoreError> for AppError {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::Directory(error) => match error {
                DirectoryError::Locked { .. } => AppErrorKind::InUse,
                DirectoryError::Denied { .. } => AppErrorKind::Permission,
                DirectoryError::EpochFile { .. } => AppErrorKind::Config,
                DirectoryError::Unusable { .. } => AppErrorKind::Damaged,
                DirectoryError::Full { .. }
                | DirectoryError::FewFiles { .. }
                | DirectoryError::NoRoom { .. } => AppErrorKind::Store,
                DirectoryError::Occupied { .. } => AppErrorKind::Other,
            },
            // No restart heals either: a supervisor must not try again and again.
            StoreError::Damaged { .. } | StoreError::Held { .. } => AppErrorKind::Damaged,
            StoreError::Shortage { .. }
            | StoreError::Slow
            | StoreError::OutcomeUnknown
            | StoreError::Poisoned { .. }
            | StoreError::Fenced { .. }
            | StoreError::Io { .. }
            | StoreError::Unread { .. }
            | StoreError::Format { .. } => AppErrorKind::Store,
            StoreError::Closed
            | StoreError::VersionConflict { .. }
            | StoreError::WrongCount { .. }
            | StoreError::TooLarge { .. } => AppErrorKind::Other,
        };
        Self { kind, detail: error.to_string() }
    }
}

impl From<QueueError> for AppError {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::Store(error) => error.into(),
            QueueError::Record(error) => Self::other(error.to_string()),
        }
    }
}

impl From<PolicyError> for AppError {
    fn from(error: PolicyError) -> Self {
        match error {
            PolicyError::Store(error) => error.into(),
            // Where this error arises only the configuration file adds policies: it is what has to change.
            PolicyError::TooLarge { .. } | PolicyError::TooManyOrigins { .. } | PolicyError::Full(_) => {
                Self { kind: AppErrorKind::Config, detail: error.to_string() }
            }
            // As a directory of a newer format.
            PolicyError::Format { .. } => Self { kind: AppErrorKind::Store, detail: error.to_string() },
            other => Self::other(other.to_string()),
        }
    }
}

impl From<DeliveryError> for AppError {
    fn from(error: DeliveryError) -> Self {
        Self::other(error.to_string())
    }
}

impl From<RecorderError> for AppError {
    fn from(error: RecorderError) -> Self {
        Self::other(error.to_string())
    }
}

impl From<ListenError> for AppError {
    fn from(error: ListenError) -> Self {
        let kind = match &error {
            // Another code than other failures: a port below 1024 needs a right that the unit can give.
            ListenError::Bind { reason, .. } if reason.kind() == io::ErrorKind::PermissionDenied => {
                AppErrorKind::Permission
            }
            ListenError::Bind { .. } | ListenError::NotLoopback(_) | ListenError::Inherited(_) => {
                AppErrorKind::Other
            }
        };
        Self { kind, detail: error.to_string() }
    }
}

impl From<io::Error> for AppError {
    fn from(error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::PermissionDenied => AppErrorKind::Permission,
            _ => AppErrorKind::Other,
        };
        Self { kind, detail: error.to_string() }
    }
}
