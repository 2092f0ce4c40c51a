//! All objects together, and the rules that no object can keep alone: how many there are, what must be unique, what must
//! exist.
//!
//! Must not know: how requests and answers look.

mod rules;

use std::collections::HashMap;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::manage::mashery::objects::origin;
use crate::manage::mashery::objects::place::in_plan;
use crate::manage::mashery::objects::record::{
    Endpoint, Method, Named, Owner, PackageKey, Plan, PlanMethod, PlanService, Record, Service,
};
use crate::manage::mashery::wire::Kind;
use crate::policy::Book;

/// Every object, each kind in the order of creation.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::manage::mashery) struct Catalogue {
    pub(in crate::manage::mashery) services: Vec<Element<Service>>,
    pub(in crate::manage::mashery) endpoints: Vec<Element<Endpoint>>,
    pub(in crate::manage::mashery) methods: Vec<Element<Method>>,
    packages: Vec<Element<Named>>,
    pub(in crate::manage::mashery) plans: Vec<Element<Plan>>,
    plan_services: Vec<Element<PlanService>>,
    plan_endpoints: Vec<Element<Named>>,
    pub(in crate::manage::mashery) plan_methods: Vec<Element<PlanMethod>>,
    members: Vec<Element<Named>>,
    applications: Vec<Element<Named>>,
    pub(in crate::manage::mashery) keys: Vec<Element<PackageKey>>,
}

/// One object with its place among the others.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::manage::mashery) struct Element<T> {
    /// The id under which it is stored.
    pub(in crate::manage::mashery) id: String,
    /// The stored id of what it belongs to; empty where it belongs to nothing.
    pub(in crate::manage::mashery) parent: String,
    /// What the object says, in terms of its kind.
    pub(in crate::manage::mashery) of: T,
}

impl<T> Element<T> {
    /// Of what is in a plan: the plan, and the id of what it stands for.
    pub(in crate::manage::mashery) fn in_plan(&self) -> (&str, &str) {
        debug_assert!(self.id.contains('.'), "only for what is in a plan");
        in_plan(&self.id).unwrap_or_default()
    }
}

impl Catalogue {
    /// All objects of a book. `None` when one was not written by this dialect.
    pub(in crate::manage::mashery) fn of(book: &Book) -> Option<Self> {
        let origin = origin();
        let elements = |kind: Kind| book.elements(&origin, kind.stored_as());
        Some(Self {
            services: read_all(elements(Kind::Service))?,
            endpoints: read_all(elements(Kind::Endpoint))?,
            methods: read_all(elements(Kind::Method))?,
            packages: read_all(elements(Kind::Package))?,
            plans: read_all(elements(Kind::Plan))?,
            plan_services: read_all(elements(Kind::PlanService))?,
            plan_endpoints: read_all(elements(Kind::PlanEndpoint))?,
            plan_methods: read_all(elements(Kind::PlanMethod))?,
            members: read_all(elements(Kind::Member))?,
            applications: read_all(elements(Kind::Application))?,
            keys: read_all(elements(Kind::PackageKey))?,
        })
    }

    /// The endpoints of a service, in the order of creation.
    pub(in crate::manage::mashery) fn endpoints_of(
        &self,
        service: &str,
    ) -> impl Iterator<Item = &Element<Endpoint>> {
        self.endpoints.iter().filter(move |endpoint| endpoint.parent == service)
    }

    /// The methods of an endpoint, in the order of creation.
    pub(in crate::manage::mashery) fn methods_of(
        &self,
        endpoint: &str,
    ) -> impl Iterator<Item = &Element<Method>> {
        self.methods.iter().filter(move |method| method.parent == endpoint)
    }

    /// The keys of a service alone, in the order of creation.
    pub(in crate::manage::mashery) fn keys_of(
        &self,
        service: &str,
    ) -> impl Iterator<Item = &Element<PackageKey>> {
        self.keys.iter().filter(move |key| key.of.owner() == Some(Owner::Service(service)))
    }

    /// The keys of each plan, in the order of creation.
    pub(in crate::manage::mashery) fn keys_by_plan(&self) -> HashMap<&str, Vec<&Element<PackageKey>>> {
        let mut by_plan: HashMap<&str, Vec<_>> = HashMap::new();
        for key in &self.keys {
            if let Some(Owner::Plan { plan, .. }) = key.of.owner() {
                by_plan.entry(plan).or_default().push(key);
            }
        }
        by_plan
    }

    /// The plans that a service is in, and whether only endpoints that are in the plan by themselves.
    pub(in crate::manage::mashery) fn plans_with(
        &self,
        service: &str,
    ) -> impl Iterator<Item = (&Element<Plan>, bool)> {
        let with = self.plan_services.iter().filter(move |known| known.in_plan().1 == service);
        with.filter_map(|known| {
            let plan = self.plans.iter().find(|plan| plan.id == known.parent)?;
            Some((plan, known.of.only_listed))
        })
    }

    /// The services that are in a plan, by their ids, and whether only endpoints that are in the plan by themselves.
    pub(in crate::manage::mashery) fn services_in(&self, plan: &str) -> impl Iterator<Item = (&str, bool)> {
        let here = self.plan_services.iter().filter(move |known| known.parent == plan);
        here.map(|known| (known.in_plan().1, known.of.only_listed))
    }

    /// Whether an endpoint is in a plan by itself.
    pub(in crate::manage::mashery) fn lists(&self, plan: &str, endpoint: &str) -> bool {
        self.plan_endpoints.iter().any(|known| known.in_plan() == (plan, endpoint))
    }
}

fn read_all<T: DeserializeOwned>(elements: Vec<(&str, &Value)>) -> Option<Vec<Element<T>>> {
    let read = |(id, value): (&str, &Value)| {
        let record = Record::read(value)?;
        let of = record.view()?;
        Some(Element { id: id.to_owned(), parent: record.parent.unwrap_or_default(), of })
    };
    elements.into_iter().map(read).collect()
}
