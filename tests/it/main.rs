//! The whole binary over real sockets, files and kills.

mod basics;
mod crash;
mod order;
mod power;
mod recovery;
mod world;
