//! What the system says of names: `/etc/hosts`, and the name servers and search list of `/etc/resolv.conf`. Both files are
//! read again when they have changed.
//!
//! Of `resolv.conf`, `nameserver`, `domain`, `search` and the options `ndots`, `timeout` and `edns0` count. Without a name
//! server the one on this machine is asked, as the C library does.
//!
//! Must not know: what is cached, who asks.

use std::fs::{self, Metadata};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::Hosts;
use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use tracing::warn;

use super::ask::ConfiguredServer;

/// Name servers beyond these are not asked, as with the C library.
const SERVERS_MAX: usize = 3;
/// What is asked when `resolv.conf` names no server.
const LOCAL_SERVER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Where the system says what names mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameFiles {
    /// The name servers and the search list.
    pub resolv_conf: PathBuf,
    /// Names that no server is asked for.
    pub hosts: PathBuf,
    /// The port of every name server.
    pub port: u16,
}

impl Default for NameFiles {
    fn default() -> Self {
        Self { resolv_conf: "/etc/resolv.conf".into(), hosts: "/etc/hosts".into(), port: 53 }
    }
}

/// Device, inode, time of the last change and length, by which a changed file is recognised, also one that was renamed
/// into place; `None` where there is no file.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

/// What both files said when they were last read.
pub(super) struct System {
    hosts: Arc<Hosts>,
    hosts_stamp: Stamp,
    pub(super) servers: Arc<Servers>,
    servers_stamp: Stamp,
}

/// Whom to ask, and for what.
pub(super) struct Servers {
    pub(super) list: Vec<ConfiguredServer>,
    search: Vec<Name>,
    ndots: usize,
}

impl System {
    /// Reads both files. One that cannot be read counts as empty; that it cannot be read is logged.
    pub(super) fn read(files: &NameFiles, limit: Duration) -> Self {
        let read = |path: &Path| {
            read(path).unwrap_or_else(|error| {
                warn!(path = %path.display(), %error, "cannot be read; it counts as empty");
                (Vec::new(), None)
            })
        };
        let (text, servers_stamp) = read(&files.resolv_conf);
        let servers = Arc::new(Servers::parse(&text, files.port, limit));
        let (text, hosts_stamp) = read(&files.hosts);
        Self { hosts: parse_hosts(&text), hosts_stamp, servers, servers_stamp }
    }

    /// Reads again what has changed; `None` when nothing has. A file that is there and cannot be read is left at what it
    /// said before.
    pub(super) fn reread(&self, files: &NameFiles, limit: Duration) -> Option<Self> {
        let resolv_conf = changed(&files.resolv_conf, self.servers_stamp);
        let hosts = changed(&files.hosts, self.hosts_stamp);
        if resolv_conf.is_none() && hosts.is_none() {
            return None;
        }
        let (servers, servers_stamp) = match resolv_conf {
            Some((text, stamp)) => (Arc::new(Servers::parse(&text, files.port, limit)), stamp),
            None => (Arc::clone(&self.servers), self.servers_stamp),
        };
        let (hosts, hosts_stamp) = match hosts {
            Some((text, stamp)) => (parse_hosts(&text), stamp),
            None => (Arc::clone(&self.hosts), self.hosts_stamp),
        };
        Some(Self { hosts, hosts_stamp, servers, servers_stamp })
    }

    /// The addresses that `/etc/hosts` lists for a name; empty when it does not.
    pub(super) fn listed(&self, name: &str) -> Vec<IpAddr> {
        let Ok(name) = Name::from_ascii(name) else { return Vec::new() };
        let of = |kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind));
        let found = [of(RecordType::AAAA), of(RecordType::A)];
        let records = found.iter().flatten().flat_map(|lookup| lookup.answers());
        records.filter_map(|record| record.data.ip_addr()).collect()
    }
}

impl Servers {
    /// `limit` is the longest for one name: the servers share it, so that each of them can be tried.
    fn parse(text: &[u8], port: u16, limit: Duration) -> Self {
        let (config, options) = parse_resolv_conf(text).unwrap_or_else(|_no_server| {
            // Added to the file rather than in its place: its search list and options still count.
            let mut text = text.to_vec();
            text.extend_from_slice(format!("\nnameserver {LOCAL_SERVER}\n").as_bytes());
            parse_resolv_conf(text).unwrap_or_else(|error| {
                warn!(%error, "resolv.conf cannot be read; the name server on this machine is asked");
                let local = NameServerConfig::udp_and_tcp(LOCAL_SERVER);
                (ResolverConfig::from_parts(None, Vec::new(), vec![local]), ResolverOpts::default())
            })
        });
        let (domain, mut search, mut servers) = config.into_parts();
        // `domain` is the search list of a file without `search`.
        if search.is_empty() {
            search.extend(domain);
        }
        servers.truncate(SERVERS_MAX);
        // At most `SERVERS_MAX`, and never a division by zero.
        let shares = u32::try_from(servers.len()).unwrap_or(1).max(1);
        let timeout = options.timeout.min(limit / shares);
        let list = servers
            .into_iter()
            .map(|server| ConfiguredServer::new(server, port, &options, timeout))
            .collect();
        Self { list, search, ndots: options.ndots }
    }

    /// The complete names that `name` may stand for, in the order in which they are to be tried; empty when it is no name.
    pub(super) fn candidates(&self, name: &str) -> Vec<Name> {
        let Ok(mut plain) = Name::from_ascii(name) else { return Vec::new() };
        if plain.is_fqdn() || plain.is_localhost() {
            plain.set_fqdn(true);
            return vec![plain];
        }
        // A domain with which the name becomes too long is passed over.
        let searched = self.search.iter().filter_map(|domain| plain.clone().append_domain(domain).ok());
        let mut candidates: Vec<Name> = searched.collect();
        let dots = usize::from(plain.num_labels()).saturating_sub(1);
        plain.set_fqdn(true);
        // As in the C library: with enough dots the name itself is tried first, otherwise last.
        let place = if dots >= self.ndots { 0 } else { candidates.len() };
        candidates.insert(place, plain);
        candidates
    }
}

fn parse_hosts(text: &[u8]) -> Arc<Hosts> {
    let mut hosts = Hosts::default();
    if let Err(error) = hosts.read_hosts_conf(text) {
        warn!(%error, "the hosts file cannot be read to its end");
    }
    Arc::new(hosts)
}

/// A file with its stamp, unless it is the one that is known or cannot be read.
fn changed(path: &Path, known: Stamp) -> Option<(Vec<u8>, Stamp)> {
    // The look at the stamp keeps an unchanged file from being read every two seconds.
    let unchanged = matches!(fs::metadata(path), Ok(metadata) if stamp(&metadata) == known);
    if unchanged { None } else { read(path).ok().filter(|(_, stamp)| *stamp != known) }
}

/// A file that is not there is empty.
fn read(path: &Path) -> io::Result<(Vec<u8>, Stamp)> {
    // The stamp is taken first: what is written in between is read again.
    let read = fs::metadata(path).and_then(|metadata| Ok((fs::read(path)?, stamp(&metadata))));
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((Vec::new(), None)),
        read => read,
    }
}

fn stamp(metadata: &Metadata) -> Stamp {
    Some((metadata.dev(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
}
