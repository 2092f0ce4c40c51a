//! The whole binary over real sockets, files and kills.

#![expect(clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod adobe;
mod api_doc;
mod basics;
mod busy;
mod clock;
mod connections;
mod crash;
mod damage;
mod doors;
mod doubts;
mod faults;
mod figures;
mod full_index;
mod half_closed;
mod held;
mod hosts;
mod limits;
mod managed;
mod mashery;
mod media_types;
mod mediarithmics;
mod memory;
mod names;
mod order;
mod outputs;
mod policies;
mod power;
mod privacy;
mod process;
mod read_only;
mod recovery;
mod reload;
mod responsys;
mod rollback;
mod shortage;
mod slow_disk;
mod strict;
mod unread;
mod upgrade;
mod world;
