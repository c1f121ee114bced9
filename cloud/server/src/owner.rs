//! Root in another user's directory. That user may plant links there, and has to use what is created there;
//! so a command that root runs becomes that user before it opens anything. For `check-config` the user can also be
//! named.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fedecks_common::{PathWalk, Step, become_user};
use nix::unistd::{Gid, Uid, User, geteuid};

use crate::error::ServerError;

/// A user other than root who decides what a path leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
    /// What of the path belongs to this user.
    pub(crate) place: PathBuf,
}

/// If this process is root: becomes the owner of the first of these paths that is not root's alone. Returns
/// who that is.
pub(crate) fn act_as_owner_of(paths: &[&Path]) -> Result<Option<Owner>, ServerError> {
    for path in paths {
        if let Some(owner) = Owner::of(path)? {
            owner.become_it()?;
            return Ok(Some(owner));
        }
    }
    Ok(None)
}

/// Becomes the user with this name or number, unless it is this process's. Fails if only root could.
pub(crate) fn act_as(user: &str) -> Result<(), ServerError> {
    let failed = || ServerError::io(format!("act as the user {user:?}"));
    let found = match user.parse() {
        Ok(number) => Ok(Some((Uid::from_raw(number), Gid::from_raw(number)))),
        Err(_) => User::from_name(user).map(|user| user.map(|user| (user.uid, user.gid))),
    };
    let found = found.map_err(|error| failed()(error.into()))?;
    let Some((uid, gid)) = found else {
        return Err(failed()(io::Error::other("no such user")));
    };
    if geteuid() == uid {
        return Ok(());
    }
    if !geteuid().is_root() {
        return Err(failed()(io::Error::other("only root can act as another user")));
    }
    Owner { uid, gid, place: PathBuf::new() }.switch().map_err(failed())
}

impl Owner {
    /// Who decides what `path` leads to, if that is not root alone: the owner of the first directory, link
    /// or replaceable file on it that is not root's. Always `None` for a process that is not root.
    ///
    /// What precedes it belongs to root, who alone could change it meanwhile.
    pub(crate) fn of(path: &Path) -> Result<Option<Self>, ServerError> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        Self::find(path).map_err(ServerError::io(format!("look at {}", path.display())))
    }

    fn find(path: &Path) -> io::Result<Option<Self>> {
        let mut walk = PathWalk::new(path)?;
        let mut shared = false;
        while let Some(Step { place, found }) = walk.step()? {
            let found = match found {
                // Created by this process, as root, in a directory of root's.
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                found => found?,
            };
            // Another user's file in root's own directory cannot be replaced by a link.
            if found.uid() != 0 && (shared || !found.is_file()) {
                let (uid, gid) = (Uid::from_raw(found.uid()), Gid::from_raw(found.gid()));
                return Ok(Some(Self { uid, gid, place }));
            }
            if !found.is_symlink() {
                let by_group = found.mode() & 0o020 != 0 && found.gid() != 0;
                shared = by_group || found.mode() & 0o002 != 0;
            }
        }
        Ok(None)
    }

    /// Becomes this user, with its groups and none of root's privileges, for good. Before the process has
    /// other threads, and before it opens anything in the directory.
    pub(crate) fn become_it(&self) -> Result<(), ServerError> {
        let place = self.place.display();
        let failed = ServerError::io(format!("act as the owner of {place}, user {}", self.uid));
        self.switch().map_err(failed)
    }

    fn switch(&self) -> io::Result<()> {
        let Self { uid, gid, .. } = *self;
        match User::from_uid(uid).ok().flatten() {
            Some(user) => become_user(uid, user.gid, Some(&user.name)),
            None => become_user(uid, gid, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, lchown, symlink};

    use super::*;

    fn give(path: &Path) {
        lchown(path, Some(4242), Some(4242)).unwrap();
    }

    #[test]
    fn a_path_belongs_to_the_first_user_who_can_redirect_it() {
        if !fedecks_testing::wait::is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let place = |path: &str| Owner::of(&file(path)).unwrap().map(|owner| owner.place);
        fs::create_dir_all(file("roots/theirs/below")).unwrap();
        give(&file("roots/theirs"));
        symlink("roots", file("link")).unwrap();
        symlink("roots", file("their-link")).unwrap();
        give(&file("their-link"));
        fs::write(file("roots/file"), "").unwrap();
        give(&file("roots/file"));
        fs::create_dir(file("shared")).unwrap();
        fs::set_permissions(file("shared"), PermissionsExt::from_mode(0o1777)).unwrap();
        fs::write(file("shared/file"), "").unwrap();
        give(&file("shared/file"));
        for (path, expected) in [
            ("roots/new", None),
            ("link/new/newer", None),
            ("roots/file", None),
            ("roots/theirs/below/new", Some("roots/theirs")),
            ("link/theirs", Some("roots/theirs")),
            ("their-link/file", Some("their-link")),
            ("their-link/../roots", Some("their-link")),
            ("roots/theirs/../file", Some("roots/theirs")),
            ("shared/file", Some("shared/file")),
            ("shared/new", None),
        ] {
            assert_eq!(place(path), expected.map(file), "{path}");
        }
        symlink("loop", file("loop")).unwrap();
        let error = Owner::of(&file("loop")).unwrap_err().to_string();
        assert!(error.ends_with(": too many symbolic links"), "{error}");
    }
}
