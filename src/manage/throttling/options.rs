//! What an operator may set about this dialect.

use std::time::Duration;

use crate::policy::DRAIN_WINDOW;

/// Options of the Throttling API. The default is what the contract documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThrottlingOptions {
    /// The organisation of requests without `x-gw-ims-org-id`.
    pub default_org: String,
    /// The sandbox of requests without `x-sandbox-name`.
    pub default_sandbox: String,
    /// The sandboxes that exist.
    pub sandboxes: Vec<Sandbox>,
    /// The smallest `maxThroughput`, in calls per second.
    pub throughput_min: u32,
    /// The largest `maxThroughput`, in calls per second.
    pub throughput_max: u32,
    /// How many configs an organisation may have.
    pub max_configs_per_org: usize,
    /// Refuse configs with semantic faults instead of saving them (contracts.md, "Decided" 6).
    pub reject_invalid: bool,
    /// Make the dialect's mandatory headers mandatory (contracts.md, "Decided" 5).
    pub require_headers: bool,
    /// Send `error` as an object instead of JSON text in a string (contracts.md 1.5).
    pub error_as_object: bool,
    /// How long an undeployed config may finish its backlog.
    pub drain_window: Duration,
    /// Who `createdBy` and its like name.
    pub identity: Identity,
}

/// A sandbox of the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// Its name, as `x-sandbox-name` carries it.
    pub name: String,
    /// Its UUID.
    pub id: String,
    /// What it is for.
    pub kind: SandboxKind,
}

/// What a sandbox is for. Throttling configs are managed through production ones only (contracts.md 2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxKind {
    /// Throttling configs may be managed through it.
    Production,
    /// Every route answers 1463.
    Development,
}

/// Who changes configs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Shown in `createdBy`.
    pub name: String,
    /// Shown in `createdById`.
    pub id: String,
}

impl Default for ThrottlingOptions {
    fn default() -> Self {
        Self {
            default_org: "default".to_owned(),
            default_sandbox: "prod".to_owned(),
            sandboxes: vec![Sandbox {
                name: "prod".to_owned(),
                id: "6f1d0a52-7c3b-4e0e-9d84-5a1f2b7c9e30".to_owned(),
                kind: SandboxKind::Production,
            }],
            throughput_min: 200,
            throughput_max: 5_000,
            max_configs_per_org: 1,
            reject_invalid: false,
            require_headers: false,
            error_as_object: false,
            drain_window: DRAIN_WINDOW,
            identity: Identity { name: "tidegate".to_owned(), id: "tidegate".to_owned() },
        }
    }
}
