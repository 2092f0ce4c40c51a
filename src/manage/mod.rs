//! The management dialects. Each translates, nothing more.
