//! From the checked configuration, the memory and the descriptors of this process to the options of the rooms.
//!
//! Must not know: what the rooms do with their options.

use crate::app::descriptors::DescriptorShares;
use crate::app::listen::ListenOptions;
use crate::app::memory::{self, Budget};
use crate::config::Config;
use crate::delivery::{DeliveryOptions, EgressGuard};
use crate::dispatch::PlannerOptions;
use crate::manage;
use crate::names::NameOptions;
use crate::store::embedded::EmbeddedOptions;

/// How the memory of this process is shared out.
pub(super) fn budget() -> Budget {
    Budget::of(memory::limit_bytes())
}

pub(in crate::app) fn embedded_options(config: &Config) -> EmbeddedOptions {
    let (budget, shares) = (budget(), DescriptorShares::of(config));
    EmbeddedOptions {
        cache_bytes: budget.index_cache,
        block_cache_bytes: budget.block_cache,
        waiting_bytes: budget.waiting,
        open_segments: shares.open_segments,
        spare_descriptors: shares.spare,
        clock_bound: config.queue.ttl,
        // For a new directory alone: one that is there keeps its own.
        salt: fastrand::u64(..),
        ..config.store.embedded.clone()
    }
}

pub(super) fn listen_options(config: &Config, shares: &DescriptorShares) -> ListenOptions {
    let listen = &config.listen;
    ListenOptions {
        max_connections: shares.connections,
        reserved_connections: shares.reserved,
        max_connections_per_peer: listen.max_connections_per_peer,
        min_bytes_per_second: listen.min_bytes_per_second.get(),
        hosts: listen.hosts.clone(),
        ..ListenOptions::default()
    }
}

pub(super) fn dispatch_options(config: &Config, shares: &DescriptorShares, held: bool) -> PlannerOptions {
    PlannerOptions {
        retry: config.retry,
        due_share: config.due_share,
        adaptive_rate: config.adaptive_rate,
        breaker: config.breaker,
        max_inflight: shares.inflight.get(),
        read_ahead_bytes: budget().read_ahead,
        held,
        ..PlannerOptions::default()
    }
}

pub(super) fn delivery_options(config: &Config) -> DeliveryOptions {
    let shares = DescriptorShares::of(config);
    DeliveryOptions {
        egress: EgressGuard::new(&config.egress.allow),
        names: NameOptions { max_questions: shares.questions, ..config.names.clone() },
        deadlines: config.delivery,
        pool_max_idle_per_host: shares.idle_per_host,
        hears: manage::hears(),
        ..DeliveryOptions::default()
    }
}
