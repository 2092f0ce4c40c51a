//! The rules among objects.
//!
//! Must not know: how objects are stored.

use crate::manage::mashery::errors::Refusal;
use crate::manage::mashery::objects::catalogue::{Catalogue, Element};
use crate::manage::mashery::objects::place::in_plan;
use crate::manage::mashery::objects::record::Owner;
use crate::manage::mashery::wire::Kind;

/// Most objects of each kind: the book of all of them is one document.
const fn most(kind: Kind) -> usize {
    match kind {
        Kind::Service | Kind::Package => 500,
        Kind::Endpoint | Kind::Plan => 1_000,
        Kind::Method | Kind::PlanService | Kind::PlanEndpoint | Kind::PlanMethod => 2_000,
        Kind::Member | Kind::Application | Kind::PackageKey => 10_000,
    }
}
/// Most limits of single keys that plans amount to: each key of a plan has one in each service of the plan.
const ROWS_MAX: usize = 50_000;

fn is_there<T>(elements: &[Element<T>], id: &str) -> bool {
    elements.iter().any(|element| element.id == id)
}

impl Catalogue {
    /// Whether an object, which is among the others already, keeps the rules beside them.
    ///
    /// # Errors
    /// 400 with the property that breaks a rule, or with the number of objects that there may be.
    pub(in crate::manage::mashery) fn check(&self, kind: Kind, id: &str) -> Result<(), Refusal> {
        // The object is among them already, so `most` itself is allowed.
        if self.count(kind) > most(kind) {
            let message = format!("there are {} objects of this kind, which is the most", most(kind));
            return Err(Refusal::invalid(message));
        }
        match kind {
            Kind::Service | Kind::Package | Kind::Plan | Kind::Application => Ok(()),
            Kind::Endpoint => self.check_endpoint(id),
            Kind::Method => self.check_method(id),
            Kind::PlanService => {
                self.check_rows()?;
                let service = in_plan(id).map(|(_, service)| service);
                self.stands(service.is_some_and(|id| is_there(&self.services, id)), "the id of a service")
            }
            Kind::PlanEndpoint => {
                let known = self.plan_endpoints.iter().find(|known| known.id == id);
                let service = known.and_then(|known| in_plan(&known.parent)).map(|(_, service)| service);
                let endpoint = in_plan(id).map(|(_, endpoint)| endpoint);
                let is_there = self.endpoints.iter().any(|endpoint_of| {
                    Some(&*endpoint_of.id) == endpoint && Some(&*endpoint_of.parent) == service
                });
                self.stands(is_there, "the id of an endpoint of the service")
            }
            Kind::PlanMethod => {
                let known = self.plan_methods.iter().find(|known| known.id == id);
                let endpoint = known.and_then(|known| in_plan(&known.parent)).map(|(_, endpoint)| endpoint);
                let method = in_plan(id).map(|(_, method)| method);
                let is_there =
                    self.methods.iter().any(|of| Some(&*of.id) == method && Some(&*of.parent) == endpoint);
                self.stands(is_there, "the id of a method of the endpoint")
            }
            Kind::Member => self.check_member(id),
            Kind::PackageKey => self.check_key(id),
        }
    }

    /// Whether nothing refers to an object, so that it may go.
    ///
    /// # Errors
    /// 409 with what refers to it.
    pub(in crate::manage::mashery) fn is_free(&self, kind: Kind, id: &str) -> Result<(), Refusal> {
        let of_plans = |count: usize| (count, "plans have it in them; take it out of them first");
        let of_keys = |count: usize| (count, "package keys refer to it; delete them first");
        let keys = |is_its: &dyn Fn(Owner<'_>) -> bool| {
            self.keys.iter().filter(|key| key.of.owner().is_some_and(is_its)).count()
        };
        let inside = |parents: &[Element<_>]| parents.iter().filter(|one| one.parent == id).count();
        let in_plans = |ids: &mut dyn Iterator<Item = (&str, &str)>| ids.filter(|(_, of)| *of == id).count();
        let (count, who) = match kind {
            Kind::Service => match self.keys_of(id).count() {
                0 => of_plans(in_plans(&mut self.plan_services.iter().map(Element::in_plan))),
                count => (count, "package keys refer to this service; delete them first"),
            },
            Kind::Endpoint => of_plans(in_plans(&mut self.plan_endpoints.iter().map(Element::in_plan))),
            Kind::Method => of_plans(in_plans(&mut self.plan_methods.iter().map(Element::in_plan))),
            Kind::Package => {
                of_keys(keys(&|owner| matches!(owner, Owner::Plan { package, .. } if package == id)))
            }
            Kind::Plan => of_keys(keys(&|owner| matches!(owner, Owner::Plan { plan, .. } if plan == id))),
            Kind::Member => (inside(&self.applications), "applications belong to it; delete them first"),
            Kind::Application => of_keys(self.keys.iter().filter(|key| key.parent == id).count()),
            Kind::PlanService | Kind::PlanEndpoint | Kind::PlanMethod | Kind::PackageKey => (0, ""),
        };
        if count == 0 { Ok(()) } else { Err(Refusal::conflict(format!("{count} {who}"))) }
    }

    fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Service => self.services.len(),
            Kind::Endpoint => self.endpoints.len(),
            Kind::Method => self.methods.len(),
            Kind::Package => self.packages.len(),
            Kind::Plan => self.plans.len(),
            Kind::PlanService => self.plan_services.len(),
            Kind::PlanEndpoint => self.plan_endpoints.len(),
            Kind::PlanMethod => self.plan_methods.len(),
            Kind::Member => self.members.len(),
            Kind::Application => self.applications.len(),
            Kind::PackageKey => self.keys.len(),
        }
    }

    fn stands(&self, is_there: bool, what: &str) -> Result<(), Refusal> {
        debug_assert!(!self.plans.is_empty(), "only for what is in a plan");
        if is_there { Ok(()) } else { Err(Refusal::property("id", format!("must be {what}"))) }
    }

    fn check_rows(&self) -> Result<(), Refusal> {
        let keys = self.keys_by_plan();
        let of_plan = |service: &Element<_>| keys.get(&*service.parent).map_or(0, Vec::len);
        let rows: usize = self.plan_services.iter().map(of_plan).sum();
        if rows <= ROWS_MAX {
            return Ok(());
        }
        let message = format!(
            "the keys of all plans times the services in their plans make more than {ROWS_MAX} limits; delete some of either"
        );
        Err(Refusal::invalid(message))
    }

    fn check_endpoint(&self, id: &str) -> Result<(), Refusal> {
        let Some(this) = self.endpoints.iter().find(|endpoint| endpoint.id == id) else {
            debug_assert!(false, "the endpoint is among the others");
            return Ok(());
        };
        // Over all services: they share the domains, and a call belongs to one endpoint alone.
        for other in self.endpoints.iter().filter(|endpoint| endpoint.id != id) {
            if let Some(address) = this.of.clash(&other.of) {
                let rule = format!("{address} is taken by the endpoint {} for one of these verbs", other.id);
                return Err(Refusal::property("requestPathAlias", rule));
            }
        }
        Ok(())
    }

    fn check_method(&self, id: &str) -> Result<(), Refusal> {
        let Some(this) = self.methods.iter().find(|method| method.id == id) else {
            debug_assert!(false, "the method is among the others");
            return Ok(());
        };
        let twice =
            self.methods_of(&this.parent).any(|other| other.id != id && other.of.name == this.of.name);
        if twice {
            Err(Refusal::property("name", "is taken by another method of the endpoint"))
        } else {
            Ok(())
        }
    }

    fn check_member(&self, id: &str) -> Result<(), Refusal> {
        let name = self.members.iter().find(|member| member.id == id).map(|member| &member.of.username);
        let twice = self.members.iter().any(|other| other.id != id && Some(&other.of.username) == name);
        if twice { Err(Refusal::property("username", "is taken by another member")) } else { Ok(()) }
    }

    fn check_key(&self, id: &str) -> Result<(), Refusal> {
        let Some(this) = self.keys.iter().find(|key| key.id == id) else {
            debug_assert!(false, "the key is among the others");
            return Ok(());
        };
        match this.of.owner() {
            None => {
                let rule = "must be the id of a service, unless package and plan are given";
                return Err(Refusal::property("service", rule));
            }
            Some(Owner::Service(service)) if !is_there(&self.services, service) => {
                return Err(Refusal::property("service", "must be the id of a service"));
            }
            Some(Owner::Plan { package, .. }) if !is_there(&self.packages, package) => {
                return Err(Refusal::property("package", "must be the id of a package"));
            }
            Some(Owner::Plan { package, plan })
                if !self.plans.iter().any(|known| known.id == plan && known.parent == package) =>
            {
                return Err(Refusal::property("plan", "must be the id of a plan of the package"));
            }
            Some(Owner::Service(_)) => {}
            Some(Owner::Plan { .. }) => self.check_rows()?,
        }
        // Over all services: a call names its key and not the service.
        let twice = self.keys.iter().any(|other| other.id != id && other.of.apikey == this.of.apikey);
        if twice { Err(Refusal::property("apikey", "is taken by another key")) } else { Ok(()) }
    }
}
