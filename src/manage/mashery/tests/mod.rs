//! What calls to the API are answered, and what they make active.

mod active;
mod plans;
mod routing;
mod rpc;
mod scenarios;
mod spellings;
