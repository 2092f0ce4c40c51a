//! An older copy of the data directory, with and without a file of the epoch.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::world::{Receiver, Server, ServerOptions, eventually};

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp");
    assert!(done.success());
}

fn verify(data_dir: &Path, arguments: &[String]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["store", "verify", "--data-dir"]).arg(data_dir).args(arguments);
    let output = command.current_dir(data_dir.parent().expect("a parent")).output().expect("the program");
    String::from_utf8(output.stdout).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_live_store_that_is_restored_later_starts_held_until_it_is_accepted() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut options = ServerOptions::new(&dir.path().join("data"));
    let config = dir.path().join("with-epoch.toml");
    let text = format!("[store]\nepoch_file = \"{}\"\n", dir.path().join("epoch-of-data").display());
    std::fs::write(&config, text).expect("writes");
    options.args = vec!["--config".to_owned(), config.display().to_string()];
    let receiver = Receiver::start().await;
    let server = Server::start(&options);
    let api = server.api();
    api.deploy_throttling(&receiver.url("/*"), 200).await;
    let backup = dir.path().join("backup");
    copy(&options.data_dir, &backup);
    assert_eq!(api.enqueue(&receiver.url("/x"), 0..10).await.len(), 10);
    eventually("all arrive", Duration::from_secs(10), async || receiver.count() == 10).await;
    assert_eq!(server.stop().code(), Some(0));
    std::fs::remove_dir_all(&options.data_dir).expect("deletes");
    copy(&backup, &options.data_dir);

    let without = verify(&options.data_dir, &[]);
    assert!(!without.contains("older copy"), "the control: {without}");
    let found = verify(&options.data_dir, &options.args);
    assert!(found.contains("older copy") && found.ends_with("DAMAGED\n"), "{found}");
    let server = Server::start(&options);
    let log = server.log().join("\n");
    assert!(log.contains("older copy") && log.contains("--accept-rollback"), "{log}");
    assert_eq!(server.api().get("/readyz").await.0, 503);
    let event = serde_json::json!({"url": receiver.url("/x"), "body": {"n": 10}});
    let (status, answer) = server.api().json("POST", "/v1/events", &event).await;
    assert_eq!((status.into(), answer["code"].as_str()), (503_u32, Some("store_held")), "{answer}");
    assert_eq!(server.stop().code(), Some(0));
    let mut accepting = options.clone();
    accepting.args.push("--accept-rollback".to_owned());
    let server = Server::start(&accepting);
    assert_eq!(server.api().enqueue(&receiver.url("/x"), 11..12).await.len(), 1);
    assert_eq!(server.stop().code(), Some(0));
    let server = Server::start(&options);
    assert_eq!(server.api().get("/readyz").await.0, 200, "the control: the newest one is not held");
    assert_eq!(server.stop().code(), Some(0));
}
