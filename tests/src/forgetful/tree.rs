//! Files and folders twice: as programs see them, and as the disk has them.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    ops::Range,
};

const ROOT: u64 = 1;

/// Why not. Source: errno(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Errno(pub(super) i32);

impl Errno {
    pub(super) const NOENT: Self = Self(2);
    pub(super) const IO: Self = Self(5);
    pub(super) const EXIST: Self = Self(17);
    pub(super) const INVAL: Self = Self(22);
    pub(super) const ROFS: Self = Self(30);
    pub(super) const NOSYS: Self = Self(38);
    pub(super) const NOTEMPTY: Self = Self(39);
}

/// What stat(2) asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attr {
    pub(super) node: u64,
    pub(super) size: u64,
    pub(super) folder: bool,
    pub(super) mode: u32,
}

#[derive(Debug, Clone)]
enum Node {
    File(File),
    Folder(Folder),
}

/// Bytes as seen and as durable, and which of those that are seen no sync has covered.
#[derive(Debug, Clone, Default)]
struct File {
    mode: u32,
    seen: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Range<usize>>,
}

#[derive(Debug, Clone, Default)]
struct Folder {
    mode: u32,
    seen: BTreeMap<OsString, u64>,
    durable: BTreeMap<OsString, u64>,
}

/// All nodes by number; none is ever dropped before the file system is.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: BTreeMap<u64, Node>,
    next: u64,
}

impl Default for Tree {
    fn default() -> Self {
        let root = Folder {
            mode: 0o755,
            ..Folder::default()
        };
        Self {
            nodes: BTreeMap::from([(ROOT, Node::Folder(root))]),
            next: ROOT + 1,
        }
    }
}

impl Tree {
    /// Only what is durable is left.
    pub(super) fn forget(&mut self) {
        for node in self.nodes.values_mut() {
            match node {
                Node::File(file) => {
                    file.seen.clone_from(&file.durable);
                    file.unsynced.clear();
                }
                Node::Folder(folder) => folder.seen.clone_from(&folder.durable),
            }
        }
    }

    /// A sync that works makes durable what is seen; one that fails loses for good what it was for.
    pub(super) fn sync(&mut self, number: u64, works: bool) {
        match self.nodes.get_mut(&number) {
            Some(Node::File(file)) => file.sync(works),
            Some(Node::Folder(folder)) if works => folder.durable.clone_from(&folder.seen),
            _ => {}
        }
    }

    pub(super) fn lookup(&self, parent: u64, name: &OsStr) -> Result<Attr, Errno> {
        let folder = self.folder(parent).ok_or(Errno::NOENT)?;
        self.attr(*folder.seen.get(name).ok_or(Errno::NOENT)?)
    }

    pub(super) fn attr(&self, node: u64) -> Result<Attr, Errno> {
        let (folder, size, mode) = match self.nodes.get(&node).ok_or(Errno::NOENT)? {
            Node::File(file) => (false, file.seen.len(), file.mode),
            Node::Folder(folder) => (true, 4096, folder.mode),
        };
        Ok(Attr {
            node,
            size: u64::try_from(size).unwrap_or(u64::MAX),
            folder,
            mode,
        })
    }

    pub(super) fn set_mode(&mut self, node: u64, mode: u32) {
        match self.nodes.get_mut(&node) {
            Some(Node::File(file)) => file.mode = mode & 0o7777,
            Some(Node::Folder(folder)) => folder.mode = mode & 0o7777,
            None => {}
        }
    }

    pub(super) fn make(&mut self, parent: u64, name: &OsStr, mode: u32, folder: bool) -> Result<Attr, Errno> {
        let number = self.next;
        let names = &mut self.folder_mut(parent).ok_or(Errno::NOENT)?.seen;
        if names.contains_key(name) {
            return Err(Errno::EXIST);
        }
        names.insert(name.to_owned(), number);
        self.next += 1;
        let node = if folder {
            Node::Folder(Folder::default())
        } else {
            Node::File(File::default())
        };
        self.nodes.insert(number, node);
        self.set_mode(number, mode);
        self.attr(number)
    }

    pub(super) fn remove(&mut self, parent: u64, name: &OsStr) -> Result<(), Errno> {
        let number = self.folder(parent).and_then(|folder| folder.seen.get(name).copied());
        let number = number.ok_or(Errno::NOENT)?;
        if self.folder(number).is_some_and(|folder| !folder.seen.is_empty()) {
            return Err(Errno::NOTEMPTY);
        }
        if let Some(folder) = self.folder_mut(parent) {
            folder.seen.remove(name);
        }
        Ok(())
    }

    pub(super) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Result<(), Errno> {
        let source = self.folder_mut(from.0).and_then(|folder| folder.seen.remove(from.1));
        let number = source.ok_or(Errno::NOENT)?;
        let target = self.folder_mut(to.0).ok_or(Errno::NOENT)?;
        target.seen.insert(to.1.to_owned(), number);
        Ok(())
    }

    pub(super) fn list(&self, node: u64) -> Vec<(u64, bool, OsString)> {
        let names = self.folder(node).map(|folder| &folder.seen).into_iter().flatten();
        names
            .map(|(name, child)| (*child, self.folder(*child).is_some(), name.clone()))
            .collect()
    }

    pub(super) fn read(&self, node: u64, offset: u64, size: u32) -> Result<&[u8], Errno> {
        let Some(Node::File(file)) = self.nodes.get(&node) else {
            return Err(Errno::INVAL);
        };
        let number = |value| usize::try_from(value).map_err(|_| Errno::INVAL);
        let start = number(offset)?.min(file.seen.len());
        let end = start.saturating_add(number(u64::from(size))?).min(file.seen.len());
        file.seen.get(start..end).ok_or(Errno::IO)
    }

    pub(super) fn write(&mut self, node: u64, offset: u64, data: &[u8]) -> Result<(), Errno> {
        let file = self.file_mut(node)?;
        let start = usize::try_from(offset).map_err(|_| Errno::INVAL)?;
        let end = start.checked_add(data.len()).ok_or(Errno::INVAL)?;
        if end > file.seen.len() {
            file.seen.resize(end, 0);
        }
        file.seen.get_mut(start..end).ok_or(Errno::IO)?.copy_from_slice(data);
        file.unsynced.push(start..end);
        Ok(())
    }

    pub(super) fn resize(&mut self, node: u64, size: u64) -> Result<(), Errno> {
        let size = usize::try_from(size).map_err(|_| Errno::INVAL)?;
        self.file_mut(node)?.seen.resize(size, 0);
        Ok(())
    }

    fn folder(&self, number: u64) -> Option<&Folder> {
        match self.nodes.get(&number)? {
            Node::Folder(folder) => Some(folder),
            Node::File(_) => None,
        }
    }

    fn folder_mut(&mut self, number: u64) -> Option<&mut Folder> {
        match self.nodes.get_mut(&number)? {
            Node::Folder(folder) => Some(folder),
            Node::File(_) => None,
        }
    }

    fn file_mut(&mut self, number: u64) -> Result<&mut File, Errno> {
        match self.nodes.get_mut(&number) {
            Some(Node::File(file)) => Ok(file),
            _ => Err(Errno::INVAL),
        }
    }
}

impl File {
    fn sync(&mut self, works: bool) {
        let written = std::mem::take(&mut self.unsynced);
        if !works {
            return;
        }
        self.durable.resize(self.seen.len(), 0);
        for range in written {
            let range = range.start.min(self.seen.len())..range.end.min(self.seen.len());
            if let (Some(to), Some(from)) = (self.durable.get_mut(range.clone()), self.seen.get(range)) {
                to.copy_from_slice(from);
            }
        }
    }
}
