//! Host code that an engine has made, as profilers want to know it.

use std::fmt;
use std::sync::{Arc, Mutex};

/// Called for each piece of host code as it is placed, on the thread that runs the vCPU; all vCPUs share
/// it. A place may be used again later; then the older code is gone.
pub type CodeObserver = Arc<Mutex<dyn FnMut(&PlacedCode) + Send>>;

/// A piece of host code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PlacedCode {
    /// The host address where it runs.
    pub host: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// What it does.
    pub what: CodeKind,
}

/// What a piece of host code does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodeKind {
    /// It serves all blocks: the name of what it does.
    Shared(&'static str),
    /// It runs a block of guest code.
    Block(GuestBlock),
}

/// A block of guest code that was translated.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct GuestBlock {
    /// RIP of its first instruction when it was translated; it may be mapped elsewhere too.
    pub rip: u64,
    /// Its instructions.
    pub instructions: u32,
    /// The default size of addresses: 16, 32 or 64 bits.
    pub bits: u8,
    /// It runs at CPL 3.
    pub user: bool,
}

impl fmt::Display for GuestBlock {
    /// `guest 0xffffffff81234567 (64-bit kernel)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GuestBlock { rip, bits, user, .. } = self;
        let level = if *user { "user" } else { "kernel" };
        write!(f, "guest {rip:#x} ({bits}-bit {level})")
    }
}

impl fmt::Display for CodeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CodeKind::Shared(name) => write!(f, "trimotor {name}"),
            CodeKind::Block(block) => block.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_where_the_guest_is() {
        let block = GuestBlock { rip: 0xFFFF_FFFF_8123_4567, instructions: 3, bits: 64, user: false };
        assert_eq!(CodeKind::Block(block).to_string(), "guest 0xffffffff81234567 (64-bit kernel)");
        let block = GuestBlock { rip: 0x0804_8000, bits: 32, user: true, ..block };
        assert_eq!(block.to_string(), "guest 0x8048000 (32-bit user)");
        assert_eq!(CodeKind::Shared("lookup").to_string(), "trimotor lookup");
    }
}
