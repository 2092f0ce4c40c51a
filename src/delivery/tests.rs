//! Real sockets on loopback: what the client makes of good and bad endpoints.
