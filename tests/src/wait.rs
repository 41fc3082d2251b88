//! Waiting for conditions, never for time.

use std::fmt::Display;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::time::{ClockId, clock_gettime};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(10);

/// Asks until the answer is `Ok`, and gives it back. An `Err` says what was seen instead.
///
/// # Errors
/// After `timeout`, with what was waited for and what was seen last.
pub async fn wait_for<T, E: Display>(
    what: &str,
    timeout: Duration,
    mut ask: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T> {
    let begin = Instant::now();
    let mut last = String::from("no answer at all");
    loop {
        let left = timeout.saturating_sub(begin.elapsed());
        // an answer that is ready at once never runs into the timeout, so the time is looked at as well
        match tokio::time::timeout(left, ask()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(seen)) => last = seen.to_string(),
            Err(_) => {}
        }
        if begin.elapsed() >= timeout {
            bail!("{what}: not within {timeout:?}; last seen: {last}");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// A TCP port of the loopback that nothing listens on at this moment, and that no outgoing connection is given: those get
/// theirs from 32768 on (`ip_local_port_range` of ip(7)).
///
/// # Errors
/// When the system has none.
pub fn free_port() -> Result<u16> {
    const PORTS: std::ops::Range<u16> = 12_000..32_000;
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU16::new(u16::try_from(std::process::id() % 20_000).unwrap_or(0)));
    for _ in 0..1_000 {
        let port = PORTS.start + next.fetch_add(1, Ordering::Relaxed) % (PORTS.end - PORTS.start);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port on the loopback")
}

/// Nanoseconds of `CLOCK_MONOTONIC`, comparable between the processes of one machine.
#[must_use]
pub fn monotonic_nanos() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let secs = u64::try_from(now.tv_sec).unwrap_or(0);
    secs.saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_answer_is_given_back_once_it_is_there() {
        let mut asked = 0;
        let answer = wait_for("three", Duration::from_secs(10), async || {
            asked += 1;
            if asked < 3 {
                Err(format!("only {asked}"))
            } else {
                Ok(asked)
            }
        });
        assert_eq!(answer.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_failure_tells_what_was_seen_last() {
        let never = wait_for("the agent", Duration::from_millis(30), async || {
            Err::<(), _>("state=starting")
        });
        let text = never.await.unwrap_err().to_string();
        assert_eq!(text, "the agent: not within 30ms; last seen: state=starting");
    }

    #[tokio::test]
    async fn a_question_that_hangs_does_not_hang_the_test() {
        let hangs = wait_for("an answer", Duration::from_millis(30), async || {
            std::future::pending::<Result<(), &str>>().await
        });
        assert!(
            hangs
                .await
                .unwrap_err()
                .to_string()
                .ends_with("last seen: no answer at all")
        );
    }
}
