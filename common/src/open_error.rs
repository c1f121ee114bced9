//! Says why a file could not be opened: which file or directory on its path refuses which user.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use nix::unistd::{Gid, Group, Uid, User, geteuid};

/// More of them are a loop, as for the kernel.
const MAX_LINKS: u32 = 40;

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
    let mut here = PathBuf::from("/");
    let mut rest = names(&std::path::absolute(file)?);
    let mut links = 0;
    while let Some(name) = rest.pop() {
        if name == ".." {
            here.pop();
            continue;
        }
        let place = here.join(&name);
        let found = match fs::symlink_metadata(&place) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let found = fs::metadata(&here).ok();
                return Ok(Refusing::Directory(here, found));
            }
            found => found?,
        };
        if found.is_symlink() {
            links += 1;
            if links > MAX_LINKS {
                return Err(io::Error::other("too many symbolic links"));
            }
            let target = fs::read_link(&place)?;
            if target.is_absolute() {
                here = PathBuf::from("/");
            }
            rest.extend(names(&target));
        } else {
            here = place;
        }
    }
    fs::metadata(&here).map(Refusing::Itself)
}

/// The names in a path, the first one last.
fn names(path: &Path) -> Vec<OsString> {
    let names = path.components().rev().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    });
    names.collect()
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
