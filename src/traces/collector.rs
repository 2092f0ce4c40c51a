//! One export: a request to the collector, and what its answer means.
//!
//! Must not know: which spans, when to export again.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use reqwest::{Client, Response, Url, redirect, retry};

use super::TracesError;
use super::spans::rejected;
use crate::event::CanonicalUrl;

/// The longest for one export, as OTLP has it.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Below the time after which common servers close an unused connection.
const POOL_IDLE: Duration = Duration::from_secs(4);
/// The longest answer that is read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// The longest file of headers that is read, in bytes.
const MAX_HEADERS_BYTES: usize = 64 * 1024;
/// The longest that a collector may ask for a pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The address that takes exports, and the client that sends them.
pub(super) struct Collector {
    client: Client,
    url: Url,
    headers: HeaderMap,
}

/// Why an export failed, and whether it may be repeated.
#[derive(Debug)]
pub(super) struct ExportFailure {
    /// A short fact, without the address.
    pub(super) reason: String,
    /// The same export may be taken later.
    pub(super) may_heal: bool,
    /// How long the collector asked to be left alone.
    pub(super) retry_after: Option<Duration>,
}

impl Collector {
    pub(super) fn new(endpoint: &CanonicalUrl, headers_file: Option<&Path>) -> Result<Self, TracesError> {
        let headers = headers_file.map(headers_of).transpose()?.unwrap_or_default();
        let mut url = endpoint.as_url().clone();
        // An http address always has segments.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["v1", "traces"]);
        }
        let client = Client::builder()
            .no_proxy()
            // The headers may be credentials of this one address.
            .redirect(redirect::Policy::none())
            // The exporter repeats by itself, and counts its tries.
            .retry(retry::never())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(EXPORT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(1)
            .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| TracesError::Client { reason: error.to_string() })?;
        Ok(Self { client, url, headers })
    }

    /// Hands in one export; returns how many of its spans the collector did not want.
    pub(super) async fn export(&self, body: Bytes) -> Result<u64, ExportFailure> {
        let request = self
            .client
            .post(self.url.clone())
            .headers(self.headers.clone())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .body(body);
        let response = request.send().await.map_err(|error| broken(&error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(refused(status, response.headers()));
        }
        Ok(rejected(&read(response).await?))
    }
}

/// Reads the answer up to its end or its bound: the spans are taken, whichever answer it is.
async fn read(mut response: Response) -> Result<Vec<u8>, ExportFailure> {
    let mut answer = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(&error))? {
        if answer.len() + chunk.len() > MAX_ANSWER_BYTES {
            break;
        }
        answer.extend_from_slice(&chunk);
    }
    Ok(answer)
}

fn broken(error: &reqwest::Error) -> ExportFailure {
    let reason = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke"
    };
    ExportFailure { reason: reason.to_owned(), may_heal: true, retry_after: None }
}

/// OTLP names the statuses after which the same export may be sent again.
fn refused(status: StatusCode, headers: &HeaderMap) -> ExportFailure {
    let retry_after = headers.get(RETRY_AFTER).and_then(|seconds| seconds.to_str().ok()?.parse().ok());
    ExportFailure {
        reason: format!("the collector answered {}", status.as_u16()),
        may_heal: matches!(status.as_u16(), 429 | 502 | 503 | 504),
        retry_after: retry_after.map(|seconds| Duration::from_secs(seconds).min(LONGEST_PAUSE)),
    }
}

/// Reads lines `name: value`; empty ones and those that begin with `#` are passed over.
fn headers_of(path: &Path) -> Result<HeaderMap, TracesError> {
    let wrong = |reason: String| TracesError::HeadersFile { path: path.to_owned(), reason };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| wrong(error.to_string()))?;
    file.take(MAX_HEADERS_BYTES as u64 + 1)
        .read_to_string(&mut text)
        .map_err(|error| wrong(error.to_string()))?;
    if text.len() > MAX_HEADERS_BYTES {
        return Err(wrong(format!("is longer than {MAX_HEADERS_BYTES} bytes")));
    }
    let mut headers = HeaderMap::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        if line.starts_with('#') {
            continue;
        }
        let header = line.split_once(':').and_then(|(name, value)| {
            let name = HeaderName::try_from(name.trim()).ok()?;
            let mut value = HeaderValue::try_from(value.trim()).ok()?;
            // It may be a credential, which `Debug` must not show.
            value.set_sensitive(true);
            Some((name, value))
        });
        let Some((name, value)) = header else {
            return Err(wrong(format!("line {} is not `name: value`", at + 1)));
        };
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn headers(text: &str) -> Result<HeaderMap, String> {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        headers_of(file.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_file_of_headers_is_read_line_by_line_and_never_shown() {
        let read = headers("# for the collector\n\nAuthorization: Bearer a:b\nx-org:  7 \n").expect("good");
        assert_eq!(
            (&read["authorization"], &read["x-org"]),
            (&"Bearer a:b".parse().expect("a value"), &"7".parse().expect("a value"))
        );
        assert!(read.values().all(HeaderValue::is_sensitive));
        for (text, line) in [("Bearer secret", 1), ("a: 1\n: secret", 2), ("a: \u{7}secret", 1)] {
            let told = headers(text).expect_err("wrong");
            assert!(told.contains(&format!("line {line} is not")) && !told.contains("secret"), "{told}");
        }
        assert!(headers(&"#\n".repeat(40_000)).is_err_and(|told| told.contains("is longer than 65536")));
        assert!(headers_of(Path::new("/nonexistent")).is_err());
    }

    #[test]
    fn only_what_the_protocol_says_is_sent_again() {
        let failure = |status: u16| {
            let headers = [(RETRY_AFTER, HeaderValue::from(90))].into_iter().collect();
            refused(StatusCode::from_u16(status).expect("a status"), &headers)
        };
        for (status, may_heal) in [(400, false), (401, false), (404, false), (500, false), (307, false)] {
            assert_eq!(failure(status).may_heal, may_heal, "{status}");
        }
        for status in [429, 502, 503, 504] {
            assert!(failure(status).may_heal, "{status}");
            assert_eq!(failure(status).retry_after, Some(LONGEST_PAUSE));
        }
    }
}
