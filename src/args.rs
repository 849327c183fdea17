//! The command line.

use crate::chardevs::Chardev;
use crate::display::{self, DisplayList, screenshots::ScreenshotSpec};
use crate::drives::DriveArgs;
use crate::gdb::GdbSpec;
use crate::generation::Generation;
use crate::guest::GuestArgs;
use crate::host_memory::{CodeCacheSize, MemorySize};
use crate::img::{self, ImgCommand};
use crate::networks::NetworkArgs;
use crate::rtc_base::RtcBase;
use crate::switches::SwitchSpec;
use crate::typing::InputArgs;
use crate::watch;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;
use trimotor_machine::{DeviceConfig, TraceSpec};

const EXAMPLES: &str = "\x1b[1;4mExamples\x1b[0m
  trimotor                          the built-in demo, on the terminal
  trimotor guest linux              fetch Debian's kernel, build a file system
  trimotor run --memory 512M --kernel guests/cache/vmlinuz-cloud \\
      --initrd guests/cache/shell.cpio.gz --append \"console=ttyS0\" --nographic
  trimotor doctor                   which engines this host can use, and why not
  trimotor run --help               all options of a machine

Ctrl-A x leaves a running machine, Ctrl-A h shows the keys.
Exit codes
    0  the guest powered off, you left, or all of --expect came
    1  the host failed
    2  bad input: an option or a file
    3  the guest triple-faulted, with a report
    4  a host fault in translated code: a bug of ours, with a report
    6  the run ended and text of --expect had not come
    8  the guest's kernel panicked and said so through pvpanic (--on-panic exit)
  124  the time of --timeout was up
  128  and more: a signal ended the program (128 + its number)
  A guest that writes v to --debug-exit chooses (v << 1) | 1, an odd code.";

const RUN_EXAMPLES: &str = "\x1b[1;4mExamples\x1b[0m
  A Linux shell on the serial port, as the terminal:
    trimotor run --memory 512M --kernel vmlinuz --initrd shell.cpio.gz \\
        --append \"console=ttyS0\" --nographic
  memtest86+ on the terminal's screen, and its last screen in a file:
    trimotor run --memory 64M --kernel memtest.bin --screen-dump screen.txt
  In a window, whose pixels are two of the screen's wide and high:
    trimotor run disk.img --display window,scale=2
  In a browser, for VNC viewers too, and a picture of the screen after 10 s:
    trimotor run disk.img --display web,vnc=127.0.0.1:1 --screenshot s.png@10s
  VNC from other machines: asks for the password that is in a file
    trimotor run disk.img --display vnc=0.0.0.0:1,password-file=secret.txt
  The same run each time, byte for byte:
    trimotor run --icount --kernel vmlinuz --initrd off.cpio.gz \\
        --append \"console=ttyS0\" --nographic
  A boot as a test: code 0 at the prompt, 6 after a panic or two minutes
    trimotor run --kernel vmlinuz --initrd shell.cpio.gz --append \"console=ttyS0\" \\
        --nographic --expect \"# \" --exit-on \"Kernel panic\" --timeout 2m
  Four processors, a second serial port in a file:
    trimotor run --cpus 4 --serial stdio --serial file:com2.log --kernel vmlinuz
  A disk and a CD for the kernel; what is written to the disk is thrown away:
    trimotor run --kernel vmlinuz --initrd shell.cpio.gz --cdrom d.iso \\
        --drive file=disk.img,snapshot=on --append \"console=ttyS0\" --nographic
  A network whose guest answers to ssh at the host's port 2222:
    trimotor run disk.img --nic user,hostfwd=tcp:127.0.0.1:2222-:22
  The boot on the translator, the rest on the interpreter:
    trimotor run --accel jit --switch interp@20 disk.img
  Commands by a socket: socat -,raw,echo=0 UNIX-CONNECT:m.sock
    trimotor run disk.img --monitor unix:m.sock,server
  A machine that `save` has put into a file goes on, on another engine:
    trimotor run --restore booted.machine --accel interp
  One of many that go on from the same file, made by `save -m`:
    trimotor run --restore booted.machine --clone
  A run that can be run again, with what was typed and came from the network:
    trimotor run --record crash.log --nic user disk.img
    trimotor run --replay crash.log --accel interp
  The same disk, where `savevm booted` was typed at the monitor:
    trimotor run disk.qcow2 --loadvm booted
  What the guest does with devices, and each exception, in a file:
    trimotor run --trace exc,io,mmio,file=trace.log disk.img
  A multiboot kernel with modules, results through the debug port:
    trimotor run --kernel kernel.elf --module 'disk.img root=ram' \\
        --debugcon stdio --debug-exit --nographic";

const LOCKSTEP_EXAMPLES: &str = "\x1b[1;4mExamples\x1b[0m
  A Linux boot on interpreter and translator:
    trimotor lockstep --memory 512M --kernel vmlinuz --initrd off.cpio.gz \\
        --append \"console=ttyS0\"
  What the BIOS boots from a disk, which is not written: each engine has what it writes for itself
    trimotor lockstep --until 500000000 disk.img
  With a network; what came from it is kept, and comes again by --replay came
    trimotor lockstep --nic user --record came --until 500000000 disk.img
  Is a run the same as a run of the same engine?
    trimotor lockstep --engines interp,interp --until 100000000 --kernel vmlinuz

Ends when the guest ends, at the demo's prompt, at the text of --exit-on, or after --until
instructions. Guest time counts instructions, as with --icount. Exit codes: 0 no difference, 1 one was found.";

/// A full-system x86 PC emulator with three engines.
#[derive(Parser, Debug)]
#[command(name = "trimotor", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do; without it, the demo.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the program can do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Boot the built-in demo guest
    Demo(Box<DemoArgs>),
    /// Boot a kernel, with disks, CDs and floppies beside it
    #[command(after_help = RUN_EXAMPLES)]
    Run(Box<RunArgs>),
    /// Run a guest, or the demo, on two engines side by side, and find the first instruction that differs
    #[command(after_help = LOCKSTEP_EXAMPLES)]
    Lockstep(Box<LockstepArgs>),
    /// Say which engines this build and host can use, and why not
    Doctor {
        /// Say all that is known of engines that cannot be used
        #[arg(long, short)]
        verbose: bool,
    },
    /// Fetch and build guests
    Guest {
        /// Which guest.
        #[command(subcommand)]
        guest: GuestCommand,
    },
    /// Make, look at and change disk images
    #[command(after_help = img::EXAMPLES)]
    Img {
        /// What to do.
        #[command(subcommand)]
        command: ImgCommand,
    },
    /// List the devices that a machine has or may have, with their options
    Devices,
    /// List the kinds of networks that cards may be connected to, with their options
    Networks,
    /// List the CPU models and their features
    Cpus {
        /// Only this model, with its features changed as --cpu takes it
        #[arg(value_name = "MODEL[,+f,-f]")]
        model: Option<String>,
    },
}

/// Guests that can be fetched.
#[derive(Subcommand, Debug)]
pub enum GuestCommand {
    /// Debian's Linux kernel and a file system with a shell, from apt's packages
    Linux(GuestArgs),
}

/// Options of `trimotor demo`.
#[derive(Args, Debug, Default)]
pub struct DemoArgs {
    /// The machine.
    #[command(flatten)]
    pub machine: MachineArgs,
}

/// Options of `trimotor run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The kernel: a bzImage, a vmlinux, or a PVH or multiboot 1 or 2 image. Without it the BIOS boots
    #[arg(long, value_name = "FILE", help_heading = "Boot")]
    pub kernel: Option<PathBuf>,
    /// Another BIOS than the built-in one: SeaBIOS and the like, 64K to 16M
    #[arg(long, value_name = "FILE", conflicts_with = "kernel", help_heading = "Boot")]
    pub bios: Option<PathBuf>,
    /// Another ROM for the video adapter than the built-in one, such as SeaBIOS's vgabios-stdvga.bin
    #[arg(long, value_name = "FILE", conflicts_with = "kernel", help_heading = "Boot")]
    pub vga_rom: Option<PathBuf>,
    /// One more option ROM: a program that the BIOS runs, such as iPXE's. Repeatable
    #[arg(long, value_name = "FILE", conflicts_with = "kernel", action = ArgAction::Append, help_heading = "Boot")]
    pub option_rom: Vec<PathBuf>,
    /// A disk, CD or floppy image, which becomes the drive that its content is for
    #[arg(value_name = "IMAGE", help_heading = "Drives")]
    pub image: Option<PathBuf>,
    /// What the kernel is taken for, where it could be booted in more than one way [default: what it looks like]
    #[arg(long, value_enum, value_name = "KIND", help_heading = "Boot")]
    pub boot_as: Option<BootAs>,
    /// The initial file system
    #[arg(long, value_name = "FILE", help_heading = "Boot")]
    pub initrd: Option<PathBuf>,
    /// The kernel's command line
    #[arg(
        long,
        value_name = "STRING",
        default_value = "",
        allow_hyphen_values = true,
        help_heading = "Boot"
    )]
    pub append: String,
    /// Goes on with a machine that `save` in a monitor has put into a file. The file says what the machine is, and which disks and
    /// networks it has; options of the engine, the console, monitors and the end of the run may be given beside
    #[arg(long, value_name = "FILE", help_heading = "Boot")]
    pub restore: Option<PathBuf>,
    /// Goes on as one of many: what the guest writes to disks goes with the run, and network cards get addresses of their own. A file that
    /// `save -m` made is mapped, so that clones share what they do not change
    #[arg(long, requires = "restore", help_heading = "Boot")]
    pub clone: bool,
    /// Goes on where `savevm NAME` in a monitor made a snapshot: the machine is in its disks (qcow2), and the other options are as then
    #[arg(long, value_name = "NAME", conflicts_with = "restore", help_heading = "Boot")]
    pub loadvm: Option<String>,
    /// Writes down in FILE all that comes from outside, as the run goes on, so that --replay runs it again. Implies --icount
    #[arg(long, value_name = "FILE", conflicts_with_all = ["replay", "loadvm", "clone"], help_heading = "Record and replay")]
    pub record: Option<PathBuf>,
    /// Runs again, instruction for instruction, what --record wrote in FILE, on any engine; nothing else reaches the guest. Without
    /// options of a machine, those of the recording count
    #[arg(long, value_name = "FILE", conflicts_with_all = ["loadvm", "clone"], help_heading = "Record and replay")]
    pub replay: Option<PathBuf>,
    /// A multiboot or PVH module: a file and, after a blank, its string. Repeatable. Multiboot 1 kernels find
    /// the file's name in front of it, as in front of their command line
    #[arg(long, value_name = "FILE [STRING]", action = ArgAction::Append, help_heading = "Boot")]
    pub module: Vec<String>,
    /// The machine.
    #[command(flatten)]
    pub machine: MachineArgs,
}

/// Options of `trimotor lockstep`.
#[derive(Args, Debug)]
#[command(mut_arg("kernel", |kernel| {
    kernel.help("The kernel [default: what the BIOS boots from the drives, or without any the built-in demo]")
}))]
#[command(mut_arg("record", |record| {
    record.help_heading("Lockstep").help(
        "What came from the networks, and when, goes to FILE at the end, for --replay [default: where the engines differ, to \
         a file in the folder for temporary ones]"
    )
}))]
#[command(mut_arg("replay", |replay| {
    replay
        .help_heading("Lockstep")
        .help("Both machines get what FILE says that came from the networks; nothing is opened on the host")
}))]
pub struct LockstepArgs {
    /// The two engines, with a comma between them
    #[arg(
        long,
        value_name = "A,B",
        default_value = "interp,jit",
        value_delimiter = ',',
        value_enum,
        help_heading = "Lockstep"
    )]
    pub engines: Vec<Accel>,
    /// Registers and serial output are compared after so many instructions
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..), help_heading = "Lockstep")]
    pub every: u64,
    /// Memory is compared after so many of these intervals
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..), help_heading = "Lockstep")]
    pub memory_every: u64,
    /// Both run so many instructions before they are compared for the first time
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Lockstep")]
    pub from: u64,
    /// Ends after so many instructions [default: when the guest ends, or at the demo's prompt]
    #[arg(long, value_name = "N", help_heading = "Lockstep")]
    pub until: Option<u64>,
    /// What is run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Options of a machine, whatever it boots.
#[derive(Args, Debug)]
pub struct MachineArgs {
    /// The engine that drives the CPU
    #[arg(long, value_enum, default_value_t = Accel::Auto, help_heading = "Machine")]
    pub accel: Accel,
    /// Another engine goes on at SECONDS of guest time (jit@2.5), or once N instructions have retired (jit@5000000i).
    /// Repeatable
    #[arg(long, value_name = "ENGINE@SECONDS|Ni", action = ArgAction::Append, help_heading = "Machine")]
    pub switch: Vec<SwitchSpec>,
    /// RAM, from 1M to 64G
    #[arg(long, short = 'm', value_name = "SIZE", default_value = "256M", help_heading = "Machine")]
    pub memory: MemorySize,
    /// Processors, 1 to 8
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8), help_heading = "Machine")]
    pub cpus: u8,
    /// The CPU model and changes to its features (see `trimotor cpus`)
    #[arg(
        long,
        value_name = "MODEL[,+f,-f]",
        default_value = "x86-64-v3",
        allow_hyphen_values = true,
        help_heading = "Machine"
    )]
    pub cpu: String,
    /// Memory for translated code, from 256K to 1G [default: 64M]. When it is full, the oldest goes
    #[arg(long, value_name = "SIZE", help_heading = "Machine")]
    pub code_cache: Option<CodeCacheSize>,
    /// Guest time counts instructions, not the host's clock: two runs are the same
    #[arg(long, help_heading = "Machine")]
    pub icount: bool,
    /// What the real-time clock starts at: `utc` (the host's), a date like
    /// 2026-01-31T12:00:00, or seconds since 1970 [default: utc; with --icount 2026-01-01]
    #[arg(long, value_name = "BASE", help_heading = "Machine")]
    pub rtc: Option<RtcBase>,
    /// What to do when the guest resets the machine
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = OnReset::Reset, help_heading = "End of the run")]
    pub on_reset: OnReset,
    /// Ends the run after this time of the host's, with code 124: 60s, 5m, 1h, 500ms
    #[arg(long, value_name = "TIME", value_parser = watch::parse_duration, help_heading = "End of the run")]
    pub timeout: Option<Duration>,
    /// Ends the run with code 0 once the guest has written this text to COM1. Repeatable: all of them, in order.
    /// Code 6 where the run ends without
    #[arg(long, value_name = "TEXT", action = ArgAction::Append, allow_hyphen_values = true, value_parser = watch::parse_text, help_heading = "End of the run")]
    pub expect: Vec<String>,
    /// Ends the run once the guest has written this text to COM1, with code 0 if no text of --expect is still to come.
    /// Repeatable: any of them
    #[arg(long, value_name = "TEXT", action = ArgAction::Append, allow_hyphen_values = true, value_parser = watch::parse_text, help_heading = "End of the run")]
    pub exit_on: Vec<String>,
    /// What to do when the guest's kernel says through pvpanic that it panicked. Adds the device; Linux needs its driver
    /// pvpanic-mmio [default: exit, where --device pvpanic is given]
    #[arg(long, value_enum, value_name = "WHAT", help_heading = "End of the run")]
    pub on_panic: Option<OnPanic>,
    /// Shows the guest on the serial port: no text screen
    #[arg(long, help_heading = "Console")]
    pub nographic: bool,
    #[arg(long, value_name = "LIST", action = ArgAction::Append, conflicts_with = "nographic", help = display::DISPLAY_HELP, help_heading = "Console")]
    pub display: Vec<DisplayList>,
    /// A serial port, COM1 first: stdio, null, file:PATH, pty, unix:PATH, tcp:HOST:PORT and more
    /// (see the README). Repeatable up to 4 [default: stdio]
    #[arg(long, value_name = "SPEC", action = ArgAction::Append, help_heading = "Console")]
    pub serial: Vec<String>,
    /// An end on the host for a port of a device, as --serial takes it with an id: pty,id=NAME. Repeatable
    #[arg(long, value_name = "SPEC,id=NAME", action = ArgAction::Append, help_heading = "Console")]
    pub chardev: Vec<Chardev>,
    /// Where commands are typed, as --serial takes it: stdio (behind Ctrl-A c), unix:PATH,server,
    /// tcp:HOST:PORT,server, pty, none. Repeatable [default: stdio]
    #[arg(long, value_name = "SPEC", action = ArgAction::Append, help_heading = "Console")]
    pub monitor: Vec<String>,
    /// The key that the console keeps for itself: ^A to ^Z, or none
    #[arg(long, value_name = "KEY", default_value = "^A", value_parser = parse_escape, help_heading = "Console")]
    pub escape: EscapeKey,
    /// The screen in a file: F.png, or F.svg or F.txt for text modes; at a time of the guest (F.png@10s), once COM1 wrote a
    /// text (F.png@text:login:), or when the machine ends (F.png@end). Repeatable
    #[arg(long, value_name = "FILE[@WHEN]", action = ArgAction::Append, help_heading = "Console")]
    pub screenshot: Vec<ScreenshotSpec>,
    /// The same when the machine ends; text where the file's name ends neither in .png nor in .svg
    #[arg(long, value_name = "FILE", help_heading = "Console")]
    pub screen_dump: Option<PathBuf>,
    /// Where gdb connects: unix:PATH, tcp:127.0.0.1:PORT or PORT; `,bits=16`, 32 or 64 behind it says how gdb sees the CPUs
    /// [default: as what they run then]
    #[arg(long, value_name = "SPEC", help_heading = "Debugging")]
    pub gdb: Option<GdbSpec>,
    /// Starts paused, before the first instruction: until gdb, or `cont` at a monitor, lets it go on
    #[arg(short = 'S', help_heading = "Debugging")]
    pub stopped: bool,
    /// Tells what the vCPUs do, a line each: exc, int, io, mmio, msr, cr, insn, with commas between them. Behind them file=PATH,
    /// or last (only for the report of a triple fault) [default: to standard error], cpl=N, cpu=N, addr=LOW-HIGH, limit=SIZE
    #[arg(long, value_name = "KINDS[,OPTIONS]", help_heading = "Debugging")]
    pub trace: Option<TraceSpec>,
    /// Where bytes written to port E9h go, as --serial takes it
    #[arg(long, value_name = "SPEC", help_heading = "Debugging")]
    pub debugcon: Option<String>,
    /// Names translated code for `perf report`, in /tmp/perf-PID.map unless a file is given
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, help_heading = "Debugging")]
    pub perf_map: Option<Option<PathBuf>>,
    /// Prints what the engine counted when the machine ends: what matters most, or with `=all` every count
    #[arg(long, value_enum, value_name = "WHICH", num_args = 0..=1, require_equals = true, default_missing_value = "most", help_heading = "Debugging")]
    pub stats: Option<Stats>,
    /// Counts how often each translated block runs, and names the hottest when the machine ends. Costs some speed
    #[arg(long, help_heading = "Debugging")]
    pub profile: bool,
    /// A value v written to this port ends the program with code (v << 1) | 1
    #[arg(long, value_name = "PORT", num_args = 0..=1, require_equals = true, default_missing_value = "0xf4", value_parser = parse_port, help_heading = "End of the run")]
    pub debug_exit: Option<u16>,
    /// One more device, with its options; `trimotor devices` lists them. May be given several times
    #[arg(long, value_name = "KIND[,OPTION=VALUE]", help_heading = "Devices")]
    pub device: Vec<DeviceConfig>,
    /// The VM generation ID, which is another one in a clone and after loadvm: `auto`, a random one, or a GUID. Adds the device
    /// vmgenid, by which the guest learns of it. Beside --restore and --loadvm: the ID to go on with [default: a new one beside
    /// --clone and --loadvm, the saved one beside --restore alone]
    #[arg(long, value_name = "GUID|auto", help_heading = "Devices")]
    pub vmgenid: Option<Generation>,
    /// Keyboard and mouse.
    #[command(flatten)]
    pub input: InputArgs,
    /// The drives.
    #[command(flatten)]
    pub drives: DriveArgs,
    /// The networks.
    #[command(flatten)]
    pub networks: NetworkArgs,
    /// The device that CPU test suites expect: ports 2000h+n, E0h to E4h, memory at FF000000h
    #[arg(long, help_heading = "Debugging")]
    pub test_device: bool,
    /// Walks the guest's page tables again at each access and compares with what the engine has kept of them: slow
    #[arg(long, help_heading = "Debugging")]
    pub check_tlb: bool,
    /// How long translations of linear addresses stay in use
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Tlb::Fresh, conflicts_with = "check_tlb", help_heading = "Debugging")]
    pub tlb: Tlb,
}

impl Default for MachineArgs {
    fn default() -> Self {
        /// An empty command line with these options.
        #[derive(Parser)]
        struct Nothing {
            #[command(flatten)]
            machine: MachineArgs,
        }
        Nothing::parse_from(["trimotor"]).machine
    }
}

/// How a kernel is booted.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum BootAs {
    /// A Linux bzImage (vmlinuz)
    Bzimage,
    /// A Linux ELF file, entered as the kernel's own unpacking code does
    Vmlinux,
    /// An ELF file with a PVH entry, such as Linux's
    Pvh,
    /// Multiboot 1
    Multiboot1,
    /// Multiboot 2
    Multiboot2,
    /// A flat image, loaded to 7C00h and entered in real mode
    Flat,
}

/// An engine, or the choice of one.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accel {
    /// The fastest that this build and host offer
    Auto,
    /// The interpreter: runs anywhere
    Interp,
    /// Binary translation
    Jit,
    /// Hardware, through /dev/kvm: not finished, and refused
    Kvm,
}

/// How long translations of linear addresses stay in use.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tlb {
    /// Until their page-table entry changes
    Fresh,
    /// Until the guest flushes them (INVLPG, CR3 and the like), as on most processors; says where it should have
    Keep,
}

/// What a reset does.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnReset {
    /// The machine starts over
    Reset,
    /// The program ends with code 0
    Exit,
}

/// What a panic of the guest's kernel does.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnPanic {
    /// The machine stands still, to be looked at
    Pause,
    /// The program ends with code 8
    Exit,
    /// The machine starts over
    Reset,
    /// Nothing: the guest goes on as it sees fit
    Ignore,
}

/// Which counts are printed.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stats {
    /// What matters most
    Most,
    /// Every count
    All,
}

/// The escape key's byte; none where it is turned off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EscapeKey(pub Option<u8>);

fn parse_escape(text: &str) -> Result<EscapeKey, String> {
    match text.as_bytes() {
        b"none" => Ok(EscapeKey(None)),
        [b'^', letter] if letter.is_ascii_alphabetic() => {
            Ok(EscapeKey(Some(letter.to_ascii_uppercase() - 0x40)))
        }
        _ => Err("write ^A to ^Z, or none".to_owned()),
    }
}

fn parse_port(text: &str) -> Result<u16, String> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u16::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "write an I/O port, 0 to 0xffff".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        assert_eq!(MachineArgs::default().accel, Accel::Auto);
    }

    #[test]
    fn options_are_read() {
        let cli = Cli::parse_from([
            "trimotor",
            "run",
            "--kernel",
            "k",
            "--debug-exit",
            "--append",
            "-s quiet",
            "--escape",
            "^b",
            "--cpus",
            "4",
        ]);
        let Some(Command::Run(run)) = cli.command else { panic!("not run") };
        assert_eq!(run.machine.debug_exit, Some(0xf4));
        assert_eq!(run.append, "-s quiet");
        assert_eq!(run.machine.escape, EscapeKey(Some(2)));
        assert!(Cli::try_parse_from(["trimotor", "run", "--kernel", "k", "--cpus", "9"]).is_err());
    }
}
