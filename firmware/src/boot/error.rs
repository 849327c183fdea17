//! Why a guest file cannot be booted, in words that name the file and what would work.

use std::fmt;

/// A number of bytes, shown the way a person writes it for `--memory`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n >= 1 << 30 && n % (1 << 30) == 0 => write!(f, "{}G", n >> 30),
            n if n >= 1 << 20 => write!(f, "{}M", n.div_ceil(1 << 20)),
            n if n >= 1 << 10 => write!(f, "{}K", n.div_ceil(1 << 10)),
            n => write!(f, "{n} bytes"),
        }
    }
}

/// A kernel, initrd or module cannot be booted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BootError {
    /// The file has no bytes.
    #[error("{file}: the file is empty; give a Linux bzImage or vmlinux, a PVH or a Multiboot kernel")]
    Empty {
        /// The file's name.
        file: String,
    },
    /// The file ends before what its headers promise.
    #[error(
        "{file}: truncated: {what} needs {needed} bytes but the file has {actual}; fetch or copy it again"
    )]
    Truncated {
        /// The file's name.
        file: String,
        /// Which part is missing.
        what: &'static str,
        /// Bytes that the file would have to have.
        needed: u64,
        /// Bytes that it has.
        actual: u64,
    },
    /// The file is no kernel that this PC can start.
    #[error("{file}: this is {looks_like}, not a kernel for this PC; {advice}")]
    Foreign {
        /// The file's name.
        file: String,
        /// What the file is, by its first bytes.
        looks_like: String,
        /// What would work.
        advice: &'static str,
    },
    /// The file is not of the kind that the person says it is.
    #[error(
        "{file}: not a {wanted}: it has no {lacks}; it looks like {looks_like}; leave --boot-as out so that the kind is detected"
    )]
    NotThatKind {
        /// The file's name.
        file: String,
        /// The kind that was asked for.
        wanted: &'static str,
        /// What a file of that kind has.
        lacks: &'static str,
        /// What the file is, by its first bytes.
        looks_like: String,
    },
    /// The file is of the right kind but contradicts itself or asks for what is not there.
    #[error("{file}: {problem}; {advice}")]
    Unusable {
        /// The file's name.
        file: String,
        /// What is wrong with it.
        problem: String,
        /// What would work.
        advice: &'static str,
    },
    /// The command line does not fit.
    #[error(
        "{file}: the command line has {actual} bytes but this kernel takes {limit} at most; shorten --append"
    )]
    CommandLineTooLong {
        /// The kernel's name.
        file: String,
        /// Bytes given.
        actual: u64,
        /// Bytes that the kernel takes.
        limit: u64,
    },
    /// A command line holds a NUL byte, which would end it early in the guest.
    #[error("{file}: its command line holds a NUL byte; leave it out")]
    CommandLineNul {
        /// The kernel's or module's name.
        file: String,
    },
    /// The kernel does not fit in the guest's memory.
    #[error(
        "{file}: the kernel needs memory up to {needed} but the guest has {actual}; --memory {would_do} would do"
    )]
    MemoryTooSmall {
        /// The kernel's name.
        file: String,
        /// The end of what the kernel needs, as a physical address.
        needed: Bytes,
        /// The guest's memory below the PCI hole.
        actual: Bytes,
        /// A memory size that would be enough.
        would_do: Bytes,
    },
    /// The kernel is linked to stand where a PC has no RAM, whatever its size.
    #[error(
        "{file}: the kernel wants to stand at {start:#x} to {end:#x}, where no PC has free RAM; link it at 1 MiB"
    )]
    NoRamThere {
        /// The kernel's name.
        file: String,
        /// First physical address.
        start: u64,
        /// Physical address past the end.
        end: u64,
    },
    /// An initrd or module does not fit beside the kernel.
    #[error("{file}: its {actual} do not fit: {room} are free beside the kernel; {advice}")]
    ModuleTooLarge {
        /// The initrd's or module's name.
        file: String,
        /// Its size.
        actual: Bytes,
        /// The largest free stretch that the kernel could reach.
        room: Bytes,
        /// What would work.
        advice: String,
    },
    /// Modules for a kernel that has no way to receive them.
    #[error("{file}: a {kind} takes one --initrd and no --module; join archives into one initrd")]
    NoModules {
        /// The kernel's name.
        file: String,
        /// The kernel's kind.
        kind: &'static str,
    },
}
