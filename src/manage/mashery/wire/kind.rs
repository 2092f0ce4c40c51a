//! The kinds of objects that the API has, and how they lie within each other.
//!
//! Must not know: how bodies are read, where objects are found.

use crate::manage::mashery::wire::members::{self, Member};

/// The kinds of objects that the API has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::manage::mashery) enum Kind {
    /// The objects of `services`, which endpoints belong to.
    Service,
    /// The objects of `services/{id}/endpoints`, which get the calls.
    Endpoint,
    /// The objects of `services/{id}/endpoints/{id}/methods`, parts of an endpoint.
    Method,
    /// The objects of `packages`, which plans belong to.
    Package,
    /// The objects of `packages/{id}/plans`: what keys of one class may call, and how often.
    Plan,
    /// A service that is in a plan, under the id of the service.
    PlanService,
    /// An endpoint of such a service that is in the plan, under the id of the endpoint.
    PlanEndpoint,
    /// A method of such an endpoint that is in the plan, under the id of the method.
    PlanMethod,
    /// The objects of `members`: people who have applications.
    Member,
    /// The objects of `applications`, which keys may belong to.
    Application,
    /// The objects of `packageKeys`, one for each caller.
    PackageKey,
}

impl Kind {
    /// All kinds, parents and what is referred to before what belongs or refers to them.
    pub(in crate::manage::mashery) const ALL: [Self; 11] = [
        Self::Service,
        Self::Endpoint,
        Self::Method,
        Self::Package,
        Self::Plan,
        Self::PlanService,
        Self::PlanEndpoint,
        Self::PlanMethod,
        Self::Member,
        Self::Application,
        Self::PackageKey,
    ];

    /// The name under which such elements are stored.
    pub(in crate::manage::mashery) const fn stored_as(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Endpoint => "endpoint",
            Self::Method => "method",
            Self::Package => "package",
            Self::Plan => "plan",
            Self::PlanService => "planService",
            Self::PlanEndpoint => "planEndpoint",
            Self::PlanMethod => "planMethod",
            Self::Member => "member",
            Self::Application => "application",
            Self::PackageKey => "packageKey",
        }
    }

    /// The name of its id in paths.
    pub(in crate::manage::mashery) const fn in_path(self) -> &'static str {
        match self {
            Self::Service | Self::PlanService => "service",
            Self::Endpoint | Self::PlanEndpoint => "endpoint",
            Self::Method | Self::PlanMethod => "method",
            Self::Package => "package",
            Self::Plan => "plan",
            Self::Member => "member",
            Self::Application => "application",
            Self::PackageKey => "key",
        }
    }

    /// The objects inside this one and the member that lists them.
    pub(in crate::manage::mashery) const fn within(self) -> Option<(&'static str, Self)> {
        match self {
            Self::Service => Some(("endpoints", Self::Endpoint)),
            Self::Endpoint => Some(("methods", Self::Method)),
            Self::Package => Some(("plans", Self::Plan)),
            Self::Plan => Some(("services", Self::PlanService)),
            Self::PlanService => Some(("endpoints", Self::PlanEndpoint)),
            Self::PlanEndpoint => Some(("methods", Self::PlanMethod)),
            Self::Member => Some(("applications", Self::Application)),
            Self::Application => Some(("packageKeys", Self::PackageKey)),
            Self::Method | Self::PlanMethod | Self::PackageKey => None,
        }
    }

    /// The kind of what it stands for in a plan. Such an object has the id of the other one.
    pub(in crate::manage::mashery) const fn stands_for(self) -> Option<Self> {
        match self {
            Self::PlanService => Some(Self::Service),
            Self::PlanEndpoint => Some(Self::Endpoint),
            Self::PlanMethod => Some(Self::Method),
            _ => None,
        }
    }

    /// The members that clients set, in the order in which they are checked.
    pub(in crate::manage::mashery) const fn members(self) -> &'static [Member] {
        match self {
            Self::Service => members::SERVICE,
            Self::Endpoint => members::ENDPOINT,
            Self::Method => members::METHOD,
            Self::Package => members::PACKAGE,
            Self::Plan => members::PLAN,
            // What is said of the service or endpoint itself is not changed through a plan.
            Self::PlanService | Self::PlanEndpoint => &[],
            Self::PlanMethod => members::PLAN_METHOD,
            Self::Member => members::MEMBER,
            Self::Application => members::APPLICATION,
            Self::PackageKey => members::PACKAGE_KEY,
        }
    }

    /// Whether tidegate makes this member itself, so that one that a client sends is passed over.
    pub(super) fn makes(self, name: &str) -> bool {
        members::MADE.contains(&name)
            || match self {
                Self::PackageKey => name == "limits",
                // It is that of the member.
                Self::Application => name == "username",
                // A password: nothing here needs it, and it is given back to nobody.
                Self::Member => name == "passwdNew",
                _ => false,
            }
    }

    /// Whether an object of this kind may show a member of this name.
    pub(in crate::manage::mashery) fn shows(self, name: &str) -> bool {
        members::MADE.contains(&name)
            || matches!((self, name), (Self::PackageKey, "limits") | (Self::Application, "username"))
            || self.members().iter().any(|member| member.name == name)
            || self.stands_for().is_some_and(|other| other.shows(name))
    }
}
