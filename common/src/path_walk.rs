//! Follows a path name by name, links included, so that its caller sees the owner of each part of it. It opens
//! nothing.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::mem;
use std::path::{Component, Path, PathBuf};

/// More links than this are a loop, as for the kernel.
const MAX_LINKS: u32 = 40;

/// The way along a path, from the root on.
#[derive(Debug)]
pub struct PathWalk {
    here: PathBuf,
    /// The names that are left, the next one last.
    rest: Vec<OsString>,
    links: u32,
    next: Next,
}

/// One name on the path.
#[derive(Debug)]
pub struct Step {
    /// The name and what it is in.
    pub place: PathBuf,
    /// A link's own metadata. After an error there is no further step.
    pub found: io::Result<Metadata>,
}

/// Where the latest step leads.
#[derive(Debug)]
enum Next {
    Stay,
    Enter(PathBuf),
    Follow(PathBuf),
}

impl PathWalk {
    /// The way along `path`, which need not exist.
    pub fn new(path: &Path) -> io::Result<Self> {
        let rest = names(&std::path::absolute(path)?);
        Ok(Self { here: "/".into(), rest, links: 0, next: Next::Stay })
    }

    /// What the steps before the latest one have led to; all of them once there is no further one.
    pub fn here(&self) -> &Path {
        &self.here
    }

    /// Takes the next step; `None` at the end of the path.
    pub fn step(&mut self) -> io::Result<Option<Step>> {
        match mem::replace(&mut self.next, Next::Stay) {
            Next::Stay => {}
            Next::Enter(place) => self.here = place,
            Next::Follow(link) => self.follow(&link)?,
        }
        while let Some(name) = self.rest.pop() {
            if name == ".." {
                self.here.pop();
                continue;
            }
            let place = self.here.join(&name);
            let found = fs::symlink_metadata(&place);
            match &found {
                Ok(found) if found.is_symlink() => self.next = Next::Follow(place.clone()),
                Ok(_) => self.next = Next::Enter(place.clone()),
                Err(_) => self.rest.clear(),
            }
            return Ok(Some(Step { place, found }));
        }
        Ok(None)
    }

    fn follow(&mut self, link: &Path) -> io::Result<()> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(io::Error::other("too many symbolic links"));
        }
        let target = fs::read_link(link)?;
        if target.is_absolute() {
            self.here = "/".into();
        }
        self.rest.extend(names(&target));
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_and_parents_are_followed_to_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        fs::create_dir_all(folder.join("a/b")).unwrap();
        symlink("a/b", folder.join("relative")).unwrap();
        symlink(folder.join("a"), folder.join("absolute")).unwrap();
        symlink("loop", folder.join("loop")).unwrap();
        for (path, places, end) in [
            ("a/b", &["a", "a/b"][..], "a/b"),
            ("relative/../b", &["relative", "a", "a/b", "a/b"], "a/b"),
            ("absolute/b", &["absolute", "a", "a/b"], "a/b"),
            ("a/no/more", &["a", "a/no"], "a"),
        ] {
            let mut walk = PathWalk::new(&folder.join(path)).unwrap();
            let mut seen = Vec::new();
            while let Some(step) = walk.step().unwrap() {
                if let Some(below) =
                    step.place.strip_prefix(&folder).ok().filter(|it| *it != Path::new(""))
                {
                    seen.push(below.to_owned());
                }
            }
            assert_eq!(seen, places.iter().map(PathBuf::from).collect::<Vec<_>>(), "{path}");
            assert_eq!(walk.here(), folder.join(end), "{path}");
        }
        let mut walk = PathWalk::new(&folder.join("loop")).unwrap();
        let error = loop {
            if let Err(error) = walk.step() {
                break error;
            }
        };
        assert_eq!(error.to_string(), "too many symbolic links");
    }
}
