//! The last lines of one run, read through Docker and bounded while they arrive. Owns Docker's framing of log lines; must
//! not know findings.

use std::{borrow::Cow, collections::VecDeque, path::PathBuf, sync::Arc, time::Duration};

use bollard::{Docker, container::LogOutput, query_parameters::LogsOptions};
use futures::StreamExt as _;
use inquest_shared::{clock::UnixNanos, redact::Redactor, tail::Tail};
use serde::Deserialize;
use tokio::time::timeout;

use crate::source::log_tail::{TailLimits, read_end};

/// An exit waits for its log, but not for an engine that hangs. Docker keeps a container locked while it starts it again,
/// which takes more than a second on a busy machine.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);
/// An end that containerd told early waits less: the log is read again when Docker confirms it.
pub(super) const EARLY_DEADLINE: Duration = Duration::from_millis(200);
/// Longest line kept while it is put together; one that is longer is cut there.
const MAX_LINE: usize = 16 * 1024;
/// How much more than its lines is read of a file in JSON: names and time of each line, and escapes.
const JSON_OVERHEAD: u64 = 4;

/// Which lines of a container belong to one run: the log goes on over restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Window {
    /// End of the run before.
    pub(super) after: Option<UnixNanos>,
    /// Latest line of the run, when a newer run may have written already.
    pub(super) until: Option<UnixNanos>,
}

impl Window {
    fn holds(&self, at: Option<UnixNanos>) -> bool {
        at.is_none_or(|at| self.after.is_none_or(|after| at > after) && self.until.is_none_or(|until| at <= until))
    }
}

/// Reads the end of a run's log. A log that cannot be read is empty: a driver may not keep it, and the container may be gone.
pub(super) async fn read(
    client: &Docker,
    id: &str,
    window: Window,
    (limits, deadline): (TailLimits, Duration),
    redactor: &Redactor,
) -> Tail {
    let mut lines = Lines::new(window, limits);
    if limits.lines == 0 || limits.bytes == 0 {
        return lines.finish(redactor);
    }
    match timeout(deadline, collect(client, id, &mut lines)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(id, %error, "no log tail"),
        Err(_) => tracing::warn!(id, ?deadline, "Docker did not give the log in time"),
    }
    lines.finish(redactor)
}

/// Reads the end of a run's log from the file of Docker's driver `json-file`; `None` where it cannot be seen.
pub(super) async fn read_file(
    path: PathBuf,
    window: Window,
    limits: TailLimits,
    redactor: Arc<Redactor>,
) -> Option<Tail> {
    let read = move || {
        let (bytes, cut) = read_end(&path, limits.bytes.saturating_mul(JSON_OVERHEAD)).ok()?;
        Some(of_json(&bytes, cut, window, limits, &redactor))
    };
    tokio::task::spawn_blocking(read).await.ok().flatten()
}

/// One line of the file (moby `daemon/logger/jsonfilelog/jsonlog`).
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// A line that is cut at either end is left out; an end that is confirmed brings it.
fn of_json(bytes: &[u8], cut: bool, window: Window, limits: TailLimits, redactor: &Redactor) -> Tail {
    let mut lines = Lines::new(window, limits);
    lines.truncated = cut;
    for raw in bytes.split(|byte| *byte == b'\n').skip(usize::from(cut)) {
        let Ok(entry) = serde_json::from_slice::<Entry<'_>>(raw) else {
            continue;
        };
        let message = format!("{} {}", entry.time, entry.log).into();
        lines.frame(match entry.stream.as_ref() {
            "stderr" => LogOutput::StdErr { message },
            _ => LogOutput::StdOut { message },
        });
    }
    lines.finish(redactor)
}

async fn collect(client: &Docker, id: &str, lines: &mut Lines) -> Result<(), bollard::errors::Error> {
    // Docker takes whole seconds here; the lines' own times decide.
    let seconds = |at: Option<UnixNanos>| at.and_then(|at| i32::try_from(at.as_secs()).ok());
    let options = LogsOptions {
        stdout: true,
        stderr: true,
        timestamps: true,
        since: seconds(lines.window.after).unwrap_or_default(),
        until: seconds(lines.window.until).map_or(0, |s| s.saturating_add(1)),
        tail: lines.limits.lines.saturating_add(1).to_string(),
        ..LogsOptions::default()
    };
    let mut stream = Box::pin(client.logs(id, Some(options)));
    while let Some(frame) = stream.next().await {
        lines.frame(frame?);
    }
    Ok(())
}

/// Lines that arrive, the newest within the limits.
struct Lines {
    window: Window,
    limits: TailLimits,
    kept: VecDeque<String>,
    bytes: u64,
    truncated: bool,
    /// Parts of a line that has not ended: of standard output (and a terminal), and of standard error.
    open: [Vec<u8>; 2],
}

impl Lines {
    fn new(window: Window, limits: TailLimits) -> Self {
        Self {
            window,
            limits,
            kept: VecDeque::new(),
            bytes: 0,
            truncated: false,
            open: [Vec::new(), Vec::new()],
        }
    }

    /// One frame is one line or, without a line end, a part of one; a terminal's frames are cut anywhere.
    fn frame(&mut self, frame: LogOutput) {
        let (index, message, terminal) = match &frame {
            LogOutput::StdErr { message } => (1, message, false),
            LogOutput::StdOut { message } | LogOutput::StdIn { message } => (0, message, false),
            LogOutput::Console { message } => (0, message, true),
        };
        for piece in message.split_inclusive(|byte| *byte == b'\n') {
            // Every part of a long line has a time of its own, which only a first part may keep.
            let again = !terminal && self.open.get(index).is_some_and(|open| !open.is_empty());
            let part = if again { stamped(piece).1 } else { piece };
            let Some(open) = self.open.get_mut(index) else { return };
            let room = MAX_LINE.saturating_sub(open.len());
            open.extend(part.iter().take(room));
            if piece.ends_with(b"\n") {
                let line = std::mem::take(open);
                self.line(&line);
            }
        }
    }

    fn line(&mut self, raw: &[u8]) {
        let (at, text) = stamped(raw);
        if !self.window.holds(at) {
            return;
        }
        let text = String::from_utf8_lossy(text);
        let text = text.trim_end_matches(['\n', '\r']);
        self.bytes = self.bytes.saturating_add(len(text));
        self.kept.push_back(text.to_owned());
        while self.kept.len() > self.limits.lines || self.bytes > self.limits.bytes && self.kept.len() > 1 {
            let dropped = self.kept.pop_front().unwrap_or_default();
            self.bytes = self.bytes.saturating_sub(len(&dropped));
            self.truncated = true;
        }
    }

    fn finish(mut self, redactor: &Redactor) -> Tail {
        for open in std::mem::take(&mut self.open) {
            if !open.is_empty() {
                self.line(&open);
            }
        }
        Tail::of_lines(self.kept.into(), self.truncated, self.limits.lines, redactor)
    }
}

fn len(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

/// The time that Docker puts before a line, and the rest. Without a time everything is the rest.
fn stamped(raw: &[u8]) -> (Option<UnixNanos>, &[u8]) {
    let mut parts = raw.splitn(2, |byte| *byte == b' ');
    let time = parts.next().and_then(|time| std::str::from_utf8(time).ok());
    match (time.and_then(UnixNanos::parse), parts.next()) {
        (Some(at), Some(rest)) => (Some(at), rest),
        _ => (None, raw),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: TailLimits = TailLimits { bytes: 400, lines: 3 };

    fn out(text: &[u8]) -> LogOutput {
        LogOutput::StdOut {
            message: text.to_vec().into(),
        }
    }

    fn tail(window: Window, frames: Vec<LogOutput>) -> Tail {
        let mut lines = Lines::new(window, LIMITS);
        frames.into_iter().for_each(|frame| lines.frame(frame));
        lines.finish(&Redactor::new(&[]).unwrap())
    }

    fn second(second: u32, text: &str) -> LogOutput {
        out(format!("2026-11-21T13:00:{second:02}.5Z {text}").as_bytes())
    }

    #[test]
    fn lines_of_other_runs_of_the_same_container_are_left_out() {
        let at = |second: u32| UnixNanos::parse(&format!("2026-11-21T13:00:{second:02}Z"));
        let window = Window {
            after: at(2),
            until: at(4),
        };
        let frames = (1..6).map(|s| second(s, &format!("run {s}\n"))).collect();
        assert_eq!(tail(window, frames).lines, ["run 2", "run 3"]);
    }

    #[test]
    fn parts_of_a_long_line_are_joined_and_the_oldest_lines_go_first() {
        let mut frames: Vec<_> = (1..4).map(|s| second(s, "old\n")).collect();
        frames.extend([second(5, "first "), second(6, "second\n"), second(7, "no end")]);
        let tail = tail(Window::default(), frames);
        assert_eq!(tail.lines, ["old", "first second", "no end"]);
        assert!(tail.truncated);
    }

    #[test]
    fn a_terminals_lines_are_found_wherever_its_frames_are_cut() {
        let whole = b"2026-11-21T13:00:01Z one\r\n2026-11-21T13:00:02Z two\r\n";
        for cut in 0..whole.len() {
            let (left, right) = whole.split_at(cut);
            let frames = [left, right].map(|part| LogOutput::Console {
                message: part.to_vec().into(),
            });
            assert_eq!(tail(Window::default(), frames.into()).lines, ["one", "two"], "{cut}");
        }
    }

    #[test]
    fn the_file_of_the_log_gives_the_lines_of_the_run() {
        let entry = |second: u32, stream: &str, text: &str| {
            let time = format!("2026-11-21T13:00:{second:02}.5Z");
            serde_json::json!({"log": text, "stream": stream, "time": time}).to_string()
        };
        let file = [
            "ut off\"}".to_owned(),
            entry(1, "stdout", "of the run before\n"),
            entry(3, "stdout", "first half, "),
            entry(3, "stderr", "password=canary \u{1b}\"\n"),
            entry(4, "stdout", "second half\n"),
            "{\"log\":\"not writ".to_owned(),
        ];
        let window = Window {
            after: UnixNanos::parse("2026-11-21T13:00:02Z"),
            until: None,
        };
        let redactor = Redactor::new(&[]).unwrap();
        let tail = of_json(file.join("\n").as_bytes(), true, window, LIMITS, &redactor);
        assert_eq!(tail.lines.len(), 2, "{tail:?}");
        assert!(tail.lines.contains(&"first half, second half".to_owned()), "{tail:?}");
        assert_eq!((tail.redactions, tail.truncated), (1, true));
    }

    proptest! {
        #[test]
        fn any_file_gives_a_bounded_tail(bytes in prop::collection::vec(any::<u8>(), 0..2000), cut: bool) {
            let tail = of_json(&bytes, cut, Window::default(), LIMITS, &Redactor::new(&[]).unwrap());
            prop_assert!(tail.lines.len() <= 3);
        }

        /// A container can write anything into its log.
        #[test]
        fn any_bytes_give_a_bounded_tail(frames in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..600)), 0..20)) {
            let frames = frames.into_iter().map(|(terminal, bytes)| match terminal {
                true => LogOutput::Console { message: bytes.into() },
                false => LogOutput::StdErr { message: bytes.into() },
            });
            let tail = tail(Window::default(), frames.collect());
            prop_assert!(tail.lines.len() <= LIMITS.lines);
        }
    }
}
