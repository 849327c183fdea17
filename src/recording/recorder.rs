//! The file of a recording, from the command line to the end of the run.

use super::kept::{FileSumV1, KeptV1, Testimony};
use crate::error::Failure;
use crate::host_services;
use crate::note::note;
use anyhow::{Context, anyhow};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Seek;
use std::path::{Path, PathBuf};
use trimotor_machine::events::{EndV1, LogWriter, is_recording};
use trimotor_machine::{ExitReason, Machine};

/// A file that a recording goes to, of which nothing is written yet.
pub struct RecordingFile {
    file: File,
    path: PathBuf,
    restored: Option<FileSumV1>,
}

fn refused(path: &Path, reason: &dyn std::fmt::Display) -> Failure {
    Failure::bad(format!("--record {}: {reason}", path.display()))
}

impl RecordingFile {
    /// Opens the file, for a machine that is switched on or goes on as it was `restored`. What is in it stays until the machine runs.
    ///
    /// # Errors
    /// It cannot be written, or has something else.
    pub fn open(path: &Path, restored: Option<FileSumV1>) -> Result<Self, Failure> {
        let refuse = |reason: &dyn std::fmt::Display| refused(path, reason);
        if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
            return Err(refuse(&"it is there and no file"));
        }
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|error| refuse(&error))?;
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(refuse(&"another program records there, or replays it"));
        }
        let is_empty = file.metadata().map_err(|error| refuse(&error))?.len() == 0;
        if !is_empty && !is_recording(&file) {
            return Err(refuse(
                &"there is something else in it than a recording; name another file, or remove it",
            ));
        }
        Ok(Self { file, path: path.to_owned(), restored })
    }
    /// Begins to record a machine that has not run.
    ///
    /// # Errors
    /// The host cannot write, or cannot read a medium.
    pub fn start(self, machine: &mut Machine, boot: &Testimony) -> Result<Recorder, Failure> {
        let Self { file, path, restored } = self;
        let kept = KeptV1 {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            arguments: host_services::arguments(),
            folder: std::env::current_dir().unwrap_or_default().to_string_lossy().into_owned(),
            restored,
            boot: boot.boot(),
        };
        let kept = postcard::to_stdvec(&kept).context("what is kept with a recording")?;
        let recording = machine.recording(kept).map_err(|error| refused(&path, &error))?;
        let mut file = file;
        let emptied = file.set_len(0).and_then(|()| file.rewind());
        emptied.map_err(|error| refused(&path, &error))?;
        let writer = LogWriter::start(file, &recording).map_err(|error| refused(&path, &error))?;
        machine.record(writer.log());
        Ok(Recorder { writer, path })
    }
}

/// A recording that is being written.
pub struct Recorder {
    writer: LogWriter<File>,
    path: PathBuf,
}

impl Recorder {
    /// Writes the rest, once the machine's run has ended.
    ///
    /// # Errors
    /// The host could not write.
    pub fn finish(self, machine: &Machine, reason: &ExitReason) -> Result<(), Failure> {
        let Self { writer, path } = self;
        let end: EndV1 = machine.end_of_run(reason);
        let file = writer.finish(&end).map_err(|error| {
            anyhow!("--record {}: {error}: the recording ends before its run does", path.display())
        })?;
        let bytes = file.metadata().map_or(0, |metadata| metadata.len());
        note(format_args!(
            "trimotor: {} has the recording: {} instructions in {bytes} bytes",
            path.display(),
            end.instructions
        ));
        Ok(())
    }
}
