//! Permits: the right to start one attempt now, taken from every limit of a lane at once.
//!
//! Must not know: entries, queues, sockets.
