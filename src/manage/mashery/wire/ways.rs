//! Where objects are found below [`BASE`]: each kind by one way or two.
//!
//! Must not know: how requests are answered.

use crate::manage::mashery::wire::Kind;

/// The path under which all objects are found.
pub(in crate::manage::mashery) const BASE: &str = "/v3/rest";

/// One way to the objects of a kind.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::manage::mashery) struct Way {
    /// What is found there.
    pub(in crate::manage::mashery) kind: Kind,
    /// The kinds of objects that the path goes through, the outermost first.
    pub(in crate::manage::mashery) through: &'static [Kind],
    /// All of them, below [`BASE`].
    pub(in crate::manage::mashery) collection: &'static str,
    /// One object of the collection, by its id.
    pub(in crate::manage::mashery) object: &'static str,
}

const fn way(kind: Kind, through: &'static [Kind], collection: &'static str, object: &'static str) -> Way {
    Way { kind, through, collection, object }
}

/// Every way; the first one of a kind is that by which its objects are found without what they belong to, if there is one.
pub(in crate::manage::mashery) static WAYS: [Way; 13] = [
    way(Kind::Service, &[], "/services", "/services/{service}"),
    way(
        Kind::Endpoint,
        &[Kind::Service],
        "/services/{service}/endpoints",
        "/services/{service}/endpoints/{endpoint}",
    ),
    way(
        Kind::Method,
        &[Kind::Service, Kind::Endpoint],
        "/services/{service}/endpoints/{endpoint}/methods",
        "/services/{service}/endpoints/{endpoint}/methods/{method}",
    ),
    way(Kind::Package, &[], "/packages", "/packages/{package}"),
    way(Kind::Plan, &[Kind::Package], "/packages/{package}/plans", "/packages/{package}/plans/{plan}"),
    way(
        Kind::PlanService,
        &[Kind::Package, Kind::Plan],
        "/packages/{package}/plans/{plan}/services",
        "/packages/{package}/plans/{plan}/services/{service}",
    ),
    way(
        Kind::PlanEndpoint,
        &[Kind::Package, Kind::Plan, Kind::PlanService],
        "/packages/{package}/plans/{plan}/services/{service}/endpoints",
        "/packages/{package}/plans/{plan}/services/{service}/endpoints/{endpoint}",
    ),
    way(
        Kind::PlanMethod,
        &[Kind::Package, Kind::Plan, Kind::PlanService, Kind::PlanEndpoint],
        "/packages/{package}/plans/{plan}/services/{service}/endpoints/{endpoint}/methods",
        "/packages/{package}/plans/{plan}/services/{service}/endpoints/{endpoint}/methods/{method}",
    ),
    way(Kind::Member, &[], "/members", "/members/{member}"),
    way(Kind::Application, &[], "/applications", "/applications/{application}"),
    way(
        Kind::Application,
        &[Kind::Member],
        "/members/{member}/applications",
        "/members/{member}/applications/{application}",
    ),
    way(Kind::PackageKey, &[], "/packageKeys", "/packageKeys/{key}"),
    way(
        Kind::PackageKey,
        &[Kind::Application],
        "/applications/{application}/packageKeys",
        "/applications/{application}/packageKeys/{key}",
    ),
];
