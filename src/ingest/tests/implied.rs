//! The labels that a call implies: where they stand among the others, what becomes of them.

use serde_json::{Value, json};

use super::http::post_json;
use super::{Door, door};
use crate::event::EventId;
use crate::policy::testing::{id, spec};
use crate::policy::{Origin, Scope, Spec};
use crate::store::record;

/// The test's door reads the labels `account` and `org` from the headers `x-account` and `x-org` of the call.
async fn door_for_accounts() -> Door {
    let door = door().await;
    let by_account =
        Spec { scope: Scope::new(&["account"]).expect("valid"), ..spec("https://accounts.test/*", 5.0) };
    let by_org = Spec { scope: Scope::new(&["org"]).expect("valid"), ..spec("https://orgs.test/*", 5.0) };
    let deploy = door.intake.policies().change(|book| {
        book.put(&Origin::new("test"), &id("accounts"), by_account.clone())?;
        book.put(&Origin::new("test"), &id("orgs"), by_org.clone())
    });
    deploy.await.expect("deploys");
    door
}

async fn post(door: &Door, labels: Value, account: Option<&str>) -> (u16, Value) {
    let mut event = json!({"url": "https://accounts.test/a", "labels": labels});
    if let Some(account) = account {
        event["headers"] = json!({"x-account": account});
    }
    post_json(door, &event.to_string()).await
}

#[tokio::test]
async fn a_call_gives_a_label_that_its_event_lacks_and_keeps_it() {
    let door = door_for_accounts().await;
    let (status, receipt) = post(&door, json!({}), Some("acme")).await;
    assert_eq!((status, &receipt["lane"]), (202, &json!("accounts@1;account=acme;~host=accounts.test:443")));
    let id: EventId = receipt["id"].as_str().expect("an id").parse().expect("valid");
    let entries = door.store.entries.lock().expect("lock");
    let (_, entry) = entries.iter().find(|(known, _)| *known == id).expect("stored");
    assert_eq!(entry.lane.as_str(), "accounts@1;account=acme;~host=accounts.test:443");
    let event = record::decode(&entry.record).expect("readable");
    let labels: Vec<_> = event.labels.iter().collect();
    assert_eq!(labels, [("account", "acme"), ("org", "ACME"), ("sandbox", "prod")]);
}

#[tokio::test]
async fn a_label_of_the_event_goes_before_what_the_call_implies_and_that_before_a_default() {
    let door = door_for_accounts().await;
    for (headers, org) in [(json!({}), "ACME"), (json!({"x-org": "OTHER"}), "OTHER")] {
        let event = json!({"url": "https://orgs.test/a", "headers": headers});
        let (_, receipt) = post_json(&door, &event.to_string()).await;
        assert_eq!(receipt["lane"], format!("orgs@1;org={org};~host=orgs.test:443"));
    }
    let (_, receipt) = post(&door, json!({"account": "own"}), Some("acme")).await;
    assert_eq!(receipt["lane"], "accounts@1;account=own;~host=accounts.test:443");
    let (status, refused) = post(&door, json!({}), None).await;
    assert_eq!((status, &refused["code"]), (422, &json!("unmatched")), "the control");
}

#[tokio::test]
async fn a_call_whose_label_cannot_be_one_is_refused() {
    let door = door_for_accounts().await;
    let (status, refused) = post(&door, json!({}), Some(&"x".repeat(257))).await;
    assert_eq!((status, &refused["code"]), (422, &json!("invalid_event")));
    let detail = refused["detail"].as_str().expect("text");
    assert!(detail.contains("\"account\"") && detail.contains("give the label with the event"), "{detail}");
    assert_eq!(door.store.len(), 0);
}
