//! Dispatch: what is sent next, and what follows an attempt.
