//! `trimotor img snapshot`: snapshots inside of a qcow2 image.

use super::shared::{failed, not_open, size_text};
use crate::error::Failure;
use crate::host_images::HostImages;
use clap::Args;
use std::io::Write;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};
use trimotor_storage::qcow2::{Mode, NewSnapshot, Qcow2};
use trimotor_storage::{BlockError, ImageOptions, open_qcow2};

/// Options of `trimotor img snapshot`.
#[derive(Args, Debug)]
pub struct SnapshotArgs {
    /// What to do.
    #[command(flatten)]
    what: What,
    /// The image (qcow2)
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// One of these.
#[derive(Args, Debug)]
#[group(multiple = false)]
struct What {
    /// Lists the snapshots (this is done where nothing else is said)
    #[arg(short = 'l')]
    list: bool,
    /// Makes a snapshot of this name
    #[arg(short = 'c', value_name = "NAME")]
    create: Option<String>,
    /// Makes the disk what it was at this snapshot; what was written since is lost
    #[arg(short = 'a', value_name = "NAME")]
    apply: Option<String>,
    /// Deletes this snapshot
    #[arg(short = 'd', value_name = "NAME")]
    delete: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// There is no such snapshot, or one too many; the host fails.
pub fn run(args: &SnapshotArgs) -> Result<(), Failure> {
    let options = ImageOptions::new(&args.file);
    let changes = args.what.create.is_some() || args.what.apply.is_some() || args.what.delete.is_some();
    let mode = if changes { Mode::Write } else { Mode::Read };
    let image = open_qcow2(&options, mode, &HostImages).map_err(not_open)?;
    if !changes {
        return list(args, &image);
    }
    change(&args.what, &image).and_then(|()| image.close()).map_err(|error| failed(&args.file, &error))
}

fn change(what: &What, image: &Qcow2) -> Result<(), BlockError> {
    if let Some(name) = &what.create {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        image.create_snapshot(&NewSnapshot {
            name: name.clone(),
            seconds: now.as_secs() as u32,
            nanoseconds: now.subsec_nanos(),
            ..NewSnapshot::default()
        })?;
    }
    if let Some(name) = &what.apply {
        image.apply_snapshot(name)?;
    }
    if let Some(name) = &what.delete {
        image.delete_snapshot(name)?;
    }
    Ok(())
}

fn list(args: &SnapshotArgs, image: &Qcow2) -> Result<(), Failure> {
    let out = &mut std::io::stdout().lock();
    let snapshots = image.snapshots().map_err(|error| failed(&args.file, &error))?;
    if snapshots.is_empty() {
        return Ok(writeln!(out, "no snapshots")?);
    }
    writeln!(out, "{:<5} {:<24} {:<20} {:>12}  DISK", "ID", "NAME", "MADE (UTC)", "MACHINE")?;
    for snapshot in snapshots {
        let disk = snapshot.disk_bytes.map_or_else(String::new, size_text);
        let state =
            if snapshot.vm_state_bytes > 0 { size_text(snapshot.vm_state_bytes) } else { "-".to_owned() };
        let made = snapshot.made();
        writeln!(out, "{:<5} {:<24} {made:<20} {state:>12}  {disk}", snapshot.id, snapshot.name)?;
    }
    Ok(())
}
