//! All objects together, and the rules that no object can keep alone: how many there are, what must be unique, what must
//! exist.
//!
//! Must not know: how requests and answers look.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::manage::mashery::errors::Refusal;
use crate::manage::mashery::objects::record::{Endpoint, Method, PackageKey, Record, Service};
use crate::manage::mashery::wire::Kind;

/// Every object, each kind in the order of creation.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::manage::mashery) struct Catalogue {
    pub(in crate::manage::mashery) services: Vec<Element<Service>>,
    pub(in crate::manage::mashery) endpoints: Vec<Element<Endpoint>>,
    pub(in crate::manage::mashery) methods: Vec<Element<Method>>,
    pub(in crate::manage::mashery) keys: Vec<Element<PackageKey>>,
}

/// One object with its place among the others.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::manage::mashery) struct Element<T> {
    pub(in crate::manage::mashery) id: String,
    /// The id of what it belongs to; empty for services and keys.
    pub(in crate::manage::mashery) parent: String,
    /// What the object says, in terms of its kind.
    pub(in crate::manage::mashery) of: T,
}

/// Most objects of each kind: the book of all of them is one document.
const fn most(kind: Kind) -> usize {
    match kind {
        Kind::Service => 500,
        Kind::Endpoint => 1_000,
        Kind::Method => 2_000,
        Kind::PackageKey => 10_000,
    }
}

impl Catalogue {
    /// From the stored records by kind. `None` when one was not written by this dialect.
    pub(in crate::manage::mashery) fn read<'b>(
        elements: impl Fn(Kind) -> Vec<(&'b str, &'b Value)>,
    ) -> Option<Self> {
        Some(Self {
            services: read_all(elements(Kind::Service))?,
            endpoints: read_all(elements(Kind::Endpoint))?,
            methods: read_all(elements(Kind::Method))?,
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

    /// The keys of a service, in the order of creation.
    pub(in crate::manage::mashery) fn keys_of(
        &self,
        service: &str,
    ) -> impl Iterator<Item = &Element<PackageKey>> {
        self.keys.iter().filter(move |key| key.of.service.id == service)
    }

    /// Whether an object, which is among the others already, keeps the rules beside them.
    ///
    /// # Errors
    /// 400 with the property that breaks a rule, or with the number of objects that there may be.
    pub(in crate::manage::mashery) fn check(&self, kind: Kind, id: &str) -> Result<(), Refusal> {
        let count = match kind {
            Kind::Service => self.services.len(),
            Kind::Endpoint => self.endpoints.len(),
            Kind::Method => self.methods.len(),
            Kind::PackageKey => self.keys.len(),
        };
        // The object is among them already, so `most` itself is allowed.
        if count > most(kind) {
            let message = format!("there are {} objects of this kind, which is the most", most(kind));
            return Err(Refusal::invalid(message));
        }
        match kind {
            Kind::Service => Ok(()),
            Kind::Endpoint => self.check_endpoint(id),
            Kind::Method => self.check_method(id),
            Kind::PackageKey => self.check_key(id),
        }
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

    fn check_key(&self, id: &str) -> Result<(), Refusal> {
        let Some(this) = self.keys.iter().find(|key| key.id == id) else {
            debug_assert!(false, "the key is among the others");
            return Ok(());
        };
        if !self.services.iter().any(|service| service.id == this.of.service.id) {
            return Err(Refusal::property("service", "must be the id of a service"));
        }
        // Over all services: a call names its key and not the service.
        let twice = self.keys.iter().any(|other| other.id != id && other.of.apikey == this.of.apikey);
        if twice { Err(Refusal::property("apikey", "is taken by another key")) } else { Ok(()) }
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
