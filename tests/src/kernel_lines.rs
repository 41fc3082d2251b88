//! Lines in the kernel log, many at once. Owns the device and the sequence numbers that tell what a reader should have
//! seen. The lines come from user space (`/dev/kmsg`), so no program takes them for words of the kernel.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rustix::fs::OFlags;

const DEVICE: &str = "/dev/kmsg";

/// How user space may write: `ratelimit` by default (`Documentation/admin-guide/sysctl/kernel.rst`).
const MODE: &str = "/proc/sys/kernel/printk_devkmsg";

/// Lines of one group, when a pace is kept.
const GROUP: u32 = 100;

/// The kernel log, open for writing without a limit; the limit is put back on drop.
#[derive(Debug)]
pub struct KernelLines {
    device: File,
    old_mode: String,
}

impl KernelLines {
    /// Opens the device and lets every line in.
    ///
    /// # Errors
    /// Without root, or where the boot command line fixed `printk.devkmsg`.
    pub fn open() -> Result<Self> {
        let old_mode = fs::read_to_string(MODE)?;
        fs::write(MODE, "on\n").context("the kernel limits lines from user space")?;
        let device = File::options().write(true).open(DEVICE)?;
        Ok(Self { device, old_mode })
    }

    /// Writes lines as fast as the kernel takes them; one write is one record. Gives how long it took.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn flood(&mut self, lines: u32) -> Result<Duration> {
        self.spread(lines, Duration::ZERO)
    }

    /// Writes lines in groups, evenly over a time. Gives how long it took: more where the kernel is slower than that.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn spread(&mut self, lines: u32, over: Duration) -> Result<Duration> {
        let begun = Instant::now();
        for n in 0..lines {
            if n % GROUP == 0 {
                let due = over.mul_f64(f64::from(n) / f64::from(lines));
                std::thread::sleep(due.saturating_sub(begun.elapsed()));
            }
            write_record(&mut self.device, n)?;
        }
        Ok(begun.elapsed())
    }
}

impl Drop for KernelLines {
    fn drop(&mut self) {
        // It was writable when this was made; one more limit is no reason to fail.
        fs::write(MODE, &self.old_mode).unwrap_or_default();
    }
}

fn write_record(device: &mut File, n: u32) -> Result<()> {
    // Level debug, so that no console prints it; the words are those of a kill, as a real storm has them.
    let line = format!("<15>inquest flood: Out of memory: Killed process {n} (x) total-vm:1kB, anon-rss:1kB");
    device
        .write_all(line.as_bytes())
        .context("the kernel log takes no line")
}

/// Sequence number of the newest record.
///
/// # Errors
/// Without root.
pub fn newest() -> Result<u64> {
    let nonblock = i32::try_from(OFlags::NONBLOCK.bits())?;
    let mut device = File::options().read(true).custom_flags(nonblock).open(DEVICE)?;
    // Behind the newest; the next to come is not there yet, so a line of our own is read.
    device.seek(SeekFrom::End(0))?;
    let mut writer = File::options().write(true).open(DEVICE)?;
    writer.write_all(b"<15>inquest: mark")?;
    let mut buffer = [0; 8192];
    let mut last = None;
    loop {
        match device.read(&mut buffer) {
            Ok(length) => last = sequence(buffer.get(..length).unwrap_or_default()).or(last),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return last.context("no record came"),
            // The ring overtook this reader; what follows is newer.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(error) => return Err(error).context("cannot read the kernel log"),
        }
    }
}

fn sequence(record: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(record.get(..64.min(record.len()))?).ok()?;
    text.split(',').nth(1)?.parse().ok()
}

/// What an agent's reader says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReaderCounters {
    /// Records read.
    pub read: u64,
    /// Records that the ring lost.
    pub lost: u64,
    /// Times that the ring overtook it.
    pub overruns: u64,
}

impl ReaderCounters {
    /// Reads them off the agent's page of metrics.
    ///
    /// # Errors
    /// When one is missing.
    pub fn parse(page: &str) -> Result<Self> {
        let value = |name: &str| {
            let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|value| value.trim().parse().ok())
                .with_context(|| format!("no {name}"))
        };
        Ok(Self {
            read: value("inquest_kernel_log_read_records_total")?,
            lost: value("inquest_kernel_log_lost_records_total")?,
            overruns: value("inquest_kernel_log_overruns_total")?,
        })
    }

    /// How far the reader is: everything that it read or knows to be lost.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.read.saturating_add(self.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_number_of_a_record_is_its_sequence() {
        assert_eq!(sequence(b"15,4711,123456,-;inquest: mark\n"), Some(4711));
        assert_eq!(sequence(b"no record"), None);
    }
}
