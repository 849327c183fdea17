//! The whole program by its command line, as a person or a script runs it; among its guests are real ones.
//!
//! One test program, so that guests run side by side.

#![allow(clippy::unwrap_used, reason = "a failure to set a test up ends the test")]

use std::process::ExitCode;
use trimotor_test_support as support;

mod bios;
mod boot;
mod cli_bad_input;
mod cli_ends;
mod cli_habits;
mod cli_help;
mod demo_on_qemu;
mod display;
mod displays;
mod drives;
mod exit_codes;
mod gdb;
mod images;
mod monitor;
mod networks;
mod pictures;
mod profiling;
mod replay;
mod snapshots;
mod stuck_output;
mod switching;
mod terminal;
mod ticks;
mod trace;
mod typing;
mod virtio;

fn main() -> ExitCode {
    support::needs::run([
        bios::boots::tests(),
        bios::boots::linux_tests(),
        bios::boots::seabios_tests(),
        bios::boots::seabios_linux_tests(),
        bios::disk_calls::tests(),
        bios::other_roms::bochs_tests(),
        bios::other_roms::u_boot_tests(),
        bios::ovmf::tests(),
        bios::rom_on_qemu::tests(),
        bios::services::tests(),
        bios::vbe::tests(),
        boot::demo::tests(),
        boot::input::tests(),
        boot::linux::tests(),
        boot::memtest::tests(),
        boot::pvpanic::tests(),
        boot::saved::tests(),
        boot::small_kernels::tests(),
        boot::stress::tests(),
        boot::xen::tests(),
        cli_bad_input::tests(),
        cli_ends::tests(),
        cli_habits::tests(),
        cli_help::tests(),
        demo_on_qemu::tests(),
        display::tests(),
        displays::screenshots::tests(),
        displays::sixel_reader::tests(),
        displays::terminal_pictures::tests(),
        displays::tmux::tests(),
        displays::vnc::tests(),
        displays::web::tests(),
        displays::window::tests(),
        displays::window::linux_tests(),
        displays::window_input::tests(),
        displays::window_wayland::tests(),
        drives::cds::tests(),
        drives::disks::tests(),
        drives::failing_hosts::tests(),
        drives::host_errors::tests(),
        drives::killed::tests(),
        drives::floppies::tests(),
        exit_codes::tests(),
        gdb::document::tests(),
        gdb::guests::tests(),
        gdb::guests::source_tests(),
        gdb::hostile::tests(),
        gdb::linux::tests(),
        images::documents::tests(),
        images::img::tests(),
        monitor::commands::tests(),
        monitor::commit::tests(),
        monitor::document::tests(),
        monitor::hostile::tests(),
        monitor::linux::tests(),
        monitor::terminal::tests(),
        networks::beyond::tests(),
        networks::boot::tests(),
        networks::cables::tests(),
        networks::documents::tests(),
        networks::installer::tests(),
        networks::linux::tests(),
        networks::peers::tests(),
        networks::virtio::tests(),
        pictures::consoles::tests(),
        pictures::installer::tests(),
        pictures::menus::tests(),
        pictures::x::tests(),
        profiling::tests(),
        replay::document::tests(),
        replay::killed::tests(),
        replay::linux::tests(),
        replay::refused::tests(),
        snapshots::clones::tests(),
        snapshots::commands::tests(),
        snapshots::disks::tests(),
        snapshots::document::tests(),
        snapshots::generation::tests(),
        snapshots::interrupted::tests(),
        snapshots::linux::tests(),
        snapshots::savevm::tests(),
        stuck_output::tests(),
        switching::boot::tests(),
        switching::command_line::tests(),
        switching::documents::tests(),
        switching::kvm::tests(),
        switching::load::tests(),
        switching::lockstep::tests(),
        terminal::tests(),
        ticks::tests(),
        trace::document::tests(),
        trace::guests::tests(),
        trace::hostile::tests(),
        trace::linux::tests(),
        typing::tests(),
        virtio::tests(),
    ])
}
