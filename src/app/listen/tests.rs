//! Raw sockets against the listener.
