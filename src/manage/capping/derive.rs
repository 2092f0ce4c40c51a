//! Configs to policies (contract.md 4): each service of a config is one, active while it is deployed.

use crate::manage::adobe::life::Active;
use crate::manage::adobe::policies::{self, Parts};
use crate::manage::capping::CappingApi;
use crate::manage::capping::check::{Cap, Meaning, ServiceKind, check};
use crate::manage::capping::objects::Record;
use crate::manage::capping::says::CAPPED;
use crate::manage::dialect::{Derived, Unreadable};
use crate::policy::{Book, Clause, Family, LabelCondition, Limits, Overlap, RefusalCodes, Spec, Wanted};

/// The policies of all configs, oldest config first.
pub(super) fn derive(book: &Book) -> Result<Derived, Unreadable> {
    policies::derive::<CappingApi>(book)
}

/// The policies of one config: those of deployed services are active, those of other services that it has are idle.
pub(super) fn wanted(uid: &str, record: &Record) -> Result<Parts, Unreadable> {
    let unreadable = || Unreadable { object: format!("the stored endpoint config {uid:?}") };
    let meaning = match record.life.active() {
        Active::Nothing => None,
        // It was checked when it was deployed; what is required of new ones does not matter to it.
        Active::As(config) => Some(check(config, false).meaning.map_err(|_| unreadable())?),
        Active::Unknown => return Err(unreadable()),
    };
    let of_service = |service: ServiceKind| {
        let cap = meaning.as_ref().and_then(|meaning| Some((meaning, meaning.cap(service)?)));
        let wanted = match cap {
            Some((meaning, cap)) => spec(record, meaning, cap).into(),
            None if record.config.has(service) => Wanted::Idle,
            None => return None,
        };
        Some((part(service), wanted))
    };
    Ok(ServiceKind::ALL.into_iter().filter_map(of_service).collect())
}

/// What comes behind the uid in the name of the policy of a service.
const fn part(service: ServiceKind) -> &'static str {
    match service {
        ServiceKind::Action => ".action",
        ServiceKind::DataSource => ".dataSource",
    }
}

/// One service of a config governs the calls of its kind in its sandbox: an event without the label `service` is an
/// action (contract.md 4).
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
    // A sliding window and no pace: the calls of a period may come all at once (contract.md 4).
    let limits = Limits { window: Some(cap.window), slots: cap.connections, ..Limits::default() };
    let wording = RefusalCodes {
        per_window: CAPPED.into(),
        per_quota: CAPPED.into(),
        closed: CAPPED.into(),
        subject: "".into(),
    };
    let spec = Spec {
        family: Family::Refuse,
        overlap: Overlap::most_specific(),
        wording: Some(wording),
        ..Spec::new(vec![clause], limits)
    };
    // Without the query, which may hold credentials.
    let url = meaning.pattern.as_str();
    let url = url.split_once('?').map_or(url, |(url, _)| url);
    spec.called(&format!("{} {url}", cap.service.name()))
}
