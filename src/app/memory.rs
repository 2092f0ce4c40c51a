//! How much memory the process may use, and how that is shared out: the limit of its control group, read once at
//! the start.
//!
//! Must not know: what the parts do with their shares.

use std::path::Path;

const MIB: u64 = 1 << 20;
/// Directory under which the system mounts its control groups.
const ROOT: &str = "/sys/fs/cgroup";

/// What the parts that hold much may hold, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Budget {
    /// The cache of the store's index.
    pub(super) index_cache: u64,
    /// Unpacked blocks of the journal that are kept for further reads.
    pub(super) block_cache: usize,
    /// Records that wait for the store's writer.
    pub(super) waiting: usize,
    /// Events that are on their way into the queue.
    pub(super) under_way: usize,
    /// Events that are read ahead of their calls.
    pub(super) read_ahead: usize,
}

impl Budget {
    /// The shares of this much memory; without a limit, and from 1 GiB on, those that serve best.
    pub(super) fn of(limit_bytes: Option<u64>) -> Self {
        let share = |part: u64, least: u64, most: u64| match limit_bytes {
            Some(limit) => (limit / part).clamp(least * MIB, most * MIB),
            None => most * MIB,
        };
        let size = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
        Self {
            index_cache: share(16, 2, 64),
            block_cache: size(share(64, 1, 16)),
            waiting: size(share(16, 8, 48)),
            under_way: size(share(16, 4, 64)),
            read_ahead: size(share(16, 4, 64)),
        }
    }
}

/// The memory limit of this process's control group, or of one around it; `None` when there is none.
pub(super) fn limit_bytes() -> Option<u64> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    limit(&read(Path::new("/proc/self/cgroup"))?, read)
}

/// `groups` is `/proc/self/cgroup`: lines of `number:controllers:path`.
fn limit(groups: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let of_line = |line: &str| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let (mount, name) = match controllers {
            // Version 2 of control groups has one tree and names no controllers in its line.
            "" => (Path::new(ROOT).to_owned(), "memory.max"),
            // Version 1 has a tree for each controller.
            list if list.split(',').any(|one| one == "memory") => {
                (Path::new(ROOT).join("memory"), "memory.limit_in_bytes")
            }
            _ => return None,
        };
        // In a container its own group may be mounted as the root of all.
        let inner = mount.join(path.trim_start_matches('/'));
        let groups = inner.ancestors().take_while(|group| group.starts_with(&mount));
        // `max`, and version 1's number beyond all memory, are no limit.
        let limit_of = |group: &Path| read(&group.join(name))?.trim().parse::<u64>().ok();
        groups.filter_map(limit_of).filter(|limit| *limit < 1 << 50).min()
    };
    groups.lines().filter_map(of_line).min()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn the_tightest_limit_around_the_process_counts() {
        let files: HashMap<&str, &str> = [
            ("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n"),
            ("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "67108864\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("/sys/fs/cgroup/s/memory.max", "134217728\n"),
            ("/sys/fs/cgroup/t/memory.max", "max\n"),
        ]
        .into();
        let read = |path: &Path| files.get(path.to_str()?).map(|text| (*text).to_owned());
        let first = "4:cpu,cpuacct:/x\n3:memory:/a/b\n0::/nowhere\n";
        assert_eq!(limit(first, read), Some(64 << 20), "version 1");
        assert_eq!(limit("0::/s/u/v\n", read), Some(128 << 20), "version 2");
        assert_eq!(limit("0::/t\n", read), None);
        assert_eq!(limit("nonsense", read), None);
    }

    #[test]
    fn little_memory_makes_small_shares_and_much_changes_nothing() {
        let whole = Budget::of(None);
        assert_eq!(Budget::of(Some(1 << 30)), whole);
        let small = Budget::of(Some(64 << 20));
        let all = small.waiting + small.under_way + small.read_ahead + small.block_cache;
        assert!(all + small.index_cache as usize <= 24 << 20, "{small:?}");
        assert_eq!(whole.under_way, 64 << 20, "the control");
    }
}
