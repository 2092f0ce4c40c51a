//! The vocabulary of metrics and logs.
