//! tidegate: a single-binary event-queue dispatcher with a persistent delay queue.
//!
//! The map of the house. One direction, no back and forth:
//!
//! ```text
//! ingest -> queue -> dispatch -> delivery -> settle        manage -> policy -> limit
//! ```
//!
//! | room | owns | must not know |
//! |---|---|---|
//! | [`clock`] | time | everything else |
//! | [`problem`] | error answers of tidegate's own API | what they are about |
//! | [`event`] | the nouns | how they travel or rest |
//! | [`telemetry`] | names, units and help of metrics; logging | decisions |
//! | [`store`] | durability: journal, index, documents | policies, limits, HTTP |
//! | [`queue`] | acceptance, lanes, read-ahead, settlement | policies, limits, HTTP |
//! | [`policy`] | limit configurations, their life, matching | how limits are kept |
//! | [`limit`] | permits | lanes, entries, sockets |
//! | [`dispatch`] | what is sent next, and what follows an attempt | sockets, files, dialects |
//! | [`config`] | file, environment and flags to one checked value | the other rooms, but the words of [`event`] and [`policy`] |
//! | [`names`] | the addresses of names | which of them may be called, HTTP |
//! | [`delivery`] | one call over the network | the queue, limits |
//! | [`ingest`] | the doors for events | what happens behind the queue |
//! | [`manage`] | the management dialects: translation | how limits are kept |
//! | [`ops`] | probes, status, explanations, operators' verbs | how what it shows comes about |
//! | [`manual`] | the chapters of the manual, as text | everything else |
//! | [`app`] | building, running and draining all of it | |
//! | [`cli`] | one file per subcommand | |

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod dispatch;
pub mod event;
pub mod ingest;
pub mod limit;
pub mod manage;
pub mod manual;
pub mod names;
pub mod ops;
pub mod policy;
pub mod problem;
pub mod queue;
pub mod store;
pub mod telemetry;
