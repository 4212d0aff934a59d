//! The result file: found writable before the load, written whole or not at all after it.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use super::result::{ResultFileError, RunResult};

/// A place for a result that was found writable.
#[derive(Debug)]
pub struct ResultFile {
    path: PathBuf,
    /// Written first and renamed at the end; none for devices and pipes, which cannot be replaced.
    partial: Option<PathBuf>,
}

impl ResultFile {
    /// Makes sure that `path` can be written. A file that is there already is not touched yet.
    ///
    /// # Errors
    /// If it cannot be written; the cause is named.
    pub fn reserve(path: &Path) -> Result<Self, ResultFileError> {
        let error = |source| ResultFileError::Write { path: path.to_owned(), source };
        if path.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            return Err(error(std::io::Error::from(std::io::ErrorKind::IsADirectory)));
        }
        if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
            OpenOptions::new().write(true).open(path).map_err(error)?;
            return Ok(Self { path: path.to_owned(), partial: None });
        }
        if path.exists() {
            OpenOptions::new().append(true).open(path).map_err(error)?;
        }
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        fs::File::create(&partial).map_err(error)?;
        Ok(Self { path: path.to_owned(), partial: Some(partial) })
    }

    /// Writes the result by ordinary file operations.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(self, result: &RunResult) -> Result<(), ResultFileError> {
        self.write_text(&result.to_text())
    }

    /// Writes the text of a result of any kind, likewise.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_text(mut self, text: &str) -> Result<(), ResultFileError> {
        fs::write(self.written_first(), text)
            .and_then(|()| self.put_in_place())
            .map_err(|source| ResultFileError::Write { path: self.path.clone(), source })
    }

    /// Writes the result through the control thread's ring.
    ///
    /// # Errors
    /// If it cannot be written.
    #[cfg(not(target_env = "musl"))]
    pub async fn write_on_ring(mut self, result: &RunResult) -> Result<(), ResultFileError> {
        let write = async {
            let file =
                tokio_uring::fs::OpenOptions::new().write(true).truncate(true).open(self.written_first()).await?;
            let (written, _) = file.write_all_at(result.to_text().into_bytes(), 0).await;
            written?;
            file.close().await
        };
        match write.await {
            Ok(()) => self.put_in_place(),
            Err(error) => Err(error),
        }
        .map_err(|source| ResultFileError::Write { path: self.path.clone(), source })
    }

    fn written_first(&self) -> PathBuf {
        self.partial.clone().unwrap_or_else(|| self.path.clone())
    }

    fn put_in_place(&mut self) -> std::io::Result<()> {
        match self.partial.take() {
            Some(partial) => fs::rename(partial, &self.path),
            None => Ok(()),
        }
    }
}

impl Drop for ResultFile {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            // Nothing was written to it that anybody would miss.
            let _ = fs::remove_file(partial);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_place_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result.json");
        drop(ResultFile::reserve(&path).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_cannot_be_written_is_found_first() {
        let folder = tempfile::tempdir().unwrap();
        assert!(ResultFile::reserve(folder.path()).is_err(), "a directory");
        assert!(ResultFile::reserve(&folder.path().join("missing/result.json")).is_err());
        assert!(ResultFile::reserve(Path::new("/dev/null")).is_ok());
    }
}
