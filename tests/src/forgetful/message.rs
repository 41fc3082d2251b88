//! Requests and replies of the FUSE protocol as bytes.
//!
//! Owns layouts. Must not know files. Source of all of them: the kernel's `include/uapi/linux/fuse.h`; numbers are in the
//! byte order of the host.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
};

use super::tree::{Attr, Errno};

/// Protocol version that is spoken; the kernel follows a lower one.
const VERSION: (u32, u32) = (7, 31);
/// Seconds that the kernel may keep names and sizes: nobody else changes them.
const KEEP: u64 = 60;
const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;

/// A request: header and what is left of its arguments.
pub(super) struct Args<'a> {
    pub(super) opcode: u32,
    pub(super) unique: u64,
    pub(super) node: u64,
    left: &'a [u8],
}

impl<'a> Args<'a> {
    pub(super) fn of(request: &'a [u8]) -> Option<Self> {
        let mut args = Self {
            opcode: 0,
            unique: 0,
            node: 0,
            left: request.get(4..)?,
        };
        (args.opcode, args.unique, args.node) = (args.u32(), args.u64(), args.u64());
        // user, group, process, extensions
        args.skip(16);
        Some(args)
    }

    /// SETATTR, MKNOD, MKDIR, UNLINK, RMDIR, RENAME, WRITE, CREATE, FALLOCATE, RENAME2.
    pub(super) const fn changes(&self) -> bool {
        matches!(self.opcode, 4 | 8..=12 | 16 | 35 | 43 | 45)
    }

    pub(super) fn u32(&mut self) -> u32 {
        let Some((bytes, left)) = self.left.split_first_chunk() else {
            return 0;
        };
        self.left = left;
        u32::from_ne_bytes(*bytes)
    }

    pub(super) fn u64(&mut self) -> u64 {
        let Some((bytes, left)) = self.left.split_first_chunk() else {
            return 0;
        };
        self.left = left;
        u64::from_ne_bytes(*bytes)
    }

    pub(super) fn skip(&mut self, bytes: usize) {
        self.left = self.left.get(bytes..).unwrap_or_default();
    }

    /// A name with the zero byte behind it.
    pub(super) fn name(&mut self) -> &'a OsStr {
        let mut parts = self.left.splitn(2, |byte| *byte == 0);
        let name = parts.next().unwrap_or_default();
        self.left = parts.next().unwrap_or_default();
        OsStr::from_bytes(name)
    }

    pub(super) fn rest(&self, size: u32) -> &'a [u8] {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        self.left.get(..size).unwrap_or(self.left)
    }
}

/// What goes back, without its header.
pub(super) struct Reply {
    errno: i32,
    body: Vec<u8>,
}

impl Reply {
    pub(super) const fn empty() -> Self {
        Self {
            errno: 0,
            body: Vec::new(),
        }
    }

    pub(super) fn error(errno: Errno) -> Self {
        Self {
            errno: errno.0,
            ..Self::empty()
        }
    }

    pub(super) fn bytes(bytes: &[u8]) -> Self {
        Self {
            errno: 0,
            body: bytes.to_vec(),
        }
    }

    fn u16(mut self, value: u16) -> Self {
        self.body.extend(value.to_ne_bytes());
        self
    }

    fn u32(mut self, value: u32) -> Self {
        self.body.extend(value.to_ne_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Self {
        self.body.extend(value.to_ne_bytes());
        self
    }

    fn zeros(mut self, count: usize) -> Self {
        self.body.resize(self.body.len() + count, 0);
        self
    }

    pub(super) fn init(max_write: u32) -> Self {
        let versions = Self::empty().u32(VERSION.0).u32(VERSION.1);
        // no read-ahead and no flags; the rest are the kernel's defaults, then what newer versions added
        versions.u32(0).u32(0).u16(0).u16(0).u32(max_write).u32(1).zeros(36)
    }

    pub(super) fn opened() -> Self {
        Self::empty().zeros(16)
    }

    pub(super) fn written(size: u32) -> Self {
        Self::empty().u32(size).u32(0)
    }

    pub(super) fn space() -> Self {
        let blocks = Self::empty().u64(1 << 20).u64(1 << 19).u64(1 << 19);
        let files = blocks.u64(1 << 16).u64(1 << 15);
        files.u32(4096).u32(255).u32(4096).zeros(28)
    }

    fn with(self, attr: &Attr) -> Self {
        let kind = if attr.folder { FOLDER } else { FILE };
        let sizes = self.u64(attr.node).u64(attr.size).u64(attr.size.div_ceil(512));
        // three times in seconds and their nanoseconds; owner and group; device
        let times = sizes.zeros(36);
        times.u32(kind | attr.mode).u32(1).zeros(12).u32(4096).u32(0)
    }

    pub(super) fn attr(attr: Attr) -> Self {
        Self::empty().u64(KEEP).u64(0).with(&attr)
    }

    pub(super) fn entry(attr: Attr) -> Self {
        let place = Self::empty().u64(attr.node).u64(0);
        place.u64(KEEP).u64(KEEP).u64(0).with(&attr)
    }

    pub(super) fn created(attr: Attr) -> Self {
        Self::entry(attr).zeros(16)
    }

    /// Names behind `offset` as far as they fit.
    pub(super) fn names(names: &[(u64, bool, OsString)], offset: u64, size: u32) -> Self {
        let room = usize::try_from(size).unwrap_or(0);
        let mut reply = Self::empty();
        for (place, (node, folder, name)) in (1_u64..).zip(names) {
            let bytes = name.as_bytes();
            let need = (24 + bytes.len()).next_multiple_of(8);
            if place <= offset {
                continue;
            }
            if reply.body.len() + need > room {
                break;
            }
            let end = reply.body.len() + need;
            let kind = if *folder { FOLDER } else { FILE } >> 12;
            let length = u32::try_from(bytes.len()).unwrap_or(0);
            reply = reply.u64(*node).u64(place).u32(length).u32(kind);
            reply.body.extend(bytes);
            reply.body.resize(end, 0);
        }
        reply
    }

    /// The whole message to one request.
    pub(super) fn message(self, unique: u64) -> Vec<u8> {
        let length = u32::try_from(self.body.len() + 16).unwrap_or(16);
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend((-self.errno).to_ne_bytes());
        bytes.extend(unique.to_ne_bytes());
        bytes.extend(self.body);
        bytes
    }
}
