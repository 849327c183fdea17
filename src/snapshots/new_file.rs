//! A file that takes another one's place as a whole.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What is appended to a name while the file is written. A program that is killed leaves such a file; the next save under the same name
/// overwrites it.
const PART: &str = ".part";

/// A file that is written beside the one whose place it takes ([`keep`](Self::keep)). Dropped without that, it is
/// removed, and the other one stays as it was.
pub struct NewFile {
    file: File,
    part: PathBuf,
    target: PathBuf,
    kept: bool,
}

impl NewFile {
    /// A new file for this name, for its owner's eyes only.
    ///
    /// # Errors
    /// The host's; another program writes one for the same name; what has the name is no file.
    pub fn create(target: &Path) -> io::Result<Self> {
        // The file that a symbolic link leads to is replaced, not the link.
        let target = target.canonicalize().unwrap_or_else(|_| target.to_owned());
        if fs::metadata(&target).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(io::Error::other("it is there and no file"));
        }
        let name = target.file_name().ok_or_else(|| io::Error::other("it names no file"))?;
        let mut part_name = name.to_owned();
        part_name.push(PART);
        let part = target.with_file_name(part_name);
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&part)?;
        let in_use = || io::Error::other("another program saves a machine there");
        // A file system without locks has none who could be in the way.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(in_use());
        }
        // Whoever held the lock before may have given the file its name.
        let (opened, there) = (file.metadata()?, fs::metadata(&part).map_err(|_| in_use())?);
        if (opened.dev(), opened.ino()) != (there.dev(), there.ino()) {
            return Err(in_use());
        }
        let new = Self { file, part, target, kept: false };
        new.file.set_len(0)?;
        Ok(new)
    }
    /// What is written to.
    pub fn file(&self) -> &File {
        &self.file
    }
    /// Has the file take its place, once its content would survive a crash of the host.
    ///
    /// # Errors
    /// The host's: the file that was there is still there.
    pub fn keep(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.part, &self.target)?;
        self.kept = true;
        // The new name too. A file system that cannot has its own ways.
        let folder = self.target.parent().filter(|folder| !folder.as_os_str().is_empty());
        _ = File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.kept {
            _ = fs::remove_file(&self.part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// A folder of the test's own.
    struct Folder(PathBuf);
    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("trimotor-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
        fn names(&self) -> Vec<String> {
            let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
            let mut names: Vec<_> = fs::read_dir(&self.0).unwrap().map(name).collect();
            names.sort();
            names
        }
    }
    impl Drop for Folder {
        fn drop(&mut self) {
            _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_or_not_at_all() {
        let folder = Folder::new("replaced");
        let path = folder.0.join("m");
        fs::write(&path, "old").unwrap();
        let mut new = NewFile::create(&path).unwrap();
        new.file.write_all(b"new").unwrap();
        assert!(NewFile::create(&path).is_err_and(|error| error.to_string().contains("another program")));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        drop(new);
        assert_eq!((fs::read(&path).unwrap(), folder.names()), (b"old".to_vec(), vec!["m".to_owned()]));
        // What a program that was killed has left is in nobody's way.
        fs::write(folder.0.join("m.part"), "a long rest of before").unwrap();
        let mut new = NewFile::create(&path).unwrap();
        new.file.write_all(b"new").unwrap();
        new.keep().unwrap();
        assert_eq!((fs::read(&path).unwrap(), folder.names()), (b"new".to_vec(), vec!["m".to_owned()]));
    }

    #[test]
    fn links_are_followed_and_what_is_no_file_is_refused() {
        let folder = Folder::new("links");
        let (file, link) = (folder.0.join("file"), folder.0.join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        NewFile::create(&link).unwrap().keep().unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        for path in [folder.0.as_path(), Path::new("/dev/null"), Path::new("/"), &folder.0.join("no/m")] {
            assert!(NewFile::create(path).is_err(), "{}", path.display());
        }
        assert_eq!(folder.names(), ["file", "link"]);
    }
}
