//! CloudEvents of the official SDK for Python, handed in and delivered: what arrives is read with the SDK as well.

use std::process::Command;

use crate::clients::{PYTHON, run, source};
use crate::world::{Server, ServerOptions};

#[tokio::test(flavor = "multi_thread")]
async fn cloudevents_arrive_as_they_were_sent_in_every_mode() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&ServerOptions::new(&dir.path().join("data")));
    let base = format!("http://{}", server.addr);
    let told = run(Command::new(&*PYTHON).arg(source("python/cloud.py")).arg(base));
    println!("{}", told.trim());
    assert_eq!(server.stop().code(), Some(0));
}
