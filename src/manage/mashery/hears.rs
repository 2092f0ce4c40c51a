//! How a Mashery gateway says that a limit turns a call away (contract.md 2): `X-Mashery-Error-Code` with
//! `Retry-After` in seconds. Its customers may put other statuses in front; a 403 mostly is no limit.
//!
//! Must not know: what is done about it.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use crate::clock::Timestamp;
use crate::delivery::{Hears, Words, retry_after, until_edge};
use crate::event::{Said, Wait};
use crate::manage::mashery::Mashery;
use crate::manage::mashery::says::{Code, ERROR_CODE};

/// Too many calls per second of one key.
const DEVELOPER_OVER_QPS: Said = Said { code: Code::DeveloperOverQps.as_str(), label: "developer_over_qps" };
/// The quota of one key is used up.
const DEVELOPER_OVER_RATE: Said =
    Said { code: Code::DeveloperOverRate.as_str(), label: "developer_over_rate" };
/// Too many calls per second of all keys.
const SERVICE_OVER_QPS: Said = Said { code: Code::ServiceOverQps.as_str(), label: "service_over_qps" };

/// What a gateway counts per second has room again after one.
const SECOND: Duration = Duration::from_secs(1);
/// The shortest period of a quota.
const MINUTE: Duration = Duration::from_secs(60);

impl Hears for Mashery {
    fn words(&self) -> Words {
        Words { waits: &[DEVELOPER_OVER_QPS, DEVELOPER_OVER_RATE, SERVICE_OVER_QPS], denials: &[] }
    }

    fn headers(&self) -> &'static [&'static str] {
        &["x-mashery-error-code"]
    }

    fn head(&self, _: StatusCode, headers: &HeaderMap, wall: Timestamp) -> Option<Wait> {
        let code = headers.get(ERROR_CODE)?.to_str().ok()?.trim();
        // Any other code, such as that of an inactive key, is no limit: the status decides.
        let said = self.words().waits.iter().find(|said| code.eq_ignore_ascii_case(said.code))?;
        // A quota ends with its period; the shortest one is a minute.
        let usual = if *said == DEVELOPER_OVER_RATE { until_edge(wall, MINUTE) } else { SECOND };
        Some(Wait::new(*said, retry_after(headers, wall).unwrap_or(usual)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::testing::{TO_MINUTE_MS, reject, retry, told, wait};
    use crate::event::Outcome;

    const ERROR_CODE: &str = "x-mashery-error-code";
    const QPS: (&str, &str) = (ERROR_CODE, "ERR_403_DEVELOPER_OVER_QPS");
    const SERVICE: (&str, &str) = (ERROR_CODE, "ERR_403_SERVICE_OVER_QPS");
    const RATE: (&str, &str) = (ERROR_CODE, "ERR_403_DEVELOPER_OVER_RATE");

    #[test]
    fn the_header_that_is_heard_is_named() {
        assert_eq!(Mashery.headers(), [super::ERROR_CODE.as_str()]);
    }

    #[test]
    fn a_mashery_gateway_is_known_by_its_header_whatever_the_status() {
        let xml = ("content-type", "text/xml");
        for status in [400, 403, 429, 500, 503, 596] {
            let body = "<h1>Developer Over Qps</h1>";
            assert_eq!(told(status, &[QPS, xml], body), wait(DEVELOPER_OVER_QPS, 1_000), "{status}");
        }
        for (head, expected) in [
            (&[QPS, ("retry-after", "1")][..], wait(DEVELOPER_OVER_QPS, 1_000)),
            (&[QPS, ("retry-after", "3")], wait(DEVELOPER_OVER_QPS, 3_000)),
            (&[QPS, ("retry-after", "0")], wait(DEVELOPER_OVER_QPS, 100)),
            (&[QPS, ("retry-after", "soon")], wait(DEVELOPER_OVER_QPS, 1_000)),
            (&[SERVICE], wait(SERVICE_OVER_QPS, 1_000)),
            (&[(ERROR_CODE, " err_403_service_over_qps ")], wait(SERVICE_OVER_QPS, 1_000)),
            (&[RATE, ("retry-after", "42")], wait(DEVELOPER_OVER_RATE, 42_000)),
            // A month's quota: the life of the event bounds it.
            (&[RATE, ("retry-after", "1209600")], wait(DEVELOPER_OVER_RATE, 1_209_600_000)),
            (&[RATE], wait(DEVELOPER_OVER_RATE, TO_MINUTE_MS)),
            (&[(ERROR_CODE, "ERR_403_DEVELOPER_INACTIVE"), ("retry-after", "1")], retry(403, Some(1))),
            (&[(ERROR_CODE, "ERR_403_NOT_AUTHORIZED")], reject(403)),
            (&[(ERROR_CODE, "ERR_403_DEVELOPER_OVER_QPS_X")], reject(403)),
            (&[(ERROR_CODE, "")], reject(403)),
            // No code of a gateway, and a time to come back all the same.
            (&[("retry-after", "1")], retry(403, Some(1))),
        ] {
            assert_eq!(told(403, head, ""), expected, "{head:?}");
        }
        // Without the header the status stands, and a success is one.
        assert_eq!(told(429, &[("retry-after", "2")], ""), retry(429, Some(2)));
        assert_eq!(told(200, &[QPS], ""), Outcome::Delivered { status: 200 });
        assert_eq!(told(302, &[QPS], ""), reject(302));
    }
}
