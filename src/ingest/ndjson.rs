//! The streamed door: `application/x-ndjson` in, one answer per line out, in order, while lines still arrive.
//!
//! One batch is on its way to the disk while the next is read and decoded; nothing more is read until there is
//! room. The answer stream drives everything: a client that does not read its answers is not read from either.
//!
//! Must not know: what an event means.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http::{HeaderValue, header};
use tokio::task::JoinHandle;

use crate::ingest::batch::{Answers, Feed, closed};
use crate::ingest::decode::OfRequest;
use crate::ingest::intake::Intake;
use crate::problem::{Problem, codes};
use crate::telemetry::EventSource;

/// A stream of lines is ended when nothing arrives for this long while tidegate waits for it.
const IDLE: Duration = Duration::from_secs(30);

/// Answers a streamed request.
pub(super) fn respond(intake: &Intake, body: Body, of_request: OfRequest) -> Response {
    let pump = Pump {
        feed: Feed::new(intake, of_request),
        body: Some(body.into_data_stream().boxed()),
        at_end: false,
        under_way: None,
        last: None,
    };
    let answers = stream::unfold(pump, |mut pump| async move {
        let bytes = pump.next().await?;
        Some((Ok::<_, Infallible>(bytes), pump))
    });
    let mut response = Body::from_stream(answers).into_response();
    let kind = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

struct Pump {
    feed: Feed,
    /// `None` once nothing more is to be read.
    body: Option<BoxStream<'static, Result<Bytes, axum::Error>>>,
    /// The body came to its proper end: an unfinished last line is a line.
    at_end: bool,
    /// The batch on its way to the disk. A task, so that it holds its share only as long as that takes.
    under_way: Option<JoinHandle<Answers>>,
    /// The answer that ends a stream cut short.
    last: Option<Bytes>,
}

impl Pump {
    /// The next answers; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            self.feed.gather(self.at_end);
            let Some(task) = self.under_way.as_mut() else {
                if let Some(batch) = self.feed.batch() {
                    let intake = self.feed.intake().clone();
                    self.under_way = Some(tokio::spawn(batch.hand_in(intake, EventSource::Http)));
                } else if self.body.is_some() {
                    self.read().await;
                } else {
                    return self.last.take();
                }
                continue;
            };
            // A full batch waits for the one before it, so that at most two are in memory.
            if self.body.is_some() && !self.feed.is_full() {
                tokio::select! {
                    // A ready answer goes before further reading: a fast sender cannot delay its own answers.
                    biased;
                    answers = task => return self.answered(answers.unwrap_or_default()),
                    read = read(&mut self.body, self.feed.intake()) => self.took(read),
                }
            } else {
                // The task fails only by a panic, which was counted; its lines stay without an answer.
                let answers = task.await.unwrap_or_default();
                return self.answered(answers);
            }
        }
    }

    fn answered(&mut self, answers: Answers) -> Option<Bytes> {
        self.under_way = None;
        Some(answers.lines)
    }

    async fn read(&mut self) {
        let read = read(&mut self.body, self.feed.intake()).await;
        self.took(read);
    }

    fn took(&mut self, read: BodyPart) {
        match read {
            BodyPart::Bytes(bytes) => self.feed.push(&bytes),
            BodyPart::End => {
                self.at_end = true;
                self.body = None;
            }
            BodyPart::Cut(problem) => {
                // `at_end` stays false: the unfinished last line of a stream that is cut short is no event.
                self.last = Some(self.feed.cut(&problem));
                self.body = None;
            }
        }
    }
}

enum BodyPart {
    Bytes(Bytes),
    End,
    Cut(Box<Problem>),
}

/// One piece of the body. May be dropped and called again.
async fn read(
    body: &mut Option<BoxStream<'static, Result<Bytes, axum::Error>>>,
    intake: &Intake,
) -> BodyPart {
    let Some(body) = body.as_mut() else { return BodyPart::End };
    tokio::select! {
        // A shutdown is noticed even while bytes keep coming.
        biased;
        problem = closed(intake.closing()) => BodyPart::Cut(Box::new(problem)),
        piece = tokio::time::timeout(IDLE, body.next()) => match piece {
            Ok(Some(Ok(bytes))) => BodyPart::Bytes(bytes),
            // The client may still read: it can have ended its own side alone.
            Ok(Some(Err(_))) => BodyPart::Cut(Box::new(incomplete_body())),
            Ok(None) => BodyPart::End,
            Err(_) => BodyPart::Cut(Box::new(body_timeout())),
        },
    }
}

/// The body of a request ended before its end.
pub(super) fn incomplete_body() -> Problem {
    let detail = "the body broke off before its end; what was not read to its end was not kept";
    Problem::of(codes::INCOMPLETE_BODY, detail)
}

/// The body of a request stopped coming.
pub(super) fn body_timeout() -> Problem {
    let detail = "the body stopped coming; send it without long pauses, or in several requests";
    Problem::of(codes::BODY_TIMEOUT, detail)
}
