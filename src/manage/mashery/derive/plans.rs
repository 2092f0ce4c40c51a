//! What plans mean for calls: limits of each of their keys over all that is in the plan, and over single methods of it.
//!
//! A key that is in no plan of a service, or whose plan leaves an endpoint out, is closed there by the policies of services
//! and endpoints.

use std::collections::HashMap;

use crate::event::PolicyId;
use crate::manage::mashery::derive::effective::Effective;
use crate::manage::mashery::derive::{
    API_KEY, Part, SECOND, calls, calls_of_method, limits, of_developer, policy, refusing, row,
};
use crate::manage::mashery::objects::catalogue::{Catalogue, Element};
use crate::manage::mashery::objects::record::{Method, PackageKey, Plan, PlanMethod, PlanStatus, Status};
use crate::policy::{Limits, Overlap, Overrides, Quota, Scope, Spec, Window};

/// How the policies are called that count the calls of keys over a plan.
pub(in crate::manage::mashery) const PLAN: &str = "plan";
/// What competes under it: methods that plans limit.
const METHODS: &str = "plan-method";

/// The plans with their keys.
pub(super) struct Plans<'c> {
    catalogue: &'c Catalogue,
    keys: HashMap<&'c str, Vec<&'c Element<PackageKey>>>,
}

/// Whether calls of a key of the plan are let through.
pub(super) fn lets_through(plan: &Plan, key: &PackageKey) -> bool {
    plan.status == PlanStatus::Active && key.status == Status::Active
}

impl<'c> Plans<'c> {
    pub(super) fn of(catalogue: &'c Catalogue) -> Self {
        Self { catalogue, keys: catalogue.keys_by_plan() }
    }

    fn keys_of(&self, plan: &str) -> impl Iterator<Item = &'c Element<PackageKey>> + use<'_, 'c> {
        self.keys.get(plan).into_iter().flatten().copied()
    }

    /// The keys that a service is in the plan of, with the plan.
    pub(super) fn keys_with(
        &self,
        service: &str,
    ) -> impl Iterator<Item = (&'c Element<Plan>, &'c Element<PackageKey>)> {
        let plans = self.catalogue.plans_with(service);
        plans.flat_map(|(plan, _)| self.keys_of(&plan.id).map(move |key| (plan, key)))
    }

    /// Those of them whose plan leaves this endpoint of the service out.
    pub(super) fn keys_without(
        &self,
        service: &str,
        endpoint: &str,
    ) -> impl Iterator<Item = &'c Element<PackageKey>> {
        let plans = self.catalogue.plans_with(service);
        let without = plans
            .filter(move |(plan, only_listed)| *only_listed && !self.catalogue.lists(&plan.id, endpoint));
        without.flat_map(|(plan, _)| self.keys_of(&plan.id))
    }

    /// For each plan with keys, what each of them may call over all that is in the plan.
    pub(super) fn keys(&self) -> Option<Vec<(PolicyId, Spec)>> {
        let mut list = Vec::new();
        for plan in &self.catalogue.plans {
            let services = self.catalogue.services_in(&plan.id);
            let endpoints = services.flat_map(|(service, only_listed)| {
                let all = self.catalogue.endpoints_of(service);
                all.filter(move |of| !only_listed || self.catalogue.lists(&plan.id, &of.id))
            });
            let clauses: Vec<_> = endpoints.flat_map(|endpoint| calls(&endpoint.of)).collect();
            let scope = Scope::new(&[API_KEY]).ok()?;
            let rows: Vec<_> = self.keys_of(&plan.id).map(|key| (row(key), allowed(plan, key))).collect();
            if clauses.is_empty() || rows.is_empty() {
                continue;
            }
            let spec = Spec {
                overrides: Overrides::new(&scope, rows),
                scope,
                rank: 4,
                wording: Some(of_developer(&plan.of.name)),
                // Without limits for all it governs its own keys alone.
                overlap: Overlap::All,
                ..refusing(PLAN, clauses, Limits::default())
            };
            list.push(policy(&plan.id, PLAN, spec)?);
        }
        Some(list)
    }

    /// What the keys of all plans may call of one method, where a plan says so.
    pub(super) fn method(
        &self,
        part: &Part<'_>,
        method: &Element<Method>,
        names: &[Box<str>],
    ) -> Option<Vec<(PolicyId, Spec)>> {
        let mut rows = Vec::new();
        for of in self.limited().filter(|of| of.in_plan().1 == method.id) {
            let plan = self.catalogue.plans.iter().find(|plan| plan.id == of.in_plan().0)?;
            let PlanMethod { rate_limit_ceiling, rate_limit_period, qps_limit_ceiling } = of.of;
            let period = rate_limit_period.unwrap_or(plan.of.rate_limit_period);
            let limits = limits(rate_limit_ceiling, period, qps_limit_ceiling);
            rows.extend(self.keys_of(&plan.id).map(|key| (row(key), limits.clone())));
        }
        if rows.is_empty() {
            return Some(Vec::new());
        }
        let scope = Scope::new(&[API_KEY]).ok()?;
        let spec = Spec {
            overrides: Overrides::new(&scope, rows),
            scope,
            rank: 2,
            wording: Some(of_developer(&method.of.name)),
            ..refusing(METHODS, calls_of_method(part, &method.of.name, names), Limits::default())
        };
        Some(vec![policy(&method.id, "plans", spec)?])
    }

    /// For calls of an endpoint that are of none of these methods, where any plan limits a method.
    pub(super) fn rest(&self, part: &Part<'_>) -> Option<Vec<(PolicyId, Spec)>> {
        if self.limited().next().is_none() {
            return Some(Vec::new());
        }
        let spec = refusing(METHODS, part.calls.clone(), Limits::default());
        Some(vec![policy(&part.endpoint.id, "planrest", spec)?])
    }

    fn limited(&self) -> impl Iterator<Item = &'c Element<PlanMethod>> {
        let has_limit = |of: &&Element<PlanMethod>| {
            of.of.rate_limit_ceiling.is_some() || of.of.qps_limit_ceiling.is_some()
        };
        self.catalogue.plan_methods.iter().filter(has_limit)
    }
}

fn allowed(plan: &Element<Plan>, key: &Element<PackageKey>) -> Limits {
    let period = plan.of.rate_limit_period;
    let own = Effective::in_plan(&key.of, &plan.of).limits(period);
    // A key that is exempt no longer would begin in the middle of a period as if it had made no calls.
    let (rate, qps) = (plan.of.rate_limit_ceiling.is_some(), plan.of.qps_limit_ceiling.is_some());
    Limits {
        quota: own.quota.or(rate.then_some(Quota::counting(period))),
        window: own.window.or(qps.then_some(Window::counting(SECOND))),
        ..own
    }
}
