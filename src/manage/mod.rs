//! The management dialects. Each translates, nothing more: checks of its own members, the shapes of its
//! answers and its codes. Life, storage and matching of policies are the same for all (`policy`).
//!
//! Every dialect is a folder whose files have the same names: `options` (what an operator may set), `objects` (what is
//! stored), `wire` (what is received and sent), `check` (the rules of its members), `derive` (objects to policies, each a
//! [`crate::policy::Spec`]), `routes`, `errors` (its envelope and codes), `says` (how it words the refusal of a call over
//! a limit), `doc` (its part of the API description), `contract.md` (what the system
//! promises its clients, with the sources), `tests`. `adobe` is what the two dialects of Adobe share.
//!
//! Must not know: how limits are kept, what waits in the queue.

pub mod adobe;
mod call;
pub mod capping;
mod dice;
mod doc;
mod late;
pub mod mashery;
pub mod mediarithmics;
pub mod responsys;
#[cfg(test)]
mod testing;
pub mod throttling;

pub use dice::Dice;
