//! What direct boot amounts to: bytes in memory and a processor's state.

use super::entry::EntryState;
use trimotor_bus::memory::{WindowRead, WindowWrite};
use trimotor_bus::{GuestMemory, PhysAddr};

/// What a [`MemoryWrite`] puts into memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// As many zero bytes.
    Zeros(u64),
}

/// One stretch of guest memory to fill before the guest starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemoryWrite {
    /// First guest-physical address.
    pub addr: PhysAddr,
    /// What to put there.
    pub content: Content,
}

impl MemoryWrite {
    /// A write of `bytes` to `addr`.
    pub fn bytes(addr: PhysAddr, bytes: Vec<u8>) -> Self {
        Self { addr, content: Content::Bytes(bytes) }
    }
    /// How many bytes the write covers.
    pub fn len(&self) -> u64 {
        match &self.content {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Zeros(bytes) => *bytes,
        }
    }
    /// Whether the write covers nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Everything that the machine must do to start a guest directly.
///
/// The writes are in order: a later one may overlap an earlier one. The plan may be applied
/// again at each reset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BootPlan {
    /// What is booted and how, for people: `vmlinuz (Linux bzImage, 64-bit entry)`.
    pub name: String,
    /// What to put into memory.
    pub writes: Vec<MemoryWrite>,
    /// The first processor's state; none where it starts at the reset vector, as RESET leaves it, because
    /// firmware code does the rest.
    pub entry: Option<EntryState>,
}

/// RAM did not take all of a write: the plan was made for another memory size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no RAM takes the {bytes} bytes of boot data at {addr:#x}")]
pub struct ApplyError {
    /// First address of the write.
    pub addr: u64,
    /// Bytes in it.
    pub bytes: u64,
}

impl BootPlan {
    /// The plan of a machine whose firmware ROM finds out by itself what to boot.
    pub fn firmware(name: impl Into<String>) -> Self {
        Self { name: name.into(), writes: Vec::new(), entry: None }
    }

    /// Fills guest memory. Firmware tables stand at E0000h to FFFFFh, so these windows are
    /// switched to RAM first, as firmware does when it shadows its ROM; the board should show
    /// the same in the chipset's PAM registers.
    ///
    /// # Errors
    /// [`ApplyError`] where RAM does not back a write.
    pub fn apply(&self, memory: &GuestMemory) -> Result<(), ApplyError> {
        memory.set_window(0xE_0000..0x10_0000, WindowRead::Ram, WindowWrite::Ram);
        self.writes.iter().try_for_each(|write| apply_write(memory, write))
    }
}

fn apply_write(memory: &GuestMemory, write: &MemoryWrite) -> Result<(), ApplyError> {
    const ZEROS: [u8; 4096] = [0; 4096];
    let error = ApplyError { addr: write.addr.0, bytes: write.len() };
    match &write.content {
        Content::Bytes(bytes) => {
            if memory.write(write.addr, bytes) != bytes.len() {
                return Err(error);
            }
        }
        Content::Zeros(bytes) => {
            let mut done = 0;
            while done < *bytes {
                let piece = (*bytes - done).min(ZEROS.len() as u64);
                if memory.write(write.addr.offset(done), &ZEROS[..piece as usize]) as u64 != piece {
                    return Err(error);
                }
                done += piece;
            }
        }
    }
    Ok(())
}
