//! The words that lead a kernel record to this detector. Owns the tables; the reader of the kernel log filters by them.

/// A record with one of these may belong to a report.
pub const LITERALS: &[&str] = &[
    "oom",
    "Out of memory",
    "Killed process",
    "Kill process",
    "Memory cgroup",
    "limit of",
    "limit reached of cgroup",
    "Task in ",
    "usage ",
    " Comm: ",
    "cpuset=",
    "total_vm",
    "are going to be killed",
];

/// Counters of a memory cgroup that tell what the memory was used for; the rest of the dump is left out. Unified hierarchy
/// first, then the old one.
pub const STATS: &[&str] = &[
    "anon",
    "file",
    "kernel",
    "kernel_stack",
    "pagetables",
    "percpu",
    "sock",
    "vmalloc",
    "shmem",
    "file_dirty",
    "file_writeback",
    "slab",
    "slab_reclaimable",
    "slab_unreclaimable",
    "cache",
    "rss",
    "dirty",
    "swap",
    "total_cache",
    "total_rss",
    "total_shmem",
    "total_dirty",
    "total_swap",
];

/// Records that no literal tells: a row of the task table, a counter of the cgroup, a path printed in pieces.
#[must_use]
pub fn is_shape(text: &[u8]) -> bool {
    match text.first() {
        Some(b'[') => text
            .get(1..)
            .unwrap_or_default()
            .trim_ascii_start()
            .first()
            .is_some_and(u8::is_ascii_digit),
        Some(b'/') => true,
        Some(b'a'..=b'z') => is_stat(text),
        _ => false,
    }
}

fn is_stat(text: &[u8]) -> bool {
    let word = text.split(|b| *b == b' ').next().unwrap_or_default();
    let value = text.get(word.len() + 1..).unwrap_or_default();
    value.first().is_some_and(u8::is_ascii_digit) && STATS.iter().any(|name| name.as_bytes() == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_counters_and_path_pieces_pass_and_other_lines_do_not() {
        for yes in [
            "[  11219]     0 11219",
            "[ 7] 0",
            "rss 4096",
            "anon 1\\x0afile 2",
            "/docker/ab",
        ] {
            assert!(is_shape(yes.as_bytes()), "{yes}");
        }
        for no in ["", "[drm] ready", "rss", "rss x", "usb 1-1: new", "file system mounted"] {
            assert!(!is_shape(no.as_bytes()), "{no}");
        }
    }
}
