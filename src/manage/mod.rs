//! The management dialects. Each translates, nothing more: checks of its own members, the shapes of its
//! answers and its codes. Life, storage and matching of policies are the same for all (`policy`), and so is the way in which
//! a change of objects becomes one of policies (`desk`).
//!
//! Every dialect implements [`Dialect`] and is in the list of [`all`]; nothing outside this room names one. It is a folder
//! whose files have the same names: `options` (what an operator may set), `objects` (what is stored), `wire` (what is
//! received and sent), `check` (the rules of its members), `derive` (objects to policies, each a
//! [`crate::policy::Spec`]), `routes`, `errors` (its envelope and codes), `says` (how it words the refusal of a call over
//! a limit), `hears` (how its endpoints say that they are busy), `implies` (which labels a call has without them being
//! given), `usage` (headers on the use of limits), `doc` (its part of the API description), `contract.md` (what the system
//! promises its clients, with the sources), `tests`. `adobe` is what the two dialects of Adobe share.
//!
//! A new dialect is a folder; a module, a member of [`Options`] and a place in the list [`all`] here; and its section of
//! the configuration.
//!
//! Must not know: how limits are kept, what waits in the queue, where the values of options come from.

pub(crate) mod adobe;
mod anew;
mod call;
pub(crate) mod capping;
mod desk;
mod dialect;
mod dice;
mod doc;
mod implied;
mod late;
pub(crate) mod mashery;
pub(crate) mod mediarithmics;
mod place;
pub(crate) mod responsys;
mod sources;
#[cfg(test)]
mod testing;
pub(crate) mod throttling;

use std::sync::Arc;

use crate::delivery::Hears;
use crate::event::PolicyId;
use crate::problem::RefusalRenderer;

pub(crate) use anew::derive_anew;
pub(crate) use dialect::{Dialect, Listed, Parts, Usage, Used};
pub(crate) use dice::Dice;
pub(crate) use implied::implied;
pub(crate) use place::Place;
pub(crate) use sources::{carried, headers as label_headers, source_of, table as label_table};

/// What an operator may set about each dialect. The configuration is parsed into it; the default is what the contracts
/// document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// Options of Adobe's Throttling API (`throttlingConfigs`).
    pub throttling: throttling::ThrottlingOptions,
    /// Options of Adobe's Capping API (`endpointConfigs`).
    pub capping: capping::CappingOptions,
    /// Options of Mashery's call limiting under `/v3/rest`.
    pub mashery: mashery::MasheryOptions,
    /// Of the throttlings of mediarithmics' plugins.
    pub mediarithmics: mediarithmics::MediarithmicsOptions,
    /// Options of Responsys' throttling limits and accounts.
    pub responsys: responsys::ResponsysOptions,
}

/// Every dialect. The order decides between forms of policy names that two of them use, and who is asked first what an
/// endpoint says.
#[must_use]
pub(crate) fn all() -> &'static [&'static dyn Dialect] {
    const ALL: &[&dyn Dialect] = &[
        &throttling::Throttling,
        &capping::Capping,
        &mashery::Mashery,
        &mediarithmics::Mediarithmics,
        &responsys::Responsys,
    ];
    ALL
}

/// The labels that some dialect looks at.
#[must_use]
pub(crate) fn labels() -> Vec<&'static str> {
    all().iter().flat_map(|dialect| dialect.labels()).copied().collect()
}

/// Everyone who understands what endpoints say.
#[must_use]
pub fn hears() -> Arc<[&'static dyn Hears]> {
    all().iter().filter_map(|dialect| dialect.hears()).collect()
}

/// Speaks for the dialects whose limits turn calls away.
#[must_use]
pub(crate) fn tell(options: &Options, random: fastrand::Rng) -> RefusalRenderer {
    let dice = Dice::new(random);
    let speakers: Vec<_> =
        all().iter().filter_map(|dialect| Some((dialect.name(), dialect.says(options, &dice)?))).collect();
    Arc::new(move |refused| {
        // An origin without a speaker, such as the file and the API, has tidegate's own words.
        let (_, says) = speakers.iter().find(|(name, _)| *name == refused.origin)?;
        let told = says(refused);
        debug_assert!(told.is_some(), "a dialect has words for the codes that its policies carry");
        told
    })
}

/// Which dialect gives policies names of this form. The configuration file may have them all the same, as it always could.
#[must_use]
pub(crate) fn owner_of_form(id: &PolicyId) -> Option<&'static str> {
    all().iter().find(|dialect| dialect.names(id)).map(|dialect| dialect.name())
}

#[cfg(test)]
mod tests;
