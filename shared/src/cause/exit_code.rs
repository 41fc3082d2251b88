//! What an exit code says, and what it does not.
//!
//! 128 + n is how runtimes report a death by signal n; a shell that lost a child returns the same number by itself. A
//! code is therefore a hint, and only other evidence makes a cause of it. Numbers: `signal(7)`, `sysexits.h`, the Bash
//! manual ("Exit Status").

use std::{borrow::Cow, fmt};

/// Names of signals 1 to 31 on Linux (x86, arm, riscv, s390, ppc: `signal(7)`).
const NAMES: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];
/// First real-time signal that programs see; the C library keeps 32 and 33 for itself (`signal(7)`).
const RT_MIN: u8 = 34;
/// Last real-time signal.
const RT_MAX: u8 = 64;
/// Signals by which a program dies of a fault of its own: SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGSYS.
const FAULTS: [u8; 7] = [4, 5, 6, 7, 8, 11, 31];

/// A signal of Linux: 1 to 31 or 34 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(u8);

impl Signal {
    /// SIGKILL.
    pub const KILL: Self = Self(9);
    /// SIGINT.
    pub const INT: Self = Self(2);
    /// SIGTERM.
    pub const TERM: Self = Self(15);

    /// The signal with this number; `None` for 0, for the two that the C library keeps, and above 64.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        match number {
            1..=31 | RT_MIN..=RT_MAX => Some(Self(number)),
            _ => None,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Its name, such as SIGSEGV or SIGRTMIN+3.
    #[must_use]
    pub fn name(self) -> Cow<'static, str> {
        match NAMES.get(usize::from(self.0.saturating_sub(1))) {
            Some(name) => Cow::Borrowed(name),
            None if self.0 == RT_MIN => Cow::Borrowed("SIGRTMIN"),
            None if self.0 == RT_MAX => Cow::Borrowed("SIGRTMAX"),
            None => Cow::Owned(format!("SIGRTMIN+{}", self.0.saturating_sub(RT_MIN))),
        }
    }

    /// Whether a program gets it for a fault of its own.
    #[must_use]
    pub fn is_fault(self) -> bool {
        FAULTS.contains(&self.0)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name())
    }
}

/// What a code usually means; worded by `crate::text`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usual {
    /// 0.
    Finished,
    /// 1: the language's or program's general failure.
    Failed,
    /// 2: wrong use of a shell command, a Go panic, an argument parser.
    MisuseOrPanic,
    /// 3: among others a JVM with ExitOnOutOfMemoryError.
    ProgramDefined,
    /// 64: `EX_USAGE`.
    BadUsage,
    /// 65, 66: `EX_DATAERR`, `EX_NOINPUT`.
    BadInput,
    /// 67, 68: `EX_NOUSER`, `EX_NOHOST`.
    UnknownPeer,
    /// 69, 75: `EX_UNAVAILABLE`, `EX_TEMPFAIL`.
    ServiceUnavailable,
    /// 70, 76: `EX_SOFTWARE`, `EX_PROTOCOL`.
    InternalError,
    /// 71 to 74: `EX_OSERR`, `EX_OSFILE`, `EX_CANTCREAT`, `EX_IOERR`.
    SystemError,
    /// 77: `EX_NOPERM`.
    NoPermission,
    /// 78: `EX_CONFIG`.
    BadConfiguration,
    /// 101: a Rust panic.
    RustPanic,
    /// 125: the container tool itself failed.
    ToolFailed,
    /// 126: found but not executable.
    NotExecutable,
    /// 127: command, interpreter or loader not found.
    NotFound,
    /// 128: the runtime could not start it, or `exit` with a bad argument.
    StartFailed,
    /// 128 + n for a fault of the program's own.
    Fault,
    /// 137: SIGKILL; the code alone says nothing about who sent it or why.
    Killed,
    /// 130, 143: asked to stop.
    AskedToStop,
    /// 128 + n for any other signal.
    OtherSignal,
    /// −1: the runtime lost the status.
    StatusLost,
    /// 255: `exit(-1)`, or the runtime lost the status.
    MinusOne,
}

/// Where to look next; worded by `crate::text`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextCheck {
    /// Whether it should have gone on running.
    ShouldItRun,
    /// The last lines of the log.
    Log,
    /// Command, arguments and image.
    Command,
    /// The runtime's message.
    RuntimeMessage,
    /// Image platform and CPU features.
    Platform,
    /// /dev/shm, mapped files, hardware errors.
    MappedFiles,
    /// The kernel's segfault line and native libraries.
    NativeCode,
    /// The seccomp profile.
    Seccomp,
    /// Who sent the signal: probes, operators, supervisors.
    Sender,
    /// Whether runtime or node restarted at that time.
    RuntimeRestart,
}

/// What an exit code says by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitMeaning {
    /// The code: 0 to 255, or −1 when the runtime lost it.
    pub code: i32,
    /// The signal that 128 + n names.
    pub signal: Option<Signal>,
    /// What it usually means.
    pub usual: Usual,
    /// Where to look next.
    pub next: NextCheck,
}

/// The meaning of a code. Codes outside −1 to 255 do not exist on Linux; they get the meaning of a program's own code.
#[must_use]
pub fn meaning(code: i32) -> ExitMeaning {
    let signal = code
        .checked_sub(128)
        .and_then(|n| u8::try_from(n).ok())
        .and_then(Signal::new);
    let (usual, next) = match signal {
        Some(signal) => of_signal(signal),
        None => of_status(code),
    };
    ExitMeaning {
        code,
        signal,
        usual,
        next,
    }
}

const fn of_status(code: i32) -> (Usual, NextCheck) {
    match code {
        -1 => (Usual::StatusLost, NextCheck::RuntimeRestart),
        0 => (Usual::Finished, NextCheck::ShouldItRun),
        1 => (Usual::Failed, NextCheck::Log),
        2 => (Usual::MisuseOrPanic, NextCheck::Log),
        64 => (Usual::BadUsage, NextCheck::Command),
        65 | 66 => (Usual::BadInput, NextCheck::Log),
        67 | 68 => (Usual::UnknownPeer, NextCheck::Log),
        69 | 75 => (Usual::ServiceUnavailable, NextCheck::Log),
        70 | 76 => (Usual::InternalError, NextCheck::Log),
        71..=74 => (Usual::SystemError, NextCheck::Log),
        77 => (Usual::NoPermission, NextCheck::Log),
        78 => (Usual::BadConfiguration, NextCheck::Log),
        101 => (Usual::RustPanic, NextCheck::Log),
        125 => (Usual::ToolFailed, NextCheck::RuntimeMessage),
        126 => (Usual::NotExecutable, NextCheck::Command),
        127 => (Usual::NotFound, NextCheck::Command),
        128 => (Usual::StartFailed, NextCheck::RuntimeMessage),
        255 => (Usual::MinusOne, NextCheck::RuntimeRestart),
        _ => (Usual::ProgramDefined, NextCheck::Log),
    }
}

fn of_signal(signal: Signal) -> (Usual, NextCheck) {
    let next = match signal.number() {
        4 | 5 => NextCheck::Platform,
        7 => NextCheck::MappedFiles,
        11 => NextCheck::NativeCode,
        31 => NextCheck::Seccomp,
        2 | 9 | 15 => NextCheck::Sender,
        _ => NextCheck::Log,
    };
    let usual = match signal {
        Signal::KILL => Usual::Killed,
        Signal::INT | Signal::TERM => Usual::AskedToStop,
        s if s.is_fault() => Usual::Fault,
        _ => Usual::OtherSignal,
    };
    (usual, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(code: i32) -> Option<String> {
        meaning(code).signal.map(|s| s.to_string())
    }

    /// Every code that a container can end with is explained, and 128 + n names the signal (checked against the C
    /// library's own table, quoted from `kill -l`).
    #[test]
    fn every_code_from_0_to_255_names_its_signal() {
        let kill_l = "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP \
                      TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS";
        let named: Vec<&str> = kill_l.split_whitespace().collect();
        for code in 0..=255i32 {
            let expected = match code {
                129..=159 => named
                    .get(usize::try_from(code - 129).unwrap())
                    .map(|n| format!("SIG{n}")),
                162 => Some("SIGRTMIN".to_owned()),
                163..=191 => Some(format!("SIGRTMIN+{}", code - 162)),
                192 => Some("SIGRTMAX".to_owned()),
                _ => None,
            };
            assert_eq!(name_of(code), expected, "code {code}");
            assert_eq!(meaning(code).code, code);
        }
    }

    #[test]
    fn the_codes_that_people_meet_mean_what_the_books_say() {
        let table = [
            (-1, Usual::StatusLost, NextCheck::RuntimeRestart),
            (0, Usual::Finished, NextCheck::ShouldItRun),
            (1, Usual::Failed, NextCheck::Log),
            (42, Usual::ProgramDefined, NextCheck::Log),
            (78, Usual::BadConfiguration, NextCheck::Log),
            (126, Usual::NotExecutable, NextCheck::Command),
            (127, Usual::NotFound, NextCheck::Command),
            (130, Usual::AskedToStop, NextCheck::Sender),
            (132, Usual::Fault, NextCheck::Platform),
            (137, Usual::Killed, NextCheck::Sender),
            (139, Usual::Fault, NextCheck::NativeCode),
            (141, Usual::OtherSignal, NextCheck::Log),
            (143, Usual::AskedToStop, NextCheck::Sender),
            (159, Usual::Fault, NextCheck::Seccomp),
            (255, Usual::MinusOne, NextCheck::RuntimeRestart),
        ];
        for (code, usual, next) in table {
            let meaning = meaning(code);
            assert_eq!((meaning.usual, meaning.next), (usual, next), "code {code}");
        }
    }

    #[test]
    fn codes_that_cannot_exist_do_not_invent_a_signal() {
        for code in [i32::MIN, -2, 160, 161, 193, 256, 128 + 9 + 256, i32::MAX] {
            assert_eq!(meaning(code).signal, None, "code {code}");
        }
    }
}
