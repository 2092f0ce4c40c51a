//! The only room that sees all others: build, spawn, drain.
