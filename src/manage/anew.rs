//! What a start does about policies that another version derived from the same objects.
//!
//! Must not know: any one dialect, which version that was.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::manage::all;
use crate::manage::desk::activate;
use crate::policy::{Book, Policies, SyncReport};

/// Makes the policies of every dialect those that this version derives from its objects, those of one dialect with one
/// change or not at all. To be called at each start: which version derived what the book has is not on record, and where
/// nothing differs nothing is written.
///
/// A policy that differs goes on in its generation with what was used of it, and one that drains does not change. Nothing
/// ends by this: where an object cannot be read or a policy would end, the dialect keeps the policies that it has until one
/// of its objects is changed, and the log says so.
pub(crate) async fn derive_anew(policies: &Policies, now: Timestamp, drain_window: Duration) {
    for dialect in all() {
        let edit = |book: &mut Book| {
            let report = activate(*dialect, book, now, drain_window).map_err(|error| error.to_string())?;
            // A start must not end what an earlier version kept active: an operator decides that with a change.
            match report.removed.first() {
                Some(policy) => Err(format!("the policy {policy} would end")),
                None => Ok(report),
            }
        };
        let dialect = dialect.name();
        match policies.change(edit).await {
            Ok(report) if report.is_empty() => {}
            Ok(SyncReport { added, changed, .. }) => {
                let (added, changed) = (added.len(), changed.len());
                tracing::info!(dialect, added, changed, "policies are derived as this version does it");
            }
            Err(error) => tracing::warn!(
                dialect,
                %error,
                "policies are kept as an earlier version derived them, until an object of the dialect is changed"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::clock::Clock;
    use crate::policy::testing::{TestDocuments, id};
    use crate::policy::{DRAIN_WINDOW, Origin};

    const START: Timestamp = Timestamp::from_millis(1_795_995_448_500);

    async fn opened(documents: &Arc<TestDocuments>) -> Policies {
        Policies::open(documents.clone(), Clock::manual(START)).await.expect("readable")
    }

    async fn started(documents: &Arc<TestDocuments>) -> Policies {
        let policies = opened(documents).await;
        derive_anew(&policies, START, DRAIN_WINDOW).await;
        policies
    }

    fn stored(documents: &TestDocuments) -> (u64, Value) {
        let (version, body) = documents.body("policies").expect("stored");
        (version, serde_json::from_slice(&body).expect("JSON"))
    }

    /// A book with an account of Responsys and a throttling of mediarithmics, as `change` leaves what is derived from them.
    async fn book(change: impl Fn(&mut Value)) -> Arc<TestDocuments> {
        let documents = Arc::new(TestDocuments::default());
        let policies = opened(&documents).await;
        let throttling = json!({"plugin_id": "17", "version_id": "1502", "throttling": {
            "scope": "GLOBAL", "throttling_key": null, "plugin_endpoint": "/v1/x", "max_qps": 2, "max_concurrency": null,
            "timeout_ms": null,
        }});
        let edit = |book: &mut Book| {
            let account = json!({"name": "acme", "limits": {}, "blocked": []});
            book.put_element(&Origin::new("responsys"), "account", "acme", account);
            book.put_element(&Origin::new("mediarithmics"), "throttling", "1001", throttling.clone());
            Ok::<(), std::convert::Infallible>(())
        };
        policies.change(edit).await.expect("stored");
        derive_anew(&policies, START, DRAIN_WINDOW).await;
        let (_, mut book) = stored(&documents);
        for policy in book["policies"].as_array_mut().expect("a list") {
            change(policy);
        }
        documents.set("policies", book.to_string());
        documents
    }

    /// As a version before wrote them: other names, no config, another place of calls; in the third generation while the
    /// second one drains.
    fn older(policy: &mut Value) {
        let ruling = policy["ruling"].as_object_mut().expect("active");
        ruling.remove("title");
        ruling.remove("config");
        ruling["clauses"][0]["pattern"] = json!("https://h.test/*");
        policy["generations"] = json!([
            {"number": 2, "draining_until_ms": (START + DRAIN_WINDOW).as_millis()},
            {"number": 3, "draining_until_ms": null},
        ]);
        policy["next_generation"] = json!(4);
    }

    #[tokio::test]
    async fn what_another_version_derived_is_derived_anew_in_the_same_generations() {
        let documents = book(older).await;
        let before = opened(&documents).await;
        let policies = started(&documents).await;
        let fresh = started(&book(|_| {}).await).await;
        let mut seen = 0;
        for (id, policy) in policies.book().after(None) {
            let (was, fresh) = (before.book(), fresh.book());
            let (was, fresh) = (was.known(id).expect("there"), fresh.known(id).expect("there"));
            assert_eq!(policy.lifecycle(), was.lifecycle(), "{id}: no generation begins or ends");
            assert_eq!(policy.ruling(), fresh.ruling(), "{id}: as this version derives it");
            assert_ne!(policy.ruling(), was.ruling(), "{id}: the control");
            seen += 1;
        }
        assert_eq!(seen, 91);
        let one = policies.runtime();
        let spec = &one.get(&id("mics.1001")).expect("active").spec;
        assert_eq!((spec.title.as_deref(), spec.config.as_deref()), (Some("/v1/x"), Some("1001")));
        // And at the next start nothing differs, so that nothing is written.
        let (version, _) = stored(&documents);
        started(&documents).await;
        assert_eq!(stored(&documents).0, version);
    }

    #[tokio::test]
    async fn a_dialect_with_an_object_that_cannot_be_read_keeps_all_its_policies() {
        let documents = book(older).await;
        let (_, mut book) = stored(&documents);
        let elements = book["elements"].as_array_mut().expect("a list");
        let account = elements.iter_mut().find(|element| element["kind"] == "account").expect("there");
        account["record"] = json!(7);
        documents.set("policies", book.to_string());
        let before = opened(&documents).await;
        let policies = started(&documents).await;
        for (id, policy) in policies.book().after(None) {
            let was = before.book().known(id).expect("there").clone();
            let is_kept = policy.origin().as_str() == "responsys";
            assert_eq!(*policy == was, is_kept, "{id}");
        }
    }

    #[tokio::test]
    async fn nothing_ends_that_an_earlier_version_kept_active() {
        let documents = book(older).await;
        let (_, mut book) = stored(&documents);
        let policies = book["policies"].as_array_mut().expect("a list");
        let mut strange = policies.iter().find(|policy| policy["id"] == "mics.1001").expect("there").clone();
        strange["id"] = json!("mics.1002");
        policies.push(strange);
        documents.set("policies", book.to_string());
        let before = opened(&documents).await.runtime();
        let changed = started(&documents).await.runtime().diff(&before);
        let of_mics = |change: &crate::policy::PolicyChange| format!("{change:?}").contains("mics.");
        assert_eq!((changed.len(), changed.iter().any(of_mics)), (90, false));
    }

    #[tokio::test]
    async fn books_of_every_format_keep_what_is_of_no_dialect() {
        for body in [
            include_str!("../policy/fixtures/book-v1.json"),
            include_str!("../policy/fixtures/book-v2.json"),
            include_str!("../policy/fixtures/book-v3.json"),
            include_str!("../policy/fixtures/book-v4.json"),
            include_str!("../policy/fixtures/book-v5.json"),
            include_str!("../policy/fixtures/book-v6.json"),
        ] {
            let documents = Arc::new(TestDocuments::default());
            documents.set("policies", body);
            let before = opened(&documents).await;
            let policies = started(&documents).await;
            assert_eq!(policies.runtime().diff(&before.runtime()), []);
            assert_eq!(*policies.book(), *before.book());
        }
    }
}
