//! Files that root creates for the user who owns their directory.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;

use nix::unistd::geteuid;

/// Gives a new file at `path` to the owner of its directory. Only as root: a service that runs as that user must be
/// able to open it. Some file systems have no owners, so a failure changes nothing.
pub fn give_to_owner_of_dir(file: &File, path: &Path) {
    if !geteuid().is_root() {
        return;
    }
    if let Some(Ok(owner)) = path.parent().map(fs::metadata) {
        let _ = fchown(file, Some(owner.uid()), Some(owner.gid()));
    }
}
