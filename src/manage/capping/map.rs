//! Deployed configs to policies, records to what is shown (contracts.md 3.2, 3.4).

use crate::event::PolicyId;
use crate::manage::adobe::answers::{FORMAT_VERSION, show_state};
use crate::manage::adobe::stamp::Metadata;
use crate::manage::capping::ORIGIN;
use crate::manage::capping::check::{Cap, Meaning, ServiceKind, check};
use crate::manage::capping::record::Record;
use crate::manage::capping::refusal::CAPPED;
use crate::manage::capping::wire::{DeployedConfig, Element, Owner};
use crate::policy::{Book, Clause, Family, LabelCondition, Limits, Origin, Overlap, Spec, Wording};

/// The kind of this dialect's elements.
pub(super) const KIND: &str = "endpointConfig";

/// The `tenantId` of every config.
const TENANT: &str = "prod";

/// A stored config that cannot be read, or does not mean anything any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable;

/// The origin of this dialect's elements and policies.
pub(super) fn origin() -> Origin {
    Origin::new(ORIGIN)
}

/// The policies of all deployed configs, oldest config first.
pub(super) fn policies(book: &Book) -> Result<Vec<(PolicyId, Spec)>, Unreadable> {
    let mut policies = Vec::new();
    for (uid, record) in book.elements(&origin(), KIND) {
        let record = Record::read(record).ok_or(Unreadable)?;
        let Some(config) = record.life.deployed() else { continue };
        // It was checked when it was deployed; what is required of new ones does not matter to it.
        let meaning = check(config, false).meaning.map_err(|_| Unreadable)?;
        for cap in &meaning.caps {
            let id = PolicyId::parse(&format!("{uid}.{}", cap.service.name())).map_err(|_| Unreadable)?;
            policies.push((id, spec(&record, &meaning, *cap)));
        }
    }
    Ok(policies)
}

/// One service of a config governs the calls of its kind in its sandbox: an event without the label `service` is an
/// action (contracts.md, "Decided" 4).
fn spec(record: &Record, meaning: &Meaning, cap: Cap) -> Spec {
    let service = match cap.service {
        ServiceKind::Action => LabelCondition::equals_or_absent("service", cap.service.name()),
        ServiceKind::DataSource => LabelCondition::equals("service", cap.service.name()),
    };
    let clause = Clause {
        methods: meaning.methods.clone(),
        labels: vec![
            LabelCondition::equals("org", &record.org_id),
            LabelCondition::equals("sandbox", &record.sandbox_name),
            service,
        ],
        ..Clause::of(meaning.pattern.clone())
    };
    let limits = Limits { window: Some(cap.window), slots: cap.connections, ..Limits::default() };
    let wording = Wording {
        per_window: CAPPED.into(),
        per_quota: CAPPED.into(),
        closed: CAPPED.into(),
        subject: "".into(),
    };
    Spec {
        family: Family::Refuse,
        overlap: Overlap::most_specific(),
        wording: Some(wording),
        ..Spec::new(vec![clause], limits)
    }
}

/// How a config is shown by the create answer: without `_id`.
pub(super) fn show_created<'a>(uid: &'a str, record: &'a Record) -> Element<'a> {
    Element { id: None, ..show(uid, record) }
}

/// How a config is shown by every other answer.
pub(super) fn show<'a>(uid: &'a str, record: &'a Record) -> Element<'a> {
    let Record { config, org_id, sandbox_id, sandbox_name, created, modified, last_deployed, life } = record;
    let owner = Owner { org_id, tenant_id: TENANT, uid, sandbox_name, sandbox_id };
    let deployed = life.deployed().map(|config| DeployedConfig { id: uid, config: config.into(), owner });
    Element {
        id: Some(uid),
        config: config.into(),
        metadata: Metadata::of(created, modified, last_deployed.as_ref()),
        state: show_state(life.state()),
        owner,
        authoring_format_version: FORMAT_VERSION,
        has_been_deployed: deployed.is_some(),
        deployed_config: deployed,
    }
}
