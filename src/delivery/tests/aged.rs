//! Connections are given up at the age that is set for their endpoint.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Act, Endpoint, OK, call, ok_head};
use crate::clock::{Clock, Timestamp};
use crate::delivery::{
    Call, CallOptions, Deliver, DeliveryOptions, EgressGuard, HttpDeliverer, TlsFiles, TlsOptions,
};

const AGE: Duration = Duration::from_secs(60);

fn deliverer(clock: &Clock) -> HttpDeliverer {
    let options = DeliveryOptions {
        egress: EgressGuard::new(&["127.0.0.0/8".parse().expect("net")]),
        ..DeliveryOptions::default()
    };
    HttpDeliverer::new(options, clock.clone()).expect("client")
}

/// Renews what has reached its age; returns whether anything had.
fn renew(deliverer: &HttpDeliverer) -> bool {
    let turnover = deliverer.renew(&BTreeSet::from([AGE])).expect("clients");
    turnover.map(|turnover| turnover()).is_some()
}

#[tokio::test]
async fn connections_of_an_endpoint_with_an_age_are_made_anew_and_others_are_kept() {
    let clock = Clock::manual(Timestamp::from_millis(784_111_777_000));
    let deliverer = deliverer(&clock);
    let (aged, plain) = (
        Endpoint::start(Act::Say(ok_head("content-length: 0\r\n"))).await,
        Endpoint::start(Act::Say(ok_head("content-length: 0\r\n"))).await,
    );
    let options = Arc::new(CallOptions { connection_max_age: Some(AGE), ..CallOptions::default() });
    let both = async || {
        let of_age = Call { options: Some(Arc::clone(&options)), ..call(&aged.url()) };
        assert_eq!(deliverer.attempt(of_age).await, OK);
        assert_eq!(deliverer.attempt(call(&plain.url())).await, OK);
        (aged.connections(), plain.connections())
    };
    assert!(renew(&deliverer), "the first one");
    assert_eq!(both().await, (1, 1));
    clock.advance(AGE - Duration::from_millis(1));
    assert!(!renew(&deliverer), "it is young");
    assert_eq!(both().await, (1, 1));
    clock.advance(Duration::from_millis(1));
    assert_eq!(both().await, (1, 1), "the control: nobody has renewed it");
    assert!(renew(&deliverer));
    assert_eq!(both().await, (2, 1));
}

#[tokio::test]
async fn clients_that_were_made_under_an_earlier_guard_are_not_used() {
    let clock = Clock::manual(Timestamp::from_millis(784_111_777_000));
    let deliverer = deliverer(&clock);
    let endpoint = Endpoint::start(Act::Say(ok_head("content-length: 0\r\n"))).await;
    let options = Arc::new(CallOptions { connection_max_age: Some(AGE), ..CallOptions::default() });
    let attempt = async || {
        deliverer.attempt(Call { options: Some(Arc::clone(&options)), ..call(&endpoint.url()) }).await
    };
    let prepared = deliverer.renew(&BTreeSet::from([AGE])).expect("clients").expect("the first one");
    deliverer.under(EgressGuard::new(&[])).expect("client")();
    prepared();
    assert_ne!(attempt().await, OK, "the guard that came meanwhile denies it");
    deliverer.under(EgressGuard::new(&["127.0.0.0/8".parse().expect("net")])).expect("client")();
    assert_eq!(attempt().await, OK, "the control");
}

/// Each endpoint with TLS of its own has connections of its own: one of them reaches its age, the others keep theirs.
#[tokio::test]
async fn each_endpoint_with_tls_of_its_own_keeps_its_connections_for_its_own_age() {
    let clock = Clock::manual(Timestamp::from_millis(784_111_777_000));
    let deliverer = deliverer(&clock);
    let with_tls = |connection_max_age: Option<Duration>| {
        let tls = Some(Arc::new(TlsOptions::new(TlsFiles::default()).expect("nothing is set")));
        Arc::new(CallOptions { tls, connection_max_age, ..CallOptions::default() })
    };
    let endpoint = async || Endpoint::start(Act::Say(ok_head("content-length: 0\r\n"))).await;
    let (ageless, aged, older) = (
        (endpoint().await, with_tls(None)),
        (endpoint().await, with_tls(Some(AGE))),
        (endpoint().await, with_tls(Some(AGE * 2))),
    );
    let all = [&ageless, &aged, &older];
    let each = async || {
        let mut connections = Vec::new();
        for (endpoint, options) in all {
            let call = Call { options: Some(Arc::clone(options)), ..call(&endpoint.url()) };
            assert_eq!(deliverer.attempt(call).await, OK);
            connections.push(endpoint.connections());
        }
        connections
    };
    assert!(renew(&deliverer), "the first one");
    clock.advance(AGE / 2);
    assert_eq!(each().await, [1, 1, 1]);
    clock.advance(AGE / 2);
    assert!(renew(&deliverer), "the clients of that age alone");
    assert_eq!(each().await, [1, 1, 1], "they are young");
    clock.advance(AGE / 2);
    assert_eq!(each().await, [1, 1, 1], "the control: nobody has renewed it");
    assert!(renew(&deliverer));
    assert_eq!(each().await, [1, 2, 1]);
    clock.advance(AGE);
    assert!(renew(&deliverer));
    assert_eq!(each().await, [1, 3, 2]);
}
