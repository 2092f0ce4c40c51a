//! What an operator may set about both APIs.

use std::time::Duration;

use crate::policy::DRAIN_WINDOW;

/// Options of both APIs. The default is what the contract documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdobeOptions {
    /// The organisation of requests without `x-gw-ims-org-id`.
    pub default_org: String,
    /// The sandbox of requests without `x-sandbox-name`.
    pub default_sandbox: String,
    /// The sandboxes that exist; requests for others are refused.
    pub sandboxes: Vec<Sandbox>,
    /// Refuse configs with semantic faults instead of saving them (contract.md 4).
    pub reject_invalid: bool,
    /// Make the dialect's mandatory headers mandatory (contract.md 1).
    pub require_headers: bool,
    /// How long an undeployed config may finish its backlog.
    pub drain_window: Duration,
    /// Who `createdBy` and its like name.
    pub identity: Identity,
}

/// A sandbox of the platform, as the configuration lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// Its name, as `x-sandbox-name` carries it.
    pub name: String,
    /// Its UUID, which answers show as `sandboxId`.
    pub id: String,
    /// What the sandbox is for, which decides about throttling configs.
    pub kind: SandboxKind,
}

/// What a sandbox is for. Throttling configs are managed through production ones only (throttling/contract.md 4), capping
/// configs through any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxKind {
    /// Configs of both APIs may be managed through it.
    Production,
    /// Every route of the Throttling API answers 1463.
    Development,
}

/// The identity that counts as the author of every change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The name that is shown in `createdBy` and `lastModifiedBy`.
    pub name: String,
    /// The id that is shown in `createdById` and `lastModifiedById`.
    pub id: String,
}

impl Default for AdobeOptions {
    fn default() -> Self {
        Self {
            default_org: "default".to_owned(),
            default_sandbox: "prod".to_owned(),
            sandboxes: vec![Sandbox {
                name: "prod".to_owned(),
                id: "6f1d0a52-7c3b-4e0e-9d84-5a1f2b7c9e30".to_owned(),
                kind: SandboxKind::Production,
            }],
            reject_invalid: false,
            require_headers: false,
            drain_window: DRAIN_WINDOW,
            identity: Identity { name: "tidegate".to_owned(), id: "tidegate".to_owned() },
        }
    }
}
