//! Opens a log file without being led elsewhere.
//!
//! A pod that mounts `/var/log` of its host can put a symbolic link where its log was, and an agent that follows it would
//! send `/etc/shadow` as log lines. So the part of the path that workloads can reach is resolved by the kernel without any
//! link, and what is found must be an ordinary file: a pipe would make the reader wait for ever.

use std::{
    fs::File,
    io::{self, ErrorKind},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2},
    io::Errno,
};

/// Names at the end of the path that a workload could replace: pod, container and file. Sources: the log layout of the
/// kubelet (`/var/log/pods/<pod>/<container>/<n>.log`).
const REACHABLE: usize = 3;

/// Opens a log for reading.
///
/// # Errors
/// A path with `..`, a link in its last three names, or something that is no ordinary file is refused; else what the
/// kernel says.
pub(super) fn log_file(path: &Path) -> io::Result<File> {
    let names: Vec<Component<'_>> = path.components().collect();
    if names.contains(&Component::ParentDir) {
        return Err(refused("the path of the log contains .."));
    }
    let (above, below) = names.split_at(names.len().saturating_sub(REACHABLE).max(1).min(names.len()));
    let (above, below): (PathBuf, PathBuf) = (above.iter().collect(), below.iter().collect());
    let root = openat(
        CWD,
        &above,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let how = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let file = match openat2(&root, &below, how, Mode::empty(), inside) {
        // Kernels before 5.6 have no openat2(2); the last name at least is not followed there.
        Err(Errno::NOSYS) => openat(&root, &below, how, Mode::empty()),
        opened => opened,
    };
    let file = File::from(file.map_err(|error| match error {
        Errno::LOOP | Errno::XDEV => refused("a symbolic link stands in the path of the log"),
        error => error.into(),
    })?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(refused("the log is not an ordinary file"))
    }
}

fn refused(why: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, why)
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read as _, os::unix::fs::symlink};

    use super::*;

    struct Pods(tempfile::TempDir);

    impl Pods {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join("pods/web/app")).unwrap();
            fs::write(dir.path().join("shadow"), "root:canary").unwrap();
            Self(dir)
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }
    }

    fn read(path: &Path) -> Result<String, String> {
        let mut text = String::new();
        let mut file = log_file(path).map_err(|error| error.to_string())?;
        file.read_to_string(&mut text).unwrap();
        Ok(text)
    }

    #[test]
    fn an_ordinary_log_is_read_also_where_the_folder_above_is_a_link() {
        let pods = Pods::new();
        fs::write(pods.at("pods/web/app/0.log"), "line").unwrap();
        assert_eq!(read(&pods.at("pods/web/app/0.log")), Ok("line".to_owned()));
        symlink(pods.at("pods"), pods.at("elsewhere")).unwrap();
        assert_eq!(read(&pods.at("elsewhere/web/app/0.log")), Ok("line".to_owned()));
    }

    #[test]
    fn a_workload_cannot_lead_the_agent_to_another_file() {
        let pods = Pods::new();
        symlink(pods.at("shadow"), pods.at("pods/web/app/0.log")).unwrap();
        symlink(pods.0.path(), pods.at("pods/web/side")).unwrap();
        symlink(pods.0.path(), pods.at("pods/other")).unwrap();
        fs::create_dir_all(pods.at("pods/web/app/dir.log")).unwrap();
        for path in [
            "pods/web/app/0.log",
            "pods/web/side/shadow",
            "pods/other/pods/web",
            "pods/other/shadow",
        ] {
            let refused = read(&pods.at(path)).unwrap_err();
            assert!(!refused.contains("canary"), "{path}: {refused}");
        }
        for (path, why) in [
            ("pods/web/app/0.log", "a symbolic link stands in the path of the log"),
            ("pods/web/app/../../../shadow", "the path of the log contains .."),
            ("pods/web/app/dir.log", "the log is not an ordinary file"),
        ] {
            assert_eq!(read(&pods.at(path)), Err(why.to_owned()));
        }
    }

    #[test]
    fn a_pipe_in_place_of_the_log_does_not_make_the_agent_wait() {
        let pods = Pods::new();
        let pipe = pods.at("pods/web/app/0.log");
        rustix::fs::mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert_eq!(read(&pipe), Err("the log is not an ordinary file".to_owned()));
    }

    #[test]
    fn paths_without_a_name_are_errors() {
        for path in ["", "/", ".", "log"] {
            assert!(log_file(Path::new(path)).is_err(), "{path}");
        }
    }
}
