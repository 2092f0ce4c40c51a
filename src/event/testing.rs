//! Words of endpoints, for the tests of what follows from them.

use crate::event::Said;

/// Of a wait as long as the endpoint asks for.
pub(crate) const NEXT_MESSAGE: Said = Said { code: "x-mics-next-msg-delay", label: "next_message" };
/// Of a wait until the next minute.
pub(crate) const API_LIMIT: Said = Said { code: "API_LIMIT_EXCEEDED", label: "api_limit" };
/// Of a wait of minutes.
pub(crate) const CAPACITY: Said = Said { code: "INTERNAL_CAPACITY_LIMIT_EXCEEDED", label: "capacity" };
/// Of a call that is never taken.
pub(crate) const API_BLOCKED: Said = Said { code: "API_BLOCKED", label: "api_blocked" };
/// Of a wait of a second.
pub(crate) const SERVICE_OVER_QPS: Said =
    Said { code: "ERR_403_SERVICE_OVER_QPS", label: "service_over_qps" };
/// Of a wait of a second for one of many.
pub(crate) const DEVELOPER_OVER_QPS: Said =
    Said { code: "ERR_403_DEVELOPER_OVER_QPS", label: "developer_over_qps" };
/// Of a wait until the end of a period.
pub(crate) const DEVELOPER_OVER_RATE: Said =
    Said { code: "ERR_403_DEVELOPER_OVER_RATE", label: "developer_over_rate" };
