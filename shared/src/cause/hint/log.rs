//! Signs in the last lines of a log. Plain substring search over a bounded excerpt; knows no cause.

use crate::model::Untrusted;

/// What a log line is a sign of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogSign {
    /// The kernel or shell cannot run the file: wrong architecture, or a script without `#!`.
    ExecFormat,
    /// A module, class, library or symbol version is missing: the image was built wrongly.
    MissingModule,
    /// The JVM's own out-of-memory error, not the kernel's.
    JvmOutOfMemory,
    /// The JVM crashed.
    JvmCrash,
    /// V8's heap limit, not the container's.
    NodeHeap,
    /// Go: an allocation was refused.
    GoOutOfMemory,
    /// A Go panic or fatal error.
    GoPanic,
    /// A Rust panic.
    RustPanic,
    /// Python: an allocation was refused.
    PythonMemory,
    /// An uncaught Python exception.
    PythonException,
    /// PHP's own memory limit.
    PhpMemory,
    /// An unhandled rejection in Node.js.
    NodeRejection,
    /// An unhandled .NET exception.
    DotnetException,
    /// A supervisor saw a worker die of SIGKILL.
    WorkerKilled,
    /// A disk, quota or inotify limit is used up.
    NoSpace,
    /// Out of file descriptors.
    TooManyFiles,
    /// Out of process ids.
    NoProcesses,
}

/// Which line of a match is worth quoting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quote {
    /// The one that matched.
    Matched,
    /// The next one that is not indented: where Python names the exception.
    Following,
}

/// (sign, any of these in one line, which line to quote). The more specific comes first.
#[rustfmt::skip]
const SIGNS: &[(LogSign, &[&str], Quote)] = &[
    (LogSign::ExecFormat, &["exec format error", "Exec format error"], Quote::Matched),
    (LogSign::MissingModule, &["ModuleNotFoundError: ", "ImportError: ", "Cannot find module ", "ClassNotFoundException", "NoClassDefFoundError", "error while loading shared libraries: ", "' not found (required by "], Quote::Matched),
    (LogSign::JvmOutOfMemory, &["java.lang.OutOfMemoryError"], Quote::Matched),
    (LogSign::JvmCrash, &["A fatal error has been detected by the Java Runtime Environment", "hs_err_pid"], Quote::Matched),
    (LogSign::NodeHeap, &["JavaScript heap out of memory"], Quote::Matched),
    (LogSign::GoOutOfMemory, &["fatal error: runtime: out of memory", "runtime: cannot allocate memory"], Quote::Matched),
    (LogSign::GoPanic, &["panic: ", "fatal error: all goroutines are asleep", "fatal error: concurrent map", "fatal error: stack overflow", "SIGSEGV: segmentation violation"], Quote::Matched),
    (LogSign::RustPanic, &["' panicked at ", "memory allocation of "], Quote::Matched),
    (LogSign::PythonMemory, &["MemoryError"], Quote::Matched),
    (LogSign::PythonException, &["Traceback (most recent call last)"], Quote::Following),
    (LogSign::PhpMemory, &["PHP Fatal error:  Allowed memory size of ", "Allowed memory size of "], Quote::Matched),
    (LogSign::NodeRejection, &["UnhandledPromiseRejection", "ERR_UNHANDLED_REJECTION"], Quote::Matched),
    (LogSign::DotnetException, &["Unhandled exception. "], Quote::Matched),
    (LogSign::WorkerKilled, &["was sent SIGKILL!", "signal 9 (SIGKILL)", "was terminated by signal 9", "exited on signal 9"], Quote::Matched),
    (LogSign::NoSpace, &["no space left on device", "No space left on device"], Quote::Matched),
    (LogSign::TooManyFiles, &["too many open files", "Too many open files"], Quote::Matched),
    (LogSign::NoProcesses, &["fork: retry: Resource temporarily unavailable", "unable to create native thread"], Quote::Matched),
];

/// Signs in these lines (oldest first), each with its last line.
pub(super) fn signs(lines: &[Untrusted]) -> impl Iterator<Item = (LogSign, &Untrusted)> {
    SIGNS.iter().filter_map(|(sign, needles, quote)| {
        let hit = lines
            .iter()
            .rposition(|line| needles.iter().any(|needle| line.raw().contains(needle)))?;
        let line = match quote {
            Quote::Matched => lines.get(hit),
            Quote::Following => lines
                .iter()
                .skip(hit + 1)
                .find(|l| !l.raw().starts_with(char::is_whitespace)),
        };
        Some((*sign, line?))
    })
}
