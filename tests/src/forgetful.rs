//! A file system that loses what was not synced, as a machine does when its power fails.
//!
//! Owns the strictest reading of POSIX: fsync(2) of a file makes its bytes durable and not its name; fsync of a folder makes
//! the names in it durable; after a failed fsync the bytes that it was for are never written, whatever a later fsync says.
//! All of it is in memory. Must not know who uses it.

mod message;
mod tree;

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use anyhow::{Context, Result, ensure};
use rustix::fs::{Mode, OFlags};

use message::{Args, Reply};
use tree::{Errno, Tree};

/// Largest write of one request, and room for its header. Source: the kernel asks for at least 8 KiB
/// (`FUSE_MIN_READ_BUFFER`) and for `max_write` besides.
const MAX_WRITE: u32 = 128 * 1024;
const BUFFER: usize = 132 * 1024;

/// What the disk refuses at present.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// fsync and fdatasync end with EIO.
    pub sync: bool,
    /// Everything that writes ends with EROFS, as after a remount.
    pub read_only: bool,
}

#[derive(Default)]
struct State {
    tree: Tree,
    faults: Faults,
}

/// A mounted file system; unmounted when dropped.
pub struct Forgetful {
    path: PathBuf,
    state: Arc<Mutex<State>>,
    mounted: bool,
}

impl Forgetful {
    /// Mounts an empty one on a folder, which is made.
    ///
    /// # Errors
    /// Without root or /dev/fuse.
    pub fn mount(path: &Path) -> Result<Self> {
        fs::create_dir_all(path)?;
        let mut disk = Self {
            path: path.to_owned(),
            state: Arc::default(),
            mounted: false,
        };
        disk.attach()?;
        Ok(disk)
    }

    /// A path on it.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// What it refuses from now on.
    pub fn fail(&self, faults: Faults) {
        lock(&self.state).faults = faults;
    }

    /// Loses everything that is not durable. Whoever used it must be dead.
    ///
    /// # Errors
    /// When it cannot be unmounted or mounted.
    pub fn lose_power(&mut self) -> Result<()> {
        self.detach()?;
        lock(&self.state).tree.forget();
        self.attach()
    }

    fn attach(&mut self) -> Result<()> {
        // mount(8) has to inherit the descriptor, so it is not closed on exec until then
        let device = rustix::fs::open("/dev/fuse", OFlags::RDWR, Mode::empty()).context("/dev/fuse")?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        let mut mount = Command::new("mount");
        mount.args(["-i", "-t", "fuse", "-o", &options, "inquest-forgetful"]);
        let done = mount.arg(&self.path).output().context("mount")?;
        ensure!(
            done.status.success(),
            "mount: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        self.mounted = true;
        rustix::io::fcntl_setfd(&device, rustix::io::FdFlags::CLOEXEC)?;
        let (device, state) = (File::from(device), Arc::clone(&self.state));
        thread::Builder::new()
            .name("forgetful".to_owned())
            .spawn(move || serve(device, &state))?;
        Ok(())
    }

    fn detach(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.mounted) {
            return Ok(());
        }
        // lazily: the kernel may still be taking apart a process that was killed
        let done = Command::new("umount").arg("-l").arg(&self.path).output()?;
        ensure!(
            done.status.success(),
            "umount: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        Ok(())
    }
}

impl Drop for Forgetful {
    #[expect(clippy::print_stderr, reason = "a mount that stays is in the way of later runs")]
    fn drop(&mut self) {
        if let Err(error) = self.detach() {
            eprintln!("{} stays mounted: {error:#}", self.path.display());
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers until the file system is unmounted; then reading says ENODEV.
fn serve(mut device: File, state: &Mutex<State>) {
    let mut buffer = vec![0; BUFFER];
    loop {
        let request = match device.read(&mut buffer) {
            Ok(length) => buffer.get(..length).unwrap_or_default(),
            // ENOENT: the request was taken back; EINTR. Source: Documentation/filesystems/fuse/fuse.rst
            Err(error) if matches!(error.raw_os_error(), Some(2 | 4)) => continue,
            Err(_) => return,
        };
        let Some(args) = Args::of(request) else { continue };
        let unique = args.unique;
        if let Some(reply) = lock(state).answer(args) {
            // ENOENT: whoever asked has been killed meanwhile
            drop(device.write_all(&reply.message(unique)));
        }
    }
}

impl State {
    /// The answer to one request; `None` for those that get none. Numbers: the kernel's `include/uapi/linux/fuse.h`.
    fn answer(&mut self, args: Args<'_>) -> Option<Reply> {
        let reply = match args.opcode {
            // FORGET, INTERRUPT, BATCH_FORGET
            2 | 36 | 42 => return None,
            // RELEASE, FLUSH, RELEASEDIR, DESTROY
            18 | 25 | 29 | 38 => Ok(Reply::empty()),
            // OPEN, OPENDIR
            14 | 27 => Ok(Reply::opened()),
            26 => Ok(Reply::init(MAX_WRITE)),
            17 => Ok(Reply::space()),
            20 | 30 => self.sync(args.node),
            _ if self.faults.read_only && args.changes() => Err(Errno::ROFS),
            _ => self.on_tree(args),
        };
        Some(reply.unwrap_or_else(Reply::error))
    }

    fn sync(&mut self, node: u64) -> Result<Reply, Errno> {
        let failed = self.faults.sync || self.faults.read_only;
        self.tree.sync(node, !failed);
        if failed { Err(Errno::IO) } else { Ok(Reply::empty()) }
    }

    fn on_tree(&mut self, mut args: Args<'_>) -> Result<Reply, Errno> {
        let (tree, node) = (&mut self.tree, args.node);
        match args.opcode {
            1 => tree.lookup(node, args.name()).map(Reply::entry),
            3 => tree.attr(node).map(Reply::attr),
            4 => set_attr(tree, node, &mut args),
            9 => {
                let (mode, _umask) = (args.u32(), args.u32());
                tree.make(node, args.name(), mode, true).map(Reply::entry)
            }
            10 | 11 => tree.remove(node, args.name()).map(|()| Reply::empty()),
            12 | 45 => {
                let folder = args.u64();
                if args.opcode == 45 {
                    args.u64();
                }
                let (from, to) = (args.name(), args.name());
                tree.rename((node, from), (folder, to)).map(|()| Reply::empty())
            }
            15 => {
                let (_handle, offset, size) = (args.u64(), args.u64(), args.u32());
                tree.read(node, offset, size).map(Reply::bytes)
            }
            16 => {
                let (_handle, offset, size) = (args.u64(), args.u64(), args.u32());
                args.skip(20);
                tree.write(node, offset, args.rest(size))?;
                Ok(Reply::written(size))
            }
            28 => {
                let (_handle, offset, size) = (args.u64(), args.u64(), args.u32());
                Ok(Reply::names(&tree.list(node), offset, size))
            }
            35 => {
                let (_flags, mode) = (args.u32(), args.u32());
                args.skip(8);
                tree.make(node, args.name(), mode, false).map(Reply::created)
            }
            _ => Err(Errno::NOSYS),
        }
    }
}

/// Size and permissions; times are not kept.
fn set_attr(tree: &mut Tree, node: u64, args: &mut Args<'_>) -> Result<Reply, Errno> {
    const MODE: u32 = 1;
    const SIZE: u32 = 1 << 3;
    let valid = args.u32();
    args.skip(12);
    let size = args.u64();
    // lock owner, three times and their nanoseconds
    args.skip(44);
    let mode = args.u32();
    if valid & SIZE != 0 {
        tree.resize(node, size)?;
    }
    if valid & MODE != 0 {
        tree.set_mode(node, mode);
    }
    tree.attr(node).map(Reply::attr)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TestDir;

    /// The folder first, so that it goes last.
    fn disk() -> Option<(TestDir, Forgetful)> {
        let dir = TestDir::new("fuse").unwrap();
        let disk = Forgetful::mount(&dir.join("disk")).ok()?;
        Some((dir, disk))
    }

    #[test]
    fn only_what_was_synced_survives() {
        let Some((_dir, mut disk)) = disk() else { return };
        let mut kept = File::create(disk.join("kept")).unwrap();
        kept.write_all(b"one").unwrap();
        kept.sync_all().unwrap();
        kept.write_all(b"two").unwrap();
        fs::write(disk.join("late"), b"x").unwrap();
        File::open(disk.join("")).unwrap().sync_all().unwrap();
        fs::write(disk.join("nameless"), b"x").unwrap();
        File::open(disk.join("nameless")).unwrap().sync_all().unwrap();
        fs::rename(disk.join("kept"), disk.join("renamed")).unwrap();
        assert_eq!(fs::read(disk.join("renamed")).unwrap(), b"onetwo");
        drop(kept);
        disk.lose_power().unwrap();
        assert_eq!(fs::read(disk.join("kept")).unwrap(), b"one");
        assert_eq!(fs::read(disk.join("late")).unwrap(), b"", "a name without its bytes");
        assert!(!disk.join("nameless").exists() && !disk.join("renamed").exists());
    }

    /// A later fsync says "done" and has not done it.
    #[test]
    fn bytes_of_a_failed_sync_never_reach_the_disk() {
        let Some((_dir, mut disk)) = disk() else { return };
        let mut file = File::create(disk.join("file")).unwrap();
        File::open(disk.join("")).unwrap().sync_all().unwrap();
        file.write_all(b"lost").unwrap();
        disk.fail(Faults {
            sync: true,
            ..Faults::default()
        });
        assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(5));
        disk.fail(Faults::default());
        file.write_all(b"kept").unwrap();
        file.sync_data().unwrap();
        drop(file);
        disk.lose_power().unwrap();
        assert_eq!(fs::read(disk.join("file")).unwrap(), b"\0\0\0\0kept");
    }
}
