//! `trimotor img`: makes, looks at and changes disk images.
//!
//! The options have the names that users of `qemu-img` know. A command has a file; what several share is in
//! `shared.rs`, the options of `-o` in `format_options.rs`.

mod check;
mod commit;
mod compare;
mod convert;
mod create;
mod format_options;
mod info;
mod map;
mod rebase;
mod resize;
mod shared;
mod snapshot;

pub use commit::grow;

use crate::error::Failure;
use clap::Subcommand;
use std::process::ExitCode;

/// Examples below the help of `trimotor img`.
pub const EXAMPLES: &str = "\x1b[1;4mExamples\x1b[0m
  A disk of 20 GiB that takes space as it is written:
    trimotor img create disk.qcow2 20G
  A linked clone, which has only what differs from the disk below it:
    trimotor img create -b disk.qcow2 -F qcow2 clone.qcow2
  A virtual machine of VMware's or VirtualBox's, for use here:
    trimotor img convert -O qcow2 machine.vmdk disk.qcow2
  A compressed copy, to keep or send:
    trimotor img convert -c -O qcow2 disk.qcow2 packed.qcow2

docs/images.md says which format fits what. Sizes are in bytes, or end in K, M, G, T, P (powers of 1024).";

/// What can be done with images.
#[derive(Subcommand, Debug)]
pub enum ImgCommand {
    /// Make an image, or a linked clone of one
    Create(create::CreateArgs),
    /// Say what an image is
    Info(info::InfoArgs),
    /// Copy an image's content into a new image of the same or another format
    Convert(convert::ConvertArgs),
    /// Find out whether an image is consistent, and repair it
    Check(check::CheckArgs),
    /// Make an image's disk larger or smaller
    Resize(resize::ResizeArgs),
    /// Make, list, apply and delete snapshots inside of an image
    Snapshot(snapshot::SnapshotArgs),
    /// Write what a linked clone has to the image below it
    Commit(commit::CommitArgs),
    /// Put another image below a linked clone
    Rebase(rebase::RebaseArgs),
    /// Find out whether two disks have the same content
    Compare(compare::CompareArgs),
    /// Say which parts of a disk are where
    Map(map::MapArgs),
}

/// Runs a command.
///
/// # Errors
/// The image or an option cannot be used, or the host fails.
pub fn run(command: &ImgCommand) -> Result<ExitCode, Failure> {
    let success = |()| ExitCode::SUCCESS;
    match command {
        ImgCommand::Create(args) => create::run(args).map(success),
        ImgCommand::Info(args) => info::run(args).map(success),
        ImgCommand::Convert(args) => convert::run(args).map(success),
        ImgCommand::Check(args) => check::run(args),
        ImgCommand::Resize(args) => resize::run(args).map(success),
        ImgCommand::Snapshot(args) => snapshot::run(args).map(success),
        ImgCommand::Commit(args) => commit::run(args).map(success),
        ImgCommand::Rebase(args) => rebase::run(args).map(success),
        ImgCommand::Compare(args) => compare::run(args),
        ImgCommand::Map(args) => map::run(args).map(success),
    }
}
