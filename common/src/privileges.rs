//! Gives up root's privileges.

use std::ffi::CString;
use std::io;

use nix::unistd::{Gid, Uid, initgroups, setgroups, setresgid, setresuid, setuid};

/// Becomes another user than root, for good, with all groups of the user called `name`, or without a name with the
/// group `gid` alone. Only for root, before the process has other threads.
pub fn become_user(uid: Uid, gid: Gid, name: Option<&str>) -> io::Result<()> {
    match name {
        Some(name) => initgroups(&CString::new(name)?, gid)?,
        None => setgroups(&[gid])?,
    }
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    if setuid(Uid::from_raw(0)).is_ok() {
        return Err(io::Error::other("the privileges of root remained"));
    }
    Ok(())
}
