//! wip of the Mashery dialect
mod calls;
mod catalogue;
mod effective;
mod errors;
mod listing;
mod record;
pub mod refusal;
mod shape;
pub mod usage;
mod wire;
