//! What a store says about itself: what it forgot, and how large it is. Must not know backends.

/// What one round of forgetting took away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Chunks of log tails.
    pub logs: u64,
    /// Findings.
    pub findings: u64,
    /// Resolved incidents.
    pub incidents: u64,
    /// Settled notifications; the totals keep counting them.
    pub notifications: u64,
    /// Nodes that were not seen since.
    pub nodes: u64,
    /// Bytes that are free inside the file and go back to the file system with the next rounds.
    pub free_bytes: u64,
}

impl Pruned {
    /// Rows by kind.
    #[must_use]
    pub const fn by_kind(&self) -> [(&'static str, u64); 5] {
        [
            ("logs", self.logs),
            ("findings", self.findings),
            ("incidents", self.incidents),
            ("notifications", self.notifications),
            ("nodes", self.nodes),
        ]
    }

    /// Rows of all kinds.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.by_kind().into_iter().map(|(_, rows)| rows).sum()
    }
}

/// Size and soundness.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreFigures {
    /// Bytes of the records, without what is free inside the file.
    pub used_bytes: u64,
    /// Bytes free inside the file.
    pub free_bytes: u64,
    /// Damaged records met while reading since the start; one that is met twice counts twice.
    pub damaged_reads: u64,
}
