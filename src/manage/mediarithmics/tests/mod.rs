//! What calls to the API are answered, and what they make active.

mod active;
mod scenarios;
mod spellings;
