//! The management dialects. Each translates, nothing more: checks of its own members, the shapes of its
//! answers and its codes. Life, storage and matching of policies are the same for all (`policy`).
//!
//! Every dialect is a folder of the same shape: `wire` (what is sent), `record` (what is stored), `map`
//! (both to and from a [`crate::policy::Spec`]), `errors` (its envelope and codes), `routes`. `adobe` is what the two
//! of Adobe share.
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
pub mod throttling;

pub use dice::Dice;
