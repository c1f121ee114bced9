//! Says why a file could not be opened: which file or directory on its path refuses which user.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group, Uid, User, geteuid};

use crate::path_walk::PathWalk;

/// The text of an error of opening `file` for `access`, such as "read"; if the permission was missing, also what
/// denies it to this process.
pub fn explain_open_error(error: &io::Error, file: &Path, access: &str) -> String {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return error.to_string();
    }
    let user = format!("user {}", user_name(geteuid().as_raw()));
    match refusing(file) {
        Ok(Refusing::Directory(directory, found)) => {
            let (directory, who) = (directory.display(), owners(found.as_ref()));
            format!("{error}: {user} may not enter the directory {directory}{who}")
        }
        Ok(Refusing::Itself(found)) => {
            format!("{error}: {user} may not {access} it{}", owners(Some(&found)))
        }
        Err(_) => error.to_string(),
    }
}

enum Refusing {
    /// This directory on the path may not be entered.
    Directory(PathBuf, Option<Metadata>),
    /// The way is free, so it is the file.
    Itself(Metadata),
}

/// Follows the path, links included.
fn refusing(file: &Path) -> io::Result<Refusing> {
    let mut walk = PathWalk::new(file)?;
    while let Some(step) = walk.step()? {
        match step.found {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let here = walk.here().to_owned();
                let found = fs::metadata(&here).ok();
                return Ok(Refusing::Directory(here, found));
            }
            found => found?,
        };
    }
    fs::metadata(walk.here()).map(Refusing::Itself)
}

fn owners(found: Option<&Metadata>) -> String {
    let Some(found) = found else { return String::new() };
    let (user, group) = (user_name(found.uid()), group_name(found.gid()));
    format!(" (owner {user}, group {group}, mode {:04o})", found.permissions().mode() & 0o7777)
}

/// Its number if it has no name.
fn user_name(id: u32) -> String {
    let user = User::from_uid(Uid::from_raw(id)).ok().flatten();
    user.map_or_else(|| id.to_string(), |user| user.name)
}

fn group_name(id: u32) -> String {
    let group = Group::from_gid(Gid::from_raw(id)).ok().flatten();
    group.map_or_else(|| id.to_string(), |group| group.name)
}
