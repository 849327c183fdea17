//! What this program keeps with a saved machine: its command line, and how its disks were.
//!
//! A disk's content is no part of a saved machine, but it belongs to it: a guest that goes on with another content spoils its file system.
//! So each file is noted with its size and the time of its last change, and a disk that differs is refused.

use crate::drives::HostDrive;
use crate::host_services;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use trimotor_machine::{HostState, Media};

/// The files that are in the drives now, by the drives' ids.
pub type Files = Arc<Mutex<BTreeMap<String, PathBuf>>>;

/// Hosts note times of changes in steps, of a few milliseconds at most: what is changed in the same step as before has the same
/// time. So that the next change has another one, a save waits until the last one is so long ago.
const STEP: Duration = Duration::from_millis(20);

/// What is kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HostStateV1 {
    /// The command line, without the program's name.
    pub arguments: Vec<String>,
    /// The folder in which it was given, for messages.
    pub folder: String,
    /// The drives.
    pub drives: Vec<DriveStateV1>,
}

/// A drive.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DriveStateV1 {
    /// Its id.
    pub id: String,
    /// What was in it.
    pub file: Option<(String, StampV1)>,
}

/// How a file was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StampV1 {
    bytes: u64,
    /// Nanoseconds since 1970. Zero for a block device, which does not note it.
    modified_ns: u64,
}

impl StampV1 {
    /// How the file is now.
    ///
    /// # Errors
    /// The host's.
    pub fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        if metadata.file_type().is_block_device() {
            return Ok(Self { bytes: File::open(path)?.seek(SeekFrom::End(0))?, modified_ns: 0 });
        }
        let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self {
            bytes: metadata.len(),
            modified_ns: u64::try_from(modified.as_nanos()).unwrap_or(u64::MAX),
        })
    }
    /// The same, such that each later change of the file can be told by it.
    fn of_settled(path: &Path) -> io::Result<Self> {
        let modified = fs::metadata(path)?.modified()?;
        // A change in the future is none that can be waited for.
        let age = SystemTime::now().duration_since(modified).unwrap_or(STEP);
        thread::sleep(STEP.saturating_sub(age));
        Self::of(path)
    }
    /// How this differs from what is there now, for people.
    fn difference(self, now: Self) -> Option<String> {
        if self.bytes != now.bytes {
            Some(format!("it had {} bytes and has {}", self.bytes, now.bytes))
        } else if self.modified_ns != now.modified_ns {
            let seconds = |ns: u64| format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000);
            let (then, now) = (seconds(self.modified_ns), seconds(now.modified_ns));
            Some(format!("its last change was at {then} and is at {now}, in seconds since 1970"))
        } else {
            None
        }
    }
}

impl DriveStateV1 {
    /// Sees that what was in the drive is as it was.
    ///
    /// # Errors
    /// It is not, or is not there; `folder` is where it was.
    pub fn check(&self, folder: &str) -> Result<(), String> {
        let Some((name, stamp)) = &self.file else { return Ok(()) };
        let Self { id, .. } = self;
        let now = StampV1::of(Path::new(name))
            .map_err(|error| format!("drive {id}: {name} (it was given in {folder}): {error}"))?;
        match stamp.difference(now) {
            None => Ok(()),
            Some(difference) => Err(format!(
                "drive {id}: {name} was changed after the machine was saved ({difference}): the guest cannot go on with another \
                 content of its disk; give it back the file as it was"
            )),
        }
    }
}

/// Knows what is kept with a machine that runs.
pub struct Keeper {
    arguments: Vec<String>,
    folder: String,
    drives: Vec<KeptDrive>,
    files: Files,
}

struct KeptDrive {
    id: String,
    /// Its file is not written: what the guest writes goes with the run.
    thrown_away: bool,
    /// What is in it may change while the machine runs.
    removable: bool,
}

impl Keeper {
    /// For a machine with this command line and these drives; `files` is what is in them.
    pub fn new(arguments: Vec<String>, drives: &[HostDrive], files: Files) -> Self {
        let kept = |drive: &HostDrive| KeptDrive {
            id: drive.config.id.clone(),
            thrown_away: drive.spec.snapshot && !drive.spec.read_only,
            removable: drive.config.media != Media::Disk,
        };
        let folder = std::env::current_dir().unwrap_or_default().to_string_lossy().into_owned();
        Self { arguments, folder, drives: drives.iter().map(kept).collect(), files }
    }
    fn kept(&self) -> Result<HostStateV1, String> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let drives =
            self.drives.iter().map(|drive| drive.state(files.get(&drive.id))).collect::<Result<_, _>>()?;
        Ok(HostStateV1 { arguments: self.arguments.clone(), folder: self.folder.clone(), drives })
    }
}

impl HostState for Keeper {
    fn state(&self) -> Result<Vec<u8>, String> {
        postcard::to_stdvec(&self.kept()?).map_err(|error| error.to_string())
    }
    /// Disks have gone back with the machine; discs and floppies must be those that the guest knows.
    fn check(&self, kept: &[u8]) -> Result<(), String> {
        let kept: HostStateV1 =
            postcard::from_bytes(kept).map_err(|error| format!("section \"host\": {error}"))?;
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for drive in self.drives.iter().filter(|drive| drive.removable) {
            let id = &drive.id;
            let then = kept.drives.iter().find(|state| state.id == *id);
            let then = then.and_then(|state| state.file.as_ref()).map(|(name, _)| Path::new(name));
            let now = files.get(id).map(PathBuf::as_path);
            match then {
                then if then == now => {}
                Some(file) => {
                    let file = file.display();
                    return Err(format!(
                        "drive {id} had {file} when the snapshot was made: change {id} {file}"
                    ));
                }
                None => return Err(format!("drive {id} was empty when the snapshot was made: eject {id}")),
            }
        }
        Ok(())
    }
    fn since_1970(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
    fn random(&self) -> [u8; 16] {
        host_services::random_bytes()
    }
}

impl KeptDrive {
    fn state(&self, file: Option<&PathBuf>) -> Result<DriveStateV1, String> {
        let Self { id, thrown_away, removable: _ } = self;
        let Some(file) = file else { return Ok(DriveStateV1 { id: id.clone(), file: None }) };
        if *thrown_away {
            return Err(format!(
                "drive {id} has snapshot=on, or is a clone's: what the guest has written there goes with this run, and a saved machine could \
                 not go on without it; start with a disk of its own (trimotor img create -b makes a linked clone)"
            ));
        }
        let stamp =
            StampV1::of_settled(file).map_err(|error| format!("drive {id}: {}: {error}", file.display()))?;
        Ok(DriveStateV1 { id: id.clone(), file: Some((file.to_string_lossy().into_owned(), stamp)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changed_is_told_by_its_stamp() {
        let path = std::env::temp_dir().join(format!("trimotor-stamp-{}", std::process::id()));
        let name = path.to_string_lossy().into_owned();
        for round in 0..20 {
            fs::write(&path, "content").unwrap();
            let stamp = StampV1::of_settled(&path).unwrap();
            let drive = DriveStateV1 { id: "d".to_owned(), file: Some((name.clone(), stamp)) };
            assert_eq!(drive.check("/"), Ok(()));
            fs::write(&path, "another").unwrap();
            let refused = drive.check("/").unwrap_err();
            assert!(refused.contains("drive d") && refused.contains("last change"), "{round}: {refused}");
            fs::write(&path, "a longer one").unwrap();
            let refused = drive.check("/").unwrap_err();
            assert!(refused.contains("it had 7 bytes and has 12"), "{refused}");
        }
        fs::remove_file(&path).unwrap();
        let drive =
            DriveStateV1 { id: "d".to_owned(), file: Some((name, StampV1 { bytes: 0, modified_ns: 0 })) };
        assert!(drive.check("/then").unwrap_err().contains("given in /then"));
    }
}
