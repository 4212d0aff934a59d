//! Files that commands write: whole or not at all, and nobody else's file is touched.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;
use tempfile::NamedTempFile;

/// Links that lead to links: as many as the kernel follows.
const MOST_LINKS: usize = 40;
/// Names that are tried for a result whose own name was taken meanwhile.
const MOST_NAMES: u32 = 1_000;

/// A place for a file, which was found writable.
#[derive(Debug)]
pub struct Destination {
    /// As the user wrote it.
    path: PathBuf,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// A regular file, or none yet: written beside it and put in its place, so that it is never seen half written.
    File {
        /// Where links lead.
        target: PathBuf,
        /// What was there at first.
        found: Option<Identity>,
    },
    /// A FIFO, a device or a descriptor: it cannot be replaced, so it is written to.
    Stream(File),
}

/// What tells one content of a file from another.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

/// A file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}", path.display())]
pub struct SaveError {
    path: PathBuf,
    source: io::Error,
}

impl Destination {
    /// Makes sure that `path` can be written. A file that is there already is not touched yet. Links are followed. Opening
    /// a FIFO waits for its reader; `waiting` is called before, if there is none yet.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn reserve(path: &Path, waiting: impl FnOnce()) -> Result<Self, SaveError> {
        match Place::find(path, waiting) {
            Ok(place) => Ok(Self { path: path.to_owned(), place }),
            Err(source) => Err(SaveError { path: path.to_owned(), source }),
        }
    }

    /// Writes the file. Where somebody else has written to a regular file meanwhile, theirs stays, and this one gets a
    /// name of its own, which is returned.
    ///
    /// # Errors
    /// If it cannot be written; what was there before is there still, unless it is no regular file.
    pub fn write(self, text: &str) -> Result<Option<PathBuf>, SaveError> {
        let written = match self.place {
            Place::Stream(mut stream) => stream.write_all(text.as_bytes()).map(|()| None),
            Place::File { target, found } => replace(&target, found, text.as_bytes()),
        };
        written.map_err(|source| SaveError { path: self.path, source })
    }
}

/// Writes `path` now: [`Destination::reserve`] and [`Destination::write`].
///
/// # Errors
/// If it cannot be written.
pub fn save(path: &Path, text: &str) -> Result<(), SaveError> {
    Destination::reserve(path, || ())?.write(text).map(drop)
}

/// Makes sure that files can be made in `folder`.
///
/// # Errors
/// If they cannot.
pub fn check_folder(folder: &Path) -> io::Result<()> {
    beside(&folder.join("file")).map(drop)
}

/// Writes what could not be written to its place to a new file in the folder for temporary files: where it is now, if
/// there is room.
pub fn rescue(text: &str) -> Option<PathBuf> {
    let mut file = tempfile::Builder::new().prefix("shakedown-").suffix(".json").tempfile().ok()?;
    file.write_all(text.as_bytes()).ok()?;
    file.keep().ok().map(|(_, path)| path)
}

impl Place {
    fn find(path: &Path, waiting: impl FnOnce()) -> io::Result<Self> {
        let target = match followed(path)? {
            Followed::Path(target) => target,
            // To its end: what is open already may have a content.
            Followed::Descriptor(path) => return Ok(Self::Stream(OpenOptions::new().append(true).open(path)?)),
        };
        match target.metadata() {
            Ok(metadata) if metadata.is_dir() => Err(ErrorKind::IsADirectory.into()),
            Ok(metadata) if metadata.is_file() => {
                OpenOptions::new().append(true).open(&target)?;
                Ok(Self::File { found: Some(Identity::of(&metadata)), target })
            }
            Ok(metadata) if metadata.file_type().is_fifo() => open_fifo(&target, waiting).map(Self::Stream),
            Ok(_) => {
                let flags = OFlags::NOCTTY.bits() as i32;
                Ok(Self::Stream(OpenOptions::new().write(true).custom_flags(flags).open(&target)?))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                drop(beside(&target)?);
                Ok(Self::File { found: None, target })
            }
            Err(error) => Err(error),
        }
    }
}

impl Identity {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }

    fn at(path: &Path) -> Option<Self> {
        path.metadata().ok().as_ref().map(Self::of)
    }
}

enum Followed {
    Path(PathBuf),
    Descriptor(PathBuf),
}

/// Where symbolic links lead; the last one may lead to what is not there yet.
fn followed(path: &Path) -> io::Result<Followed> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // The links in there lead to what is open, not to names.
        if fs::canonicalize(folder).is_ok_and(|real| real.starts_with("/proc") && real.ends_with("fd")) {
            return Ok(Followed::Descriptor(path));
        }
        match fs::read_link(&path) {
            Ok(next) => path = folder.join(next),
            Err(_) => return Ok(Followed::Path(path)),
        }
    }
    Err(Errno::LOOP.into())
}

fn open_fifo(path: &Path, waiting: impl FnOnce()) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits() as i32;
    match OpenOptions::new().write(true).custom_flags(flags).open(path) {
        Ok(fifo) => {
            // A reader who is slower than the writer is waited for.
            rustix::fs::fcntl_setfl(&fifo, OFlags::empty())?;
            Ok(fifo)
        }
        Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
            waiting();
            OpenOptions::new().write(true).open(path)
        }
        Err(error) => Err(error),
    }
}

/// A new file in the folder of `target`, under a name that nobody has, with the permissions that the umask leaves.
fn beside(target: &Path) -> io::Result<NamedTempFile> {
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut cause = None;
    let create = |path: &Path| {
        let created = OpenOptions::new().write(true).create_new(true).mode(0o666).open(path);
        created.inspect_err(|error| cause = error.raw_os_error())
    };
    let made = tempfile::Builder::new().prefix(".shakedown-").suffix(".partial").make_in(folder, create);
    // The system's answer, without the name of a file that nobody asked for.
    made.map_err(|error| cause.map_or(error, io::Error::from_raw_os_error))
}

/// Puts `bytes` in the place of `target`, or beside it if it is no longer what was `found` there.
fn replace(target: &Path, found: Option<Identity>, bytes: &[u8]) -> io::Result<Option<PathBuf>> {
    let mut partial = match beside(target) {
        Ok(partial) => partial,
        // A file that may be written in a folder that may not.
        Err(_) if found.is_some() && Identity::at(target) == found => return fs::write(target, bytes).map(|()| None),
        Err(error) => return Err(error),
    };
    partial.as_file_mut().write_all(bytes)?;
    partial.as_file().sync_all()?;
    if found.is_none() || Identity::at(target) != found {
        return put_beside(partial, target);
    }
    let metadata = target.metadata()?;
    partial.as_file().set_permissions(metadata.permissions())?;
    // Only root may give files away; others write files of their own.
    let _ = std::os::unix::fs::fchown(partial.as_file(), Some(metadata.uid()), Some(metadata.gid()));
    match partial.persist(target) {
        Ok(_) => Ok(None),
        // A file that is a mount point of its own, as containers have them, or another's in a folder for all.
        Err(refused) if [ErrorKind::ResourceBusy, ErrorKind::PermissionDenied].contains(&refused.error.kind()) => {
            fs::write(target, bytes).map(|()| None)
        }
        Err(refused) => Err(refused.error),
    }
}

/// Gives the file the name of `target`, or the first of `NAME-2`, `NAME-3` and so on that nobody has.
fn put_beside(mut partial: NamedTempFile, target: &Path) -> io::Result<Option<PathBuf>> {
    let stem = target.file_stem().unwrap_or_default().to_os_string();
    for number in 1..=MOST_NAMES {
        let mut name = stem.clone();
        if number > 1 {
            name.push(format!("-{number}"));
        }
        if let Some(extension) = target.extension() {
            name.push(".");
            name.push(extension);
        }
        let path = target.with_file_name(name);
        match partial.persist_noclobber(&path) {
            Ok(_) => return Ok((number > 1).then_some(path)),
            Err(refused) if refused.error.kind() == ErrorKind::AlreadyExists => partial = refused.file,
            Err(refused) => return Err(refused.error),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn reserved(path: &Path) -> Destination {
        Destination::reserve(path, || ()).unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_reserved_place_leaves_nothing_behind_and_touches_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result.json");
        drop(reserved(&path));
        assert_eq!(names(folder.path()), [""; 0]);
        fs::write(folder.path().join("result.json.partial"), "somebody's").unwrap();
        assert_eq!(reserved(&path).write("new").unwrap(), None);
        assert_eq!(names(folder.path()), ["result.json", "result.json.partial"]);
        assert_eq!(fs::read_to_string(folder.path().join("result.json.partial")).unwrap(), "somebody's");
    }

    #[test]
    fn what_cannot_be_written_is_found_first() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |path: &Path| Destination::reserve(path, || ()).unwrap_err().to_string();
        assert!(refused(folder.path()).contains("directory"));
        let missing = folder.path().join("missing/result.json");
        assert_eq!(
            refused(&missing),
            format!("cannot write {}: No such file or directory (os error 2)", missing.display())
        );
        let circle = folder.path().join("circle");
        symlink(&circle, &circle).unwrap();
        assert!(refused(&circle).contains("symbolic links"));
    }

    #[test]
    fn links_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("there")).unwrap();
        let (link, file) = (folder.path().join("link"), folder.path().join("there/file"));
        symlink("there/file", &link).unwrap();
        for text in ["one", "two"] {
            assert_eq!(reserved(&link).write(text).unwrap(), None);
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
            assert!(link.is_symlink());
        }
        assert_eq!(names(&folder.path().join("there")), ["file"]);
    }

    #[test]
    fn a_file_keeps_its_permissions() {
        let folder = tempfile::tempdir().unwrap();
        let (path, plain) = (folder.path().join("file"), folder.path().join("plain"));
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        save(&path, "new").unwrap();
        assert_eq!((mode(&path), fs::read_to_string(&path).unwrap().as_str()), (0o640, "new"));
        // A new one has those of any new file.
        fs::write(&plain, "").unwrap();
        save(&folder.path().join("new"), "").unwrap();
        assert_eq!(mode(&folder.path().join("new")), mode(&plain));
    }

    #[test]
    fn of_two_who_write_one_file_each_keeps_what_it_wrote() {
        for older in [None, Some("older")] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("result.json");
            if let Some(text) = older {
                fs::write(&path, text).unwrap();
            }
            let [one, two, three] = [(); 3].map(|()| reserved(&path));
            assert_eq!(one.write("one").unwrap(), None);
            let second = folder.path().join("result-2.json");
            assert_eq!(two.write("two").unwrap(), Some(second.clone()));
            assert_eq!(three.write("three").unwrap(), Some(folder.path().join("result-3.json")));
            assert_eq!([path, second].map(|path| fs::read_to_string(path).unwrap()), ["one", "two"]);
        }
    }

    #[test]
    fn what_is_open_is_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "before ").unwrap();
        let open = File::open(&path).unwrap();
        let through = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
        let link = folder.path().join("link");
        symlink(through, &link).unwrap();
        assert_eq!(reserved(&link).write("after").unwrap(), None);
        assert_eq!(fs::read_to_string(&path).unwrap(), "before after");
        assert_eq!(names(folder.path()), ["file", "link"]);
    }

    #[test]
    fn a_device_stays_one() {
        assert!(reserved(Path::new("/dev/null")).write("text").is_ok());
        assert!(!Path::new("/dev/null").metadata().unwrap().is_file());
        let full = reserved(Path::new("/dev/full")).write("text").unwrap_err().to_string();
        assert!(full.starts_with("cannot write /dev/full: No space left"), "{full}");
    }
}
