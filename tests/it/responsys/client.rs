//! `responsys-client`, a client of others, through all that it can do: its code and its requests are as they are.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::clients::{python_tools, run, source};
use crate::world::{Configured, Receiver, Server};

const CONFIG: &str = r#"
[responsys]
accounts = [
    { name = "other" },
    { name = "acme", users = ["api_user", "nightly"], limits = { retrieveProfileExtensions = 2 }, blocked = [{ user = "nightly", apis = ["retrieveProfileLists"] }] },
]
[manage]
refusals = "dialect"
require_headers = true
"#;

/// Each step of the client, and what comes of it.
const STEPS: [(&str, &str); 16] = [
    ("login, get_profile_lists", "L"),
    ("get_profile_list_extensions", "P"),
    ("merge_profile_list_members", "4094326"),
    ("merge_profile_list_extension_members", "4094326"),
    ("get_supplemental_table_members", "7"),
    ("merge_supplemental_table_members", "4094326"),
    ("get_profile_list_member", "4094326"),
    ("get_extension_table_member", "4094326"),
    ("delete_profile_list_member", "done"),
    ("delete_list_extension_member", "done"),
    ("unsubscribe_list_member", "4094326"),
    ("refresh of the token", "another token"),
    ("second get_profile_list_extensions", "P"),
    ("third, waits and repeats", "API_LIMIT_EXCEEDED"),
    ("a blocked user", "API_BLOCKED"),
    ("what else that user may do", "4094326"),
];

/// Each call that the front saw: method, path below the version, status, and the function that it counted for.
const CALLS: [(&str, &str, u64, &str); 22] = [
    ("POST", "auth/token", 200, ""),
    ("GET", "lists", 200, "retrieveProfileLists"),
    ("GET", "lists/L/listExtensions", 200, "retrieveProfileExtensions"),
    ("POST", "lists/L/members", 200, "mergeListRecipients"),
    ("POST", "lists/L/listExtensions/P/members", 200, "mergeProfileExtensionRecipients"),
    ("GET", "folders/F/suppData/T/members", 200, "retrieveTableRecords"),
    ("POST", "folders/F/suppData/T/members", 200, "mergeTableRecordsWithPk"),
    ("GET", "lists/L/members/", 200, "retrieveListRecipients"),
    ("GET", "lists/L/listExtensions/P/members", 200, "retrieveProfileExtensionRecipients"),
    ("GET", "lists/L/members/", 200, "retrieveListRecipients"),
    ("DELETE", "lists/L/members/4094326", 200, "deleteListRecipientByRiid"),
    ("GET", "lists/L/listExtensions/P/members", 200, "retrieveProfileExtensionRecipients"),
    ("DELETE", "lists/L/listExtensions/P/members/4094326", 200, "deleteProfileExtensionRecipientByRiid"),
    ("POST", "lists/L/members", 200, "mergeListRecipients"),
    ("POST", "auth/token", 200, ""),
    ("GET", "lists", 200, "retrieveProfileLists"),
    ("GET", "lists/L/listExtensions", 200, "retrieveProfileExtensions"),
    ("GET", "lists/L/listExtensions", 429, ""),
    // On 429 it waits and goes on with its token.
    ("GET", "lists/L/listExtensions", 429, ""),
    ("POST", "auth/token", 200, ""),
    ("GET", "lists", 400, ""),
    ("GET", "lists/L/members/", 200, "retrieveListRecipients"),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_others_works_as_it_is_and_keeps_to_the_limits() {
    let world = Configured::new(Receiver::answering(|_| (200, Duration::ZERO)).await);
    world.write(CONFIG);
    let server = Server::start(&world.options);
    let mut client = Command::new(python_tools("responsys"));
    client.arg(source("responsys/use.py")).args([&server.addr.to_string(), &world.receiver.url("")]);
    client.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONWARNINGS", "ignore");
    let told = tokio::task::spawn_blocking(move || run(&mut client)).await.expect("no panic");
    let lines: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let (seen, steps) = lines.split_last().expect("lines");
    for step in steps {
        let text = |name: &str| step[name].as_str().unwrap_or_default().to_owned();
        println!("| {} | {} | {} | {} |", text("client"), text("version"), text("step"), text("result"));
    }
    let results: Vec<_> = steps.iter().map(|step| (&step["step"], &step["result"])).collect();
    let expected = STEPS.map(|(step, result)| (json!(step), json!(result)));
    assert_eq!(results, expected.iter().map(|(step, result)| (step, result)).collect::<Vec<_>>());

    let calls: Vec<Value> = seen["calls"].as_array().expect("a list").clone();
    let expected = CALLS.iter().map(|(method, path, status, function)| {
        let policies: Vec<String> = [*function]
            .iter()
            .filter(|name| !name.is_empty())
            .map(|name| format!("responsys.{name}"))
            .collect();
        json!([method, format!("/rest/api/v1.1/{path}"), status, policies])
    });
    assert_eq!(calls, expected.collect::<Vec<_>>());
    assert_eq!(world.receiver.count(), 16, "what was turned away did not start");
    assert_eq!(server.stop().code(), Some(0));
}
