//! Puts the lines of one report together. Owns the open reports, their deadlines and the double-print rule; pure: records and
//! times come in, reports go out.
//!
//! A report goes out at once on its kill line and once more when its grace is over, so nobody waits for group members or for
//! the reaper. All state is bounded; what is thrown out is counted.
mod open;

use std::collections::VecDeque;

use open::{Open, Phase};

use super::line::OomLine;
use super::report::{OomReport, Process, Stage};
use crate::host::kmsg::{Batch, Stamped};

/// Wait for group members and the reaper after the last kill line. The kernel prints a group within milliseconds.
const GRACE_US: u64 = 200_000;
/// A group that goes on longer is sent as it stands.
const GRACE_MAX_US: u64 = 1_000_000;
/// Wait for the kill line after the last line before it; the kernel prints them back to back.
const GATHER_US: u64 = 2_000_000;
/// A second kill line of the same pid and name within this time is the double print of a group kill.
const DOUBLE_US: u64 = 10_000_000;
/// Reports gathered side by side; the kernel's out-of-memory lock allows one at a time and grace adds a few.
const MAX_OPEN: usize = 16;
/// Kills remembered for the double-print rule.
const MAX_RECENT: usize = 64;
/// Fragments of one line; the kernel prints four.
const MAX_FRAGMENTS: usize = 6;
/// Two cgroup paths of 4096 bytes and the words between.
const MAX_JOINED: usize = 9000;

/// Counters, all since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AssemblerStats {
    /// Kill events reported.
    pub reports: u64,
    /// Kill lines dropped as double print.
    pub doubles: u64,
    /// Reports given up without a victim.
    pub abandoned: u64,
    /// Reports pushed out early by newer ones.
    pub evicted: u64,
}

/// Assembles reports from kernel records.
#[derive(Debug)]
pub struct Assembler {
    page_kb: u64,
    open: VecDeque<Open>,
    recent: VecDeque<(u32, String, u64)>,
    fragments: Option<(Stamped, usize)>,
    /// Records were lost and no report has begun since.
    after_gap: bool,
    stats: AssemblerStats,
}

impl Assembler {
    /// An assembler for a node whose memory pages have this size.
    #[must_use]
    pub fn new(page_bytes: u64) -> Self {
        let stats = AssemblerStats::default();
        let (open, recent) = (VecDeque::with_capacity(MAX_OPEN), VecDeque::with_capacity(MAX_RECENT));
        Self {
            page_kb: (page_bytes / 1024).max(1),
            open,
            recent,
            fragments: None,
            after_gap: false,
            stats,
        }
    }

    /// Counters.
    #[must_use]
    pub const fn stats(&self) -> AssemblerStats {
        self.stats
    }

    /// Takes a batch of the kernel log; `now_us` is any clock that only moves forward, the same for every call.
    pub fn push_batch(&mut self, batch: &Batch, now_us: u64) -> Vec<OomReport> {
        if batch.gap.is_some() {
            self.gap();
        }
        batch
            .records
            .iter()
            .flat_map(|stamped| self.push(stamped, now_us))
            .collect()
    }

    /// Records were lost here.
    pub fn gap(&mut self) {
        self.after_gap = true;
        self.fragments = None;
        for open in &mut self.open {
            open.partial = true;
        }
    }

    /// Takes one record; gives a report when it was a kill line, and those whose time is over.
    pub fn push(&mut self, stamped: &Stamped, now_us: u64) -> Vec<OomReport> {
        let mut out = self.flush(now_us);
        let joined = self.join(stamped);
        if joined.is_none() && self.fragments.is_some() {
            return out;
        }
        let at = joined.as_ref().unwrap_or(stamped);
        if let Some(line) = OomLine::parse(&at.record.text) {
            self.take(line, at, now_us, &mut out);
        }
        out
    }

    /// Gives the reports whose time is over.
    pub fn flush(&mut self, now_us: u64) -> Vec<OomReport> {
        if self.next_deadline().is_none_or(|deadline| deadline > now_us) {
            return Vec::new();
        }
        let (due, open) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|open| open.deadline_us <= now_us);
        self.open = open;
        let due: VecDeque<Open> = due;
        due.into_iter().filter_map(|open| self.close(open)).collect()
    }

    /// When [`Self::flush`] has something to do, on the clock of `now_us`.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        self.open.iter().map(|open| open.deadline_us).min()
    }

    /// Joins `Task in A killed as a result of limit of B` where the kernel printed it in pieces. `None` when the record stands
    /// for itself, or is a piece whose line is not whole yet (then `fragments` is set).
    fn join(&mut self, stamped: &Stamped) -> Option<Stamped> {
        let text = &stamped.record.text;
        if text.starts_with("Task in ") && OomLine::parse(text).is_none() {
            self.fragments = Some((stamped.clone(), 1));
            return None;
        }
        let (mut whole, count) = self.fragments.take()?;
        if !(text.starts_with('/') || text.starts_with(" killed as a result") || stamped.record.continued) {
            return None;
        }
        whole.record.text.push_str(text);
        if OomLine::parse(&whole.record.text).is_some() {
            return Some(whole);
        }
        if count < MAX_FRAGMENTS && whole.record.text.len() < MAX_JOINED {
            self.fragments = Some((whole, count + 1));
        }
        None
    }

    fn take(&mut self, line: OomLine<'_>, at: &Stamped, now_us: u64, out: &mut Vec<OomReport>) {
        match line {
            OomLine::Kill { victim, memcg } => self.kill(victim, memcg, at, now_us, out),
            OomLine::Exiting(pid) => self
                .open
                .retain(|open| open.chosen != Some(pid) || !open.kills.is_empty()),
            OomLine::NoKillable => self.give_up(at),
            OomLine::Reaped(pid) => self.reaped(pid),
            OomLine::GroupKill(_) if self.in_grace(at).is_some() => self.group(at),
            line => self.gather(line, at, now_us, out),
        }
    }

    /// A line before the kill line goes to the newest report that is gathering, or begins one. The trigger's line always
    /// begins one; lines that other kernel reports print too never do.
    fn gather(&mut self, line: OomLine<'_>, at: &Stamped, now_us: u64, out: &mut Vec<OomReport>) {
        let first = matches!(line, OomLine::Invoked { .. });
        let begins = matches!(
            line,
            OomLine::TaskIn { .. }
                | OomLine::Usage(..)
                | OomLine::Header(_)
                | OomLine::Summary(_)
                | OomLine::GroupKill(_)
        );
        let index = match self.gathering(at).filter(|_| !first) {
            Some(index) => index,
            None if first || begins => self.open_new(at, now_us, first, out),
            None => return,
        };
        let page_kb = self.page_kb;
        if let Some(open) = self.open.get_mut(index) {
            open.add(line, at, page_kb);
            open.deadline_us = now_us.saturating_add(GATHER_US);
        }
    }

    /// Opens a report and tells where; what has no room any more is closed.
    fn open_new(&mut self, at: &Stamped, now_us: u64, whole: bool, out: &mut Vec<OomReport>) -> usize {
        let partial = self.after_gap && !whole;
        self.after_gap = false;
        if self.open.len() >= MAX_OPEN
            && let Some(oldest) = self.open.pop_front()
        {
            self.stats.evicted += 1;
            out.extend(self.close(oldest));
        }
        self.open
            .push_back(Open::new(at, now_us.saturating_add(GATHER_US), partial));
        self.open.len() - 1
    }

    /// The newest report that has no kill line yet and comes from the same printer.
    fn gathering(&self, at: &Stamped) -> Option<usize> {
        self.open
            .iter()
            .rposition(|open| open.phase() == Phase::Gathering && open.takes(at))
    }

    /// The newest report in its grace, from the same printer and not too old.
    fn in_grace(&self, at: &Stamped) -> Option<usize> {
        self.open
            .iter()
            .rposition(|open| open.phase() == Phase::Grace && open.takes(at) && open.is_near(at, GATHER_US))
    }

    fn give_up(&mut self, at: &Stamped) {
        if let Some(index) = self.gathering(at) {
            self.open.remove(index);
            self.stats.abandoned += 1;
        }
    }

    fn reaped(&mut self, pid: u32) {
        if let Some(open) = self
            .open
            .iter_mut()
            .rev()
            .find(|open| open.kills.first().is_some_and(|victim| victim.pid == pid))
        {
            open.reaped = true;
        }
    }

    fn group(&mut self, at: &Stamped) {
        let index = self.in_grace(at);
        if let Some(open) = index.and_then(|index| self.open.get_mut(index)) {
            open.group = true;
        }
    }

    fn kill(&mut self, victim: Process, memcg: Option<bool>, at: &Stamped, now_us: u64, out: &mut Vec<OomReport>) {
        if self.is_double(&victim, at.record.at_us) {
            self.stats.doubles += 1;
            return;
        }
        let awaiting = self.awaiting(victim.pid, at);
        let group = self
            .in_grace(at)
            .filter(|index| self.open.get(*index).is_some_and(|open| open.group));
        if let (None, Some(index)) = (awaiting, group) {
            return self.add_member(index, victim, at, now_us);
        }
        let index = awaiting.unwrap_or_else(|| self.open_new(at, now_us, false, out));
        if let Some(open) = self.open.get_mut(index) {
            self.stats.reports += 1;
            open.kill(victim, memcg, at);
            open.deadline_us = now_us.saturating_add(GRACE_US);
            open.grace_ends_us = now_us.saturating_add(GRACE_MAX_US);
            out.push(open.report(Stage::Provisional));
        }
    }

    fn add_member(&mut self, index: usize, victim: Process, at: &Stamped, now_us: u64) {
        if let Some(open) = self.open.get_mut(index) {
            open.kill(victim, None, at);
            open.deadline_us = now_us.saturating_add(GRACE_US).min(open.grace_ends_us);
        }
    }

    /// The report that waits for this kill line: the one that names the pid, else the newest whose victim may be another (a
    /// child in its place, a summary that was lost or held back by the kernel's rate limit).
    fn awaiting(&self, pid: u32, at: &Stamped) -> Option<usize> {
        let waits = |open: &Open| open.phase() == Phase::Gathering && open.is_near(at, GATHER_US);
        let named = self
            .open
            .iter()
            .rposition(|open| waits(open) && open.chosen == Some(pid));
        named.or_else(|| {
            self.open
                .iter()
                .rposition(|open| waits(open) && open.takes(at) && (open.chosen.is_none() || open.child_possible))
        })
    }

    fn is_double(&mut self, victim: &Process, at_us: u64) -> bool {
        let same = |(pid, comm, at): &(u32, String, u64)| {
            *pid == victim.pid && *comm == victim.comm && at_us.saturating_sub(*at) <= DOUBLE_US
        };
        if self.recent.iter().any(same) {
            return true;
        }
        if self.recent.len() >= MAX_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((victim.pid, victim.comm.clone(), at_us));
        false
    }

    /// The last word on a report; `None` when it never had a victim.
    fn close(&mut self, open: Open) -> Option<OomReport> {
        let stage = if open.kills.is_empty() {
            Stage::Announced
        } else {
            Stage::Final
        };
        if stage == Stage::Announced && open.announced.is_none() {
            self.stats.abandoned += 1;
            return None;
        }
        if stage == Stage::Announced {
            self.stats.reports += 1;
        }
        Some(open.report(stage))
    }
}

#[cfg(test)]
mod tests;
