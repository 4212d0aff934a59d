//! Files that commands read: from the front to the end and once, so that pipes serve as well. `-` is stdin.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

/// What pipes have given. They give it only once, and the files that a plan names are read again for each run of it.
static GIVEN: LazyLock<Mutex<HashMap<PathBuf, Vec<u8>>>> = LazyLock::new(Mutex::default);

/// Whether `path` stands for stdin.
pub fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Whether `path` leads to something that is open already: stdin, or what a shell makes of `<(command)`.
pub fn is_open_already(path: &Path) -> bool {
    let folders = ["/dev/fd", "/proc/self/fd"];
    is_stdin(path) || path == Path::new("/dev/stdin") || folders.iter().any(|folder| path.starts_with(folder))
}

/// What an error calls the file.
pub fn name(path: &Path) -> &Path {
    if is_stdin(path) { Path::new("stdin") } else { path }
}

/// Where paths in a file begin: at its folder, or at the current one if the file has none.
pub fn folder(path: &Path) -> &Path {
    let none = Path::new("");
    if is_open_already(path) { none } else { path.parent().unwrap_or(none) }
}

/// Opens a file to be read from the front to the end.
///
/// # Errors
/// If there is no such file, or it must not be read.
pub fn open(path: &Path) -> io::Result<Box<dyn Read + Send>> {
    if is_stdin(path) { Ok(Box::new(io::stdin())) } else { Ok(Box::new(File::open(path)?)) }
}

/// The bytes of a file; what a pipe gave once it gives again.
///
/// # Errors
/// If it cannot be read, or has more than `most` bytes: then no more than that are held.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    if !is_stdin(path) && path.metadata()?.is_file() {
        return read_all(path, most);
    }
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(bytes) = given.get(path) {
        return Ok(bytes.clone());
    }
    let bytes = read_all(path, most)?;
    given.insert(path.to_owned(), bytes.clone());
    Ok(bytes)
}

/// The text of a file, likewise.
///
/// # Errors
/// As [`read`], and if it is not UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        io::Error::new(ErrorKind::InvalidData, format!("it is not UTF-8 from byte {at} on"))
    })
}

fn read_all(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(
            ErrorKind::FileTooLarge,
            format!("it has more than the {most} bytes that are read"),
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_pipe_is_read_once_and_gives_the_same_again() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"given").unwrap();
        drop(writer);
        let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), reader.as_raw_fd()));
        for _ in 0..2 {
            assert_eq!(read(&path, 5).unwrap(), b"given");
        }
    }

    #[test]
    fn a_file_is_read_as_it_is_now() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for text in ["one", "another"] {
            fs::write(&path, text).unwrap();
            assert_eq!(read_text(&path, 7).unwrap(), text);
        }
    }

    #[test]
    fn what_has_no_end_and_what_is_no_text_is_refused() {
        let endless = read(Path::new("/dev/zero"), 1 << 10).unwrap_err();
        assert_eq!((endless.kind(), endless.to_string().contains("1024 bytes")), (ErrorKind::FileTooLarge, true));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, b"abc\xff").unwrap();
        assert!(read(&path, 3).is_err());
        let error = read_text(&path, 4).unwrap_err().to_string();
        assert!(error.contains("not UTF-8 from byte 3"), "{error}");
    }

    #[test]
    fn paths_in_a_file_begin_at_its_folder_if_it_has_one() {
        for (path, from) in [
            ("scenarios/a.toml", "scenarios"),
            ("a.toml", ""),
            ("-", ""),
            ("/dev/stdin", ""),
            ("/dev/fd/63", ""),
            ("/proc/self/fd/11", ""),
        ] {
            assert_eq!(folder(Path::new(path)), Path::new(from), "{path}");
        }
    }
}
