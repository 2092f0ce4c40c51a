//! Proxies that are away or silent: the endpoint was not reached, and is not blamed.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::{call, unprocessed};
use crate::clock::{Clock, Timestamp};
use crate::delivery::{
    Call, CallOptions, Deadlines, Deliver, DeliveryOptions, EgressGuard, HttpDeliverer, ProxyOptions,
};
use crate::event::{Cause, Outcome};

/// Takes connections and reads what comes, and never answers.
async fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move { stream.read_to_end(&mut Vec::new()).await });
        }
    });
    address.to_string()
}

async fn attempt(url: &str, proxy: Option<&str>) -> Outcome {
    let options = DeliveryOptions {
        egress: EgressGuard::new(&["127.0.0.0/8".parse().expect("net")]),
        deadlines: Deadlines { connect: Duration::from_millis(300), ..Deadlines::default() },
        ..DeliveryOptions::default()
    };
    let clock = Clock::manual(Timestamp::from_millis(784_111_777_000));
    let client = HttpDeliverer::new(options, clock).expect("client");
    let proxy =
        proxy.map(|at| Arc::new(ProxyOptions::new(&format!("http://{at}"), None, false).expect("valid")));
    let options = Some(Arc::new(CallOptions { proxy, ..CallOptions::default() }));
    client.attempt(Call { options, ..call(url) }).await
}

#[tokio::test]
async fn a_proxy_that_is_away_or_silent_is_no_failure_of_the_endpoint() {
    let silent = silent().await;
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let refused = gone.local_addr().expect("address").to_string();
    drop(gone);
    for url in [format!("http://{silent}/"), format!("https://{silent}/")] {
        for proxy in [&*silent, &*refused, "proxy.invalid:3128"] {
            assert_eq!(attempt(&url, Some(proxy)).await, unprocessed(Cause::Connect), "{url} {proxy}");
        }
    }
    // The controls: what the endpoint itself does is still said of it.
    assert_eq!(attempt(&format!("https://{silent}/"), None).await, unprocessed(Cause::Timeout));
    let outcome = attempt("http://endpoint.invalid/", Some(&silent)).await;
    assert!(matches!(outcome, Outcome::Unprocessed { cause: Cause::Dns(_) | Cause::Timeout }), "{outcome:?}");
}
