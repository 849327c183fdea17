//! The options about drives.

use super::spec::{BootSpec, DriveSpec};
use clap::{ArgAction, Args};
use std::path::PathBuf;

/// Options about drives.
#[derive(Args, Debug, Default)]
pub struct DriveArgs {
    /// A drive: file=F, if=ide|virtio|floppy|pflash|none, media=disk|cdrom, index=N or bus=N,unit=N, id=NAME, format=raw|qcow2|..., snapshot=on,
    /// readonly=on, cache=writeback|writethrough|none|unsafe, discard=unmap|ignore, serial=TEXT,
    /// werror= and rerror=report|ignore|stop|enospc, bps=, bps_rd=, bps_wr=BYTES and iops=, iops_rd=, iops_wr=NUMBER in a second at most,
    /// and so much at once with _max. Repeatable
    #[arg(long, value_name = "OPTION=VALUE,...", action = ArgAction::Append, help_heading = "Drives")]
    pub drive: Vec<DriveSpec>,
    /// A CD or DVD image, in a drive at the second IDE channel
    #[arg(long, value_name = "FILE", help_heading = "Drives")]
    pub cdrom: Option<PathBuf>,
    /// A floppy image: A:, and given again B:
    #[arg(long, value_name = "FILE", action = ArgAction::Append, help_heading = "Drives")]
    pub floppy: Vec<PathBuf>,
    /// UEFI firmware: its code, and given again a copy of its variables, which is written
    /// (OVMF_CODE_4M.fd, OVMF_VARS_4M.fd)
    #[arg(long, value_name = "FILE", action = ArgAction::Append, help_heading = "Drives")]
    pub pflash: Vec<PathBuf>,
    /// What is booted: order=cda (a floppy, c hard disk, d CD, n network), once=d for the first time,
    /// menu=on, splash-time=MILLISECONDS
    #[arg(long, value_name = "OPTION=VALUE,...", help_heading = "Drives")]
    pub boot: Option<BootSpec>,
}
