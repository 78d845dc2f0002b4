//! A cluster's folder: `cluster.toml`, which says who belongs to it, and a folder for each member.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::ClusterError;
use super::plan::{Member, Plan};
use super::shape::Part;
use crate::tools::{ToolError, remark};

const FILE: &str = "cluster.toml";

const ABOUT: &str = "\
# A cluster on this machine, made by `castmq cluster up`: who belongs to it, and the first port of each. A broker listens
# for slaves at the port behind its own. The settings of each member are in its folder.

";

/// A cluster that is there.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) folder: PathBuf,
    pub(super) plan: Plan,
}

/// Keeps other commands from starting and stopping members meanwhile.
#[derive(Debug)]
pub(super) struct Turn {
    _file: File,
}

impl Cluster {
    /// Reads the one of a folder; `None` when the folder is empty or not there.
    pub(super) fn find(folder: &Path) -> Result<Option<Self>, ToolError> {
        let path = folder.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return match is_empty(folder).map_err(failed("look into", folder))? {
                    true => Ok(None),
                    false => Err(ClusterError::Foreign {
                        folder: folder.to_owned(),
                    }
                    .into()),
                };
            }
            Err(error) => return Err(failed("read", &path)(error)),
        };
        let plan = toml::from_str(&text).map_err(|error| ClusterError::Unreadable {
            path: path.clone(),
            reason: error.message().replace('\n', ", "),
        })?;
        // Members change to their own folders, so relative paths would mean something else to them.
        let folder = folder.canonicalize().map_err(failed("find", folder))?;
        Ok(Some(Self { folder, plan }))
    }

    /// Reads the one that has to be there.
    pub(super) fn open(folder: &Path) -> Result<Self, ToolError> {
        let not_there = || ClusterError::NotThere {
            folder: folder.to_owned(),
        };
        match Self::find(folder) {
            Ok(Some(cluster)) => Ok(cluster),
            Ok(None) | Err(ToolError::Cluster(ClusterError::Foreign { .. })) => {
                Err(not_there().into())
            }
            Err(error) => Err(error),
        }
    }

    /// Writes down a new one.
    pub(super) fn create(folder: &Path, plan: Plan) -> Result<Self, ToolError> {
        fs::create_dir_all(folder).map_err(failed("make the folder", folder))?;
        let folder = folder.canonicalize().map_err(failed("find", folder))?;
        let path = folder.join(FILE);
        let failed = failed("write", &path);
        let text = toml::to_string(&plan).map_err(io::Error::other);
        let text = text.map_err(&failed)?;
        // Whole or not at all, and never in place of another's.
        let mut file = NamedTempFile::new_in(&folder).map_err(&failed)?;
        file.write_all(ABOUT.as_bytes()).map_err(&failed)?;
        file.write_all(text.as_bytes()).map_err(&failed)?;
        let written = file.persist_noclobber(&path);
        written.map_err(|error| failed(error.error))?;
        Ok(Self { folder, plan })
    }

    /// Waits until no other command starts or stops members.
    pub(super) fn take_turn(&self) -> Result<Turn, ToolError> {
        let path = self.folder.join(FILE);
        let file = File::open(&path).map_err(failed("read", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                remark("castmq: another `castmq cluster` starts or stops members: waiting for it");
                file.lock().map_err(failed("lock", &path))?;
            }
            Err(TryLockError::Error(error)) => return Err(failed("lock", &path)(error)),
        }
        Ok(Turn { _file: file })
    }

    pub(super) fn member(&self, name: &str) -> Result<&Member, ClusterError> {
        let found = self.plan.members.iter().find(|member| member.name == name);
        found.ok_or_else(|| {
            let names = self.plan.members.iter().map(|member| member.name.as_str());
            ClusterError::UnknownMember {
                name: name.to_owned(),
                folder: self.folder.clone(),
                members: names.collect::<Vec<_>>().join(", "),
            }
        })
    }

    /// Those of these names, in the cluster's order.
    pub(super) fn members(&self, names: &[String]) -> Result<Vec<&Member>, ClusterError> {
        for name in names {
            self.member(name)?;
        }
        let members = self.plan.members.iter();
        Ok(members
            .filter(|member| names.contains(&member.name))
            .collect())
    }

    pub(super) fn all(&self) -> Vec<&Member> {
        self.plan.members.iter().collect()
    }

    /// What is said when these do not run.
    pub(super) fn some_down(&self, names: &[String]) -> ClusterError {
        ClusterError::SomeDown {
            count: names.len(),
            all: self.plan.members.len(),
            names: names.join(", "),
            folder: self.folder.clone(),
        }
    }

    /// A member's own folder.
    pub(super) fn folder_of(&self, member: &Member) -> PathBuf {
        self.folder.join(&member.name)
    }

    /// A member's settings.
    pub(super) fn config_of(&self, member: &Member) -> PathBuf {
        self.folder_of(member).join("castmq.toml")
    }

    /// What a member printed and logged since the cluster was made.
    pub(super) fn log_of(&self, member: &Member) -> PathBuf {
        self.folder_of(member).join("castmq.log")
    }

    /// A member's data.
    pub(super) fn data_of(&self, member: &Member) -> PathBuf {
        self.folder_of(member).join("data")
    }

    /// The file by which a member's process is found.
    pub(super) fn pid_file_of(&self, member: &Member) -> PathBuf {
        let name = match member.part {
            Part::NameServer => format!("namesrv-{}", member.port),
            Part::Broker { .. } => "broker".to_owned(),
        };
        let extension = crate::pid_file::EXTENSION;
        self.data_of(member).join(format!("{name}.{extension}"))
    }

    /// Removes the folder with all that the cluster made in it. Returns false when other things are in there, which stay.
    pub(super) fn delete(&self) -> Result<bool, ToolError> {
        for member in &self.plan.members {
            let folder = self.folder_of(member);
            let data = self.data_of(member);
            gone(fs::remove_dir_all(&data)).map_err(failed("remove", &data))?;
            for path in [self.config_of(member), self.log_of(member)] {
                gone(fs::remove_file(&path)).map_err(failed("remove", &path))?;
            }
            gone(fs::remove_dir(&folder)).map_err(failed("remove", &folder))?;
        }
        let path = self.folder.join(FILE);
        fs::remove_file(&path).map_err(failed("remove", &path))?;
        let removed = gone(fs::remove_dir(&self.folder));
        removed.map_err(failed("remove", &self.folder))
    }
}

/// False when what was to be removed has something in it that nobody here put there.
fn gone(removed: io::Result<()>) -> io::Result<bool> {
    match removed {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_empty(folder: &Path) -> io::Result<bool> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// What could not be done with a file or a folder.
pub(super) fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> ToolError {
    let path = path.to_owned();
    move |source| ToolError::File {
        action,
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::Replication;
    use super::super::ports::Ports;
    use super::super::shape::Shape;
    use super::*;

    fn plan() -> Plan {
        let shape = Shape {
            name_servers: 1,
            masters: 1,
            slaves: 1,
        };
        let settings = vec![("log.filter".to_owned(), "a=\"b\"".to_owned())];
        Plan::new(shape, Replication::Async, settings, &mut Ports::default()).unwrap()
    }

    #[test]
    fn a_cluster_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("new/cluster");
        assert!(Cluster::find(&place).unwrap().is_none());
        let made = Cluster::create(&place, plan()).unwrap();
        let found = Cluster::find(&place).unwrap().unwrap();
        assert_eq!(found.plan, made.plan);
        assert_eq!(found.plan.shape(), made.plan.shape());
        let again = Cluster::create(&place, plan());
        assert!(again.is_err(), "another's file is written over");
    }

    #[test]
    fn only_what_the_cluster_made_is_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("cluster");
        let cluster = Cluster::create(&place, plan()).unwrap();
        let data = cluster.data_of(cluster.member("broker-a").unwrap());
        fs::create_dir_all(&data).unwrap();
        let notes = place.join("broker-a/notes");
        fs::write(&notes, "mine").unwrap();
        assert!(!cluster.delete().unwrap());
        assert!(notes.exists() && !data.exists());
        fs::remove_file(&notes).unwrap();
        fs::remove_dir(place.join("broker-a")).unwrap();
        assert!(Cluster::find(&place).unwrap().is_none());
        let cluster = Cluster::create(&place, plan()).unwrap();
        assert!(cluster.delete().unwrap());
        assert!(!place.exists());
    }
}
