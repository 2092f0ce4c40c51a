//! The rules of `[listen]`.

use std::net::SocketAddr;
use std::num::NonZeroU64;

use crate::config::Listen;
use crate::config::check::Settings;

pub(super) fn listen(settings: &mut Settings<'_>) -> Option<Listen> {
    let address = settings.text("listen.address").and_then(|text| address(settings, &text));
    let hosts = settings.list("listen.hosts", &host_name);
    let mut connections = |setting| settings.number(setting, 1..=65_536);
    let max_connections = connections("listen.max_connections");
    let reserved_connections = connections("listen.reserved_connections");
    let of_peer = connections("listen.max_connections_per_peer");
    let min_bytes_per_second = settings.number("listen.min_bytes_per_second", 1..=1 << 30);
    Some(Listen {
        address: address?,
        hosts: hosts?,
        max_connections: usize::try_from(max_connections?).ok()?,
        reserved_connections: usize::try_from(reserved_connections?).ok()?,
        max_connections_per_peer: usize::try_from(of_peer?).ok()?,
        min_bytes_per_second: NonZeroU64::new(min_bytes_per_second?)?,
    })
}

fn address(settings: &mut Settings<'_>, text: &str) -> Option<SocketAddr> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Some(address),
        Ok(address) => settings.wrong(
            "listen.address",
            format!(
                "{address} is not a loopback address: callers need no token yet, so only this machine may \
                 call; use 127.0.0.1:{0} or [::1]:{0}, behind a proxy that checks who calls",
                address.port()
            ),
        ),
        Err(_) => {
            settings.wrong("listen.address", format!("{text:?} is not address:port, as 127.0.0.1:7080"))
        }
    }
}

fn host_name(text: &str) -> Result<String, String> {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
    if text.is_empty() || !plain {
        return Err(format!("{text:?} is not a host name without port"));
    }
    // Names of hosts are compared without regard to case.
    Ok(text.to_ascii_lowercase())
}
