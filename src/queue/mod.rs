//! The queue: acceptance, lanes with their counts, bounded read-ahead, settlement in batches.
//!
//! Must not know: policies, limits, HTTP.
