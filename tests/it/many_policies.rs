//! Ten thousand policies in the configuration file: the daemon starts with them, each of them governs its own calls, and
//! while they rest they take little memory.

use std::time::Duration;

use serde_json::json;

use crate::world::{Configured, Receiver, Server, alone, eventually};

const POLICIES: usize = 10_000;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_policies_of_the_file_start_soon_and_govern_their_calls() {
    let _alone = alone().await;
    let world = Configured::new(Receiver::start().await);
    let below = |n: usize, end: &str| world.receiver.url(&format!("/{n}/{end}"));
    let block = |n| format!("[[policy]]\nname = \"p{n}\"\nurl = \"{}\"\npace = 200\n", below(n, "*"));
    let blocks: String = (0..POLICIES).map(block).collect();
    world.write(&format!("[manage]\nmax_policies_per_dialect = {POLICIES}\n{blocks}"));
    let mut sent = 0;
    for way in ["without a book", "with a book"] {
        let server = Server::start(&world.options);
        let api = server.api();
        for n in [0, 7, 77, 7_777, POLICIES - 1] {
            let (status, answer) = api.json("POST", "/v1/events", &json!({"url": below(n, "x")})).await;
            assert_eq!((status, &answer["policies"]), (202, &json!([format!("p{n}")])), "{way}: {answer}");
            sent += 1;
        }
        let (status, answer) = api.json("POST", "/v1/events", &json!({"url": below(POLICIES, "x")})).await;
        assert_eq!(status, 422, "{way}, the control: {answer}");
        eventually("all arrive", Duration::from_secs(20), async || world.receiver.count() == sent).await;
        let resident_bytes = server.resident_bytes();
        println!("{way}: {resident_bytes} bytes");
        assert_eq!(server.stop().code(), Some(0), "{way}");
    }
}
