//! The demo as a client of the doors: it deploys a limit and hands in events, as anybody would.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use serde_json::json;

use crate::cli::client::{Client, refusal};
use crate::cli::exit::Failure;
use crate::clock::{Clock, Timestamp};

/// Lines that are handed over as one piece of the body.
const CHUNK_LINES: u64 = 500;

/// What was handed in, and how long that took.
pub(super) struct DemoFeed {
    /// When each accepted event was sent to the door, by its id.
    pub(super) accepted: HashMap<String, Timestamp>,
    /// From the first line to the last answer.
    pub(super) took: Duration,
}

#[derive(Deserialize)]
struct Created {
    uid: String,
}

#[derive(Deserialize)]
struct DemoAnswer {
    line: u64,
    id: Option<String>,
    detail: Option<String>,
}

/// Creates a throttling config for everything under `target` and deploys it.
pub(super) async fn deploy(client: &mut Client, target: &str, rate: u32) -> Result<(), Failure> {
    let config = json!({
        "name": "demo",
        "urlPattern": format!("{target}/*"),
        "methods": ["POST"],
        "maxThroughput": rate,
    });
    const CONFIGS: &str = "/authoring/throttlingConfigs";
    let (status, answer) = client.call(Method::POST, CONFIGS, Some(&config)).await?;
    let created: Created = serde_json::from_slice(&answer)
        .map_err(|_| refusal("the throttling config was not created", status, &answer))?;
    let path = format!("{CONFIGS}/{}/deploy", created.uid);
    let (status, answer) = client.call(Method::POST, &path, None).await?;
    if status.is_success() {
        return Ok(());
    }
    Err(refusal("the throttling config was not deployed", status, &answer))
}

/// Hands in `events` orders as one stream of lines and reads the answers as they come.
pub(super) async fn enqueue(
    client: &mut Client,
    clock: &Clock,
    target: &str,
    events: u64,
) -> Result<DemoFeed, Failure> {
    let began = clock.now();
    let chunks_sent_at: Arc<Mutex<Vec<Timestamp>>> = Arc::default();
    let chunks = {
        let (clock, target, sent_at) = (clock.clone(), target.to_owned(), chunks_sent_at.clone());
        (0..events.div_ceil(CHUNK_LINES)).map(move |chunk| {
            sent_at.lock().unwrap_or_else(PoisonError::into_inner).push(clock.now());
            let numbers = chunk * CHUNK_LINES..((chunk + 1) * CHUNK_LINES).min(events);
            Ok(Bytes::from(numbers.map(|number| line(&target, number)).collect::<String>()))
        })
    };
    let mut answers = client.enqueue(futures_util::stream::iter(chunks), None).await?;
    let mut accepted = HashMap::with_capacity(usize::try_from(events).unwrap_or(0));
    while let Some(line) = answers.next().await? {
        let answer: DemoAnswer = serde_json::from_slice(&line).map_err(|error| {
            Failure::new(format!("not an answer of tidegate: {error}: {}", String::from_utf8_lossy(&line)))
        })?;
        let Some(id) = answer.id else {
            let detail = answer.detail.unwrap_or_default();
            return Err(Failure::new(format!("event {} was refused: {detail}", answer.line)));
        };
        // The number of the line leads to the chunk in which it went out.
        let chunk = usize::try_from(answer.line.saturating_sub(1) / CHUNK_LINES).unwrap_or(usize::MAX);
        let sent_at = chunks_sent_at.lock().unwrap_or_else(PoisonError::into_inner).get(chunk).copied();
        accepted.insert(id, sent_at.unwrap_or(began));
    }
    Ok(DemoFeed { accepted, took: clock.now().since(began) })
}

fn line(target: &str, number: u64) -> String {
    let event = json!({
        "url": format!("{target}/{number}"),
        "method": "POST",
        "headers": { "accept": "application/json" },
        "body": { "order": number, "customer": format!("c-{:05}", number % 977), "state": "paid" },
    });
    format!("{event}\n")
}
