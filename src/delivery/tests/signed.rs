//! Calls that much is to be signed for give way before they are.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;

use super::{Act, Endpoint, OK, call, ok_head};
use crate::clock::{Clock, Timestamp};
use crate::delivery::{
    Call, CallOptions, Deliver, DeliveryOptions, EgressGuard, HttpDeliverer, SigningSecret,
};

#[tokio::test]
async fn a_call_that_much_is_to_be_signed_for_is_not_signed_in_its_first_poll() {
    let secret = || SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a secret");
    for (secrets, bytes, gives_way) in [(1, 32 * 1024, false), (1, 32 * 1024 + 1, true), (2, 20_000, true)] {
        let clock = Clock::manual(Timestamp::from_millis(784_111_777_000));
        let options = DeliveryOptions {
            egress: EgressGuard::new(&["127.0.0.0/8".parse().expect("net")]),
            ..DeliveryOptions::default()
        };
        let client = HttpDeliverer::new(options, clock.clone()).expect("client");
        let endpoint = Endpoint::start(Act::Say(ok_head("content-length: 0\r\n"))).await;
        let signing = (0..secrets).map(|_| secret()).collect();
        let options = Some(Arc::new(CallOptions { signing, ..CallOptions::default() }));
        let body = Bytes::from(vec![b'x'; bytes]);
        let mut attempt = client.attempt(Call { options, body, ..call(&endpoint.url()) });
        // As the dispatcher begins a call.
        let first = attempt.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(first, Poll::Pending));
        clock.advance(Duration::from_secs(5));
        assert_eq!(attempt.await, OK);
        let heads = endpoint.heads.lock().await;
        let signed_at = if gives_way { 784_111_782 } else { 784_111_777 };
        let wanted = format!("webhook-timestamp: {signed_at}\r\n");
        assert!(heads.first().is_some_and(|head| head.contains(&wanted)), "{secrets} {bytes}: {heads:?}");
    }
}
