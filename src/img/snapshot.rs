//! `trimotor img snapshot`: snapshots inside of a qcow2 image.

use super::shared::{failed, not_open, size_text};
use crate::error::Failure;
use crate::host_images::HostImages;
use clap::Args;
use std::io::Write;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};
use trimotor_storage::qcow2::{Mode, Qcow2};
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
        image.create_snapshot(name, now.as_secs() as u32, now.subsec_nanos())?;
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
        let made = date(u64::from(snapshot.seconds));
        writeln!(out, "{:<5} {:<24} {made:<20} {state:>12}  {disk}", snapshot.id, snapshot.name)?;
    }
    Ok(())
}

/// Seconds since 1970 as a date and time.
fn date(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    let mut left = days;
    let days_of = |year: u64| {
        if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) {
            366
        } else {
            365
        }
    };
    while left >= days_of(year) {
        left -= days_of(year);
        year += 1;
    }
    let february = days_of(year) - 337;
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    let day = left + 1;
    format!("{year}-{month:02}-{day:02} {:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates_are_those_of_the_calendar() {
        let cases = [
            (0, "1970-01-01 00:00:00"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_798_761_599, "2026-12-31 23:59:59"),
            (4_107_542_400, "2100-03-01 00:00:00"),
        ];
        for (seconds, wanted) in cases {
            assert_eq!(super::date(seconds), wanted);
        }
    }
}
