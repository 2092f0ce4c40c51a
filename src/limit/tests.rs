//! The promises of the whole room.
