//! The doors for events: HTTP and standard input.
