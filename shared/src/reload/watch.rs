//! When to look at the file again: notices of its folder, and now and then without one.
//!
//! Owns the waiting. Must not know what is in the file. A folder and not the file is watched, because editors and
//! mounted `ConfigMap`s replace names: the kubelet renames a new symlink over `..data`, and the file's own name never
//! changes (`AtomicWriter` in Kubernetes' `pkg/volume/util`).

use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

use crate::config::ConfigError;

/// Time between two looks without a notice: a file that is a symlink to another folder, or a bind mount, gives none.
const POLL: Duration = Duration::from_secs(10);
/// A file is read when it was the same twice this far apart, so that one that is still being written is not taken.
const SETTLE: Duration = Duration::from_millis(150);
/// Looks at a file that never comes to rest; then the last one counts.
const MAX_LOOKS: usize = 20;
/// The name that the kubelet swaps.
const SWAPPED: &str = "..data";

/// Waits for changes of one file.
pub(super) struct Watch {
    names: [OsString; 2],
    notices: Option<AsyncFd<OwnedFd>>,
}

impl Watch {
    /// Starts to watch. Without notices (no descriptor left, no right to read the folder) only the slow look remains.
    pub(super) fn new(file: &Path) -> Self {
        let name = file.file_name().unwrap_or(OsStr::new("")).to_owned();
        let notices = watch_folder(file)
            .inspect_err(|error| tracing::warn!(%error, "changes of the configuration are noticed late"))
            .ok();
        Self {
            names: [name, SWAPPED.into()],
            notices,
        }
    }

    /// Waits until the file may have changed. Cancel-safe: what was noticed and not told shows in the next look.
    pub(super) async fn changed(&mut self) {
        let Self { names, notices } = self;
        let Some(notices) = notices else {
            return sleep(POLL).await;
        };
        let noticed = async { while !is_ours(notices, names).await {} };
        tokio::select! {
            () = noticed => {}
            () = sleep(POLL) => {}
        }
    }

    /// What `read` gives once it gives the same twice.
    pub(super) async fn settled(&self, read: impl Fn() -> Result<String, ConfigError>) -> Result<String, ConfigError> {
        let mut last = read();
        for _ in 0..MAX_LOOKS {
            sleep(SETTLE).await;
            let next = read();
            let same = match (&last, &next) {
                (Ok(last), Ok(next)) => last == next,
                (Err(last), Err(next)) => last.to_string() == next.to_string(),
                _ => false,
            };
            last = next;
            if same {
                break;
            }
        }
        last
    }
}

fn watch_folder(file: &Path) -> io::Result<AsyncFd<OwnedFd>> {
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let notices = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    // A name that is made is not yet written: its end is told by CLOSE_WRITE.
    let kinds = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::MOVED_FROM | WatchFlags::DELETE;
    add_watch(&notices, folder, kinds)?;
    #[expect(
        deprecated,
        reason = "its successor is unsafe; an OwnedFd that nobody closes meets what it asks for"
    )]
    AsyncFd::new(notices)
}

/// Takes the waiting notices; true when one of them is about the file.
async fn is_ours(notices: &AsyncFd<OwnedFd>, names: &[OsString]) -> bool {
    let Ok(mut ready) = notices.readable().await else {
        // The runtime is ending.
        return std::future::pending().await;
    };
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = Reader::new(notices.get_ref(), &mut buffer);
    let mut ours = false;
    while let Ok(event) = reader.next() {
        let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
        ours |= name.is_some_and(|name| names.iter().any(|known| known == name));
    }
    ready.clear_ready();
    ours
}
