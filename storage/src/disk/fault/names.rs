//! The directory tree: what names stand for now, and which of that a power cut leaves.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::Node;
use super::image::Dice;

/// What a name stands for.
#[derive(Debug, Clone)]
pub(super) enum Named {
    Directory,
    File(Arc<Node>),
}

/// A change of the tree that no directory sync has made durable yet.
#[derive(Debug, Clone)]
enum Change {
    Add(PathBuf, Named),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, Named),
}

impl Change {
    fn touches(&self, directory: &Path) -> bool {
        let inside = |path: &Path| path.parent() == Some(directory);
        match self {
            Self::Add(path, _) | Self::Remove(path) => inside(path),
            Self::Rename(from, to, _) => inside(from) || inside(to),
        }
    }

    fn apply(&self, tree: &mut BTreeMap<PathBuf, Named>) {
        match self {
            Self::Add(path, named) => {
                tree.insert(path.clone(), named.clone());
            }
            Self::Remove(path) => {
                tree.remove(path);
            }
            Self::Rename(from, to, named) => {
                tree.remove(from);
                tree.insert(to.clone(), named.clone());
            }
        }
    }
}

/// All names, and the way to what is durable of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    now: BTreeMap<PathBuf, Named>,
    durable: BTreeMap<PathBuf, Named>,
    pending: Vec<Change>,
}

impl Names {
    pub(super) fn file(&self, path: &Path) -> io::Result<&Arc<Node>> {
        match self.now.get(path) {
            Some(Named::File(node)) => Ok(node),
            Some(Named::Directory) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    /// Whether a directory is there. The roots always are.
    pub(super) fn is_directory(&self, path: &Path) -> bool {
        path.parent().is_none() || matches!(self.now.get(path), Some(Named::Directory))
    }

    pub(super) fn children<'a>(
        &'a self,
        directory: &'a Path,
    ) -> impl Iterator<Item = (&'a str, &'a Named)> {
        // Paths are ordered by their parts, so whatever lies below a directory follows it at once.
        self.now
            .range(directory.to_owned()..)
            .take_while(move |(path, _)| path.starts_with(directory))
            .filter(move |(path, _)| path.parent() == Some(directory))
            .filter_map(|(path, named)| Some((path.file_name()?.to_str()?, named)))
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.now.values().filter_map(|named| match named {
            Named::File(node) => Some(node),
            Named::Directory => None,
        })
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.pending.push(change);
    }

    pub(super) fn add(&mut self, path: &Path, named: Named) -> io::Result<()> {
        if !path
            .parent()
            .is_some_and(|parent| self.is_directory(parent))
        {
            return Err(ErrorKind::NotFound.into());
        }
        if self.now.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        self.change(Change::Add(path.to_owned(), named));
        Ok(())
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<Arc<Node>> {
        let node = self.file(path)?.clone();
        self.change(Change::Remove(path.to_owned()));
        Ok(node)
    }

    pub(super) fn remove_directory(&mut self, path: &Path) -> io::Result<()> {
        match self.now.get(path) {
            None => Err(ErrorKind::NotFound.into()),
            Some(Named::File(_)) => Err(ErrorKind::NotADirectory.into()),
            Some(Named::Directory) if self.children(path).next().is_some() => {
                Err(ErrorKind::DirectoryNotEmpty.into())
            }
            Some(Named::Directory) => {
                self.change(Change::Remove(path.to_owned()));
                Ok(())
            }
        }
    }

    /// Returns the file that had the name before.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<Option<Arc<Node>>> {
        let node = self.file(from)?.clone();
        let replaced = match self.now.get(to) {
            Some(Named::Directory) => return Err(ErrorKind::IsADirectory.into()),
            Some(Named::File(replaced)) => Some(replaced.clone()),
            None if to.parent().is_some_and(|parent| self.is_directory(parent)) => None,
            None => return Err(ErrorKind::NotFound.into()),
        };
        let renamed = Named::File(node);
        self.change(Change::Rename(from.to_owned(), to.to_owned(), renamed));
        Ok(replaced)
    }

    /// Makes the changes inside a directory durable; with `works` false they are lost with the next power cut.
    pub(super) fn sync(&mut self, directory: &Path, works: bool) -> io::Result<()> {
        if !self.is_directory(directory) {
            return Err(ErrorKind::NotFound.into());
        }
        let (touched, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|change| change.touches(directory));
        self.pending = others;
        if works {
            touched
                .iter()
                .for_each(|change| change.apply(&mut self.durable));
        }
        Ok(())
    }

    /// What a power cut leaves: what is durable, and each other change or not.
    pub(super) fn after_power_cut(&self, dice: &mut Dice) -> Self {
        let mut left = self.durable.clone();
        for change in &self.pending {
            if dice.coin() {
                change.apply(&mut left);
            }
        }
        let rooted = |path: &Path| {
            path.ancestors()
                .skip(1)
                .filter(|above| above.parent().is_some())
                .all(|above| matches!(left.get(above), Some(Named::Directory)))
        };
        let kept: BTreeMap<_, _> = left
            .iter()
            .filter(|(path, _)| rooted(path))
            .map(|(path, named)| (path.clone(), named.clone()))
            .collect();
        Self {
            now: kept.clone(),
            durable: kept,
            pending: Vec::new(),
        }
    }

    /// The same tree over other files.
    pub(super) fn map_files(&self, mut map: impl FnMut(&Arc<Node>) -> Arc<Node>) -> Self {
        let mut map = |named: &Named| match named {
            Named::Directory => Named::Directory,
            Named::File(node) => Named::File(map(node)),
        };
        let mut tree = |tree: &BTreeMap<PathBuf, Named>| -> BTreeMap<PathBuf, Named> {
            tree.iter()
                .map(|(path, named)| (path.clone(), map(named)))
                .collect()
        };
        let (now, durable) = (tree(&self.now), tree(&self.durable));
        let pending = self
            .pending
            .iter()
            .map(|change| match change {
                Change::Add(path, named) => Change::Add(path.clone(), map(named)),
                Change::Remove(path) => Change::Remove(path.clone()),
                Change::Rename(from, to, named) => {
                    Change::Rename(from.clone(), to.clone(), map(named))
                }
            })
            .collect();
        Self {
            now,
            durable,
            pending,
        }
    }
}
