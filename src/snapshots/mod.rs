//! Saved machines in the host's files: `save` in a monitor, `trimotor run --restore`.
//!
//! | part | file |
//! |---|---|
//! | a file that takes another one's place as a whole | [`new_file`] |
//! | what this program keeps with a machine: its command line, and how its disks were | [`host_state`] |
//! | which options count where a machine is restored | [`restore`] |
//!
//! The format is the crate `snapshot`'s; what of a machine is in it, `machine/src/save/file.rs` says.

mod host_state;
mod new_file;
pub mod restore;

pub use host_state::{Files, Keeper};
pub use new_file::NewFile;

use host_state::HostStateV1;
use std::io::{BufWriter, Write};
use std::path::Path;
use trimotor_machine::save::MachineStateV1;
use trimotor_snapshot::FormatError;

/// Bytes that are written to a file at once.
const PIECE: usize = 1 << 20;

/// Saves a machine, which `save` takes to a value, in a file, whose memory clones may map where it is `mapped`. A file that is there is replaced
/// as a whole, or stays as it is.
///
/// # Errors
/// The machine cannot be saved, or the host cannot write; the message names the file.
pub fn save(
    file: &Path,
    mapped: bool,
    save: impl FnOnce() -> Result<Box<MachineStateV1>, String>,
) -> Result<(), String> {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    // Before the machine stands still for it.
    let new = NewFile::create(file).map_err(|error| named(&error))?;
    let state = save()?;
    let out = BufWriter::with_capacity(PIECE, new.file());
    let write = || -> Result<(), FormatError> {
        if !mapped {
            return Ok(state.write_to(out)?.flush()?);
        }
        let (mut out, bytes) = state.write_mapped_to(out)?;
        out.flush()?;
        Ok(new.file().set_len(bytes)?)
    };
    write().map_err(|error| named(&error))?;
    new.keep().map_err(|error| named(&error))
}
