//! Probes, metrics and status for operators.
