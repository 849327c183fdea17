//! Flash memory that keeps what firmware writes: a chip with Intel's command set (CFI 0001h), below the ROM.
//!
//! UEFI firmware for virtual machines comes in two parts. Its code is the ROM at the end of 4 GiB, which nobody writes. Its
//! variables lie in flash memory right below: boot order, secure boot keys, what systems note for the next start. This is that
//! flash. Its content is a file of the host's, and what is in the file is there at the next start.
//!
//! Reads give the content. A write of a byte is a *command*, or a further cycle of one:
//!
//! | cycles | what |
//! |---|---|
//! | 10h or 40h, byte | programs the byte at the second cycle's address: ones become zeros |
//! | 20h, D0h | erases the block of 4 KiB to ones |
//! | E8h, count less one, bytes, D0h | programs up to 256 bytes, each at the address of its cycle |
//! | 70h | reads then give the status register |
//! | 50h | clears the status register |
//! | 90h | reads then tell which chip it is |
//! | 98h | reads then give the table of the Common Flash Interface |
//! | FFh and all others | reads give the content again |
//!
//! In the status register, bit 7 says that the chip is done, bit 5 that an erase failed, bit 4 that programming did, both that
//! the cycles were none of a command, and bit 1 that the block is locked, as all are where the file is read-only. The chip is on a bus of 8 bits: wider accesses are so many cycles, the lowest byte first.
//! It is done at once. What was changed goes to the file a little later, by a worker, block by block; a host that cannot write
//! sets both error bits, or pauses the machine, as the drive's `werror=` says. At the end of a machine all is written.
//!
//! Left out: locking and unlocking blocks, suspending, protection registers, and timing. Reads never show memory directly to vCPUs: code in
//! this chip would run slowly. It holds none.
//!
//! Source: Intel 3 Volt Synchronous StrataFlash (28F128J3) data sheet; JEDEC JESD68.01, "Common Flash Interface".

mod chip;
mod store;

pub use chip::{BLOCK_BYTES, BUFFER_BYTES};

use crate::device::{Completion, Device, OutsideRef};
use crate::disk_work::{Follows, Outcome, RETRY_NS, Work, follows, result};
use crate::drive::Drive;
use crate::requests::MachineRequests;
use chip::{Chip, ChipState};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use store::Store;
use trimotor_bus::{GuestTime, MmioDevice, RestoreError, SaveState, Timed, Width};
use trimotor_storage::BlockError;

/// The largest chip: beside a ROM it has room in the last 16 MiB below 4 GiB.
pub const MOST_BYTES: u64 = 8 << 20;

/// A chip cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum FlashError {
    /// The drive is empty.
    #[error("the flash memory's drive is empty: name a file")]
    NoMedium,
    /// No flash chip has this size.
    #[error("{bytes} bytes are no flash memory: it has whole blocks of 4 KiB, 8 MiB at most")]
    Size {
        /// The size.
        bytes: u64,
    },
    /// The content cannot be read.
    #[error("the flash memory's content: {0}")]
    Unreadable(#[from] BlockError),
}

/// The device.
pub struct Flash {
    drive: Drive,
    outside: OutsideRef,
    requests: MachineRequests,
    store: Arc<Store>,
    chip: Chip,
    /// Blocks that the worker under way writes; none is under way where there are none.
    begun: BTreeSet<u32>,
    /// Blocks that changed since.
    later: BTreeSet<u32>,
    /// The host failed: when it is tried again.
    again_at: Option<GuestTime>,
    /// The number of the request under way.
    token: u64,
    told: bool,
}

/// A block that is not in the file yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnwrittenBlockV1 {
    block: u32,
    content: Vec<u8>,
}

/// The saved state. The content is the drive's, but for what is not there yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlashStateV1 {
    chip: ChipState,
    unwritten: Vec<UnwrittenBlockV1>,
    again_at: Option<GuestTime>,
}

impl Flash {
    /// The chip whose content is in `drive`.
    ///
    /// # Errors
    /// See [`FlashError`].
    pub fn new(drive: Drive, outside: OutsideRef, requests: MachineRequests) -> Result<Self, FlashError> {
        let medium = drive.medium().ok_or(FlashError::NoMedium)?;
        let bytes = medium.size();
        if bytes == 0 || bytes > MOST_BYTES || !bytes.is_multiple_of(BLOCK_BYTES.into()) {
            return Err(FlashError::Size { bytes });
        }
        let mut content = vec![0; bytes as usize];
        medium.read(0, &mut content)?;
        Ok(Self {
            chip: Chip::new(content, medium.limits().read_only),
            store: Store::new(medium),
            drive,
            outside,
            requests,
            begun: BTreeSet::new(),
            later: BTreeSet::new(),
            again_at: None,
            token: 0,
            told: false,
        })
    }
    /// Its size.
    pub fn bytes(&self) -> u64 {
        u64::from(self.chip.blocks()) * u64::from(BLOCK_BYTES)
    }

    fn changed(&mut self, first: u32, last: u32, now: GuestTime) {
        for block in first..=last {
            self.store.put(block, self.chip.block(block));
            self.later.insert(block);
        }
        self.begin(now);
    }
    /// Has a worker write what changed, unless one is under way or waits to be tried again.
    fn begin(&mut self, now: GuestTime) {
        if !self.begun.is_empty() || self.later.is_empty() || self.again_at.is_some() {
            return;
        }
        self.begun = std::mem::take(&mut self.later);
        self.token = self.token.wrapping_add(1);
        let work = Work::Write { offset: 0, through: true };
        let due = now + work.duration_ns(self.begun.len() * BLOCK_BYTES as usize);
        let store = self.store.clone();
        self.outside.begin(
            self.token,
            due,
            Box::new(move || result(store.write().map(|()| vec![Outcome::DONE]))),
        );
    }
}

impl Completion for Flash {
    fn complete(&mut self, token: u64, answer: &[u8], now: GuestTime) {
        if token != self.token || self.begun.is_empty() {
            return;
        }
        let begun = std::mem::take(&mut self.begun);
        match Outcome::of(answer) {
            Outcome::Done(_) => {
                self.told = false;
                self.begin(now);
            }
            failure => {
                // What failed waits on, and goes with what is written next.
                self.later.extend(begun);
                let work = Work::Write { offset: 0, through: true };
                match follows(self.drive.config(), work, &failure, &mut self.told, &self.requests) {
                    Follows::Again => self.again_at = Some(now + RETRY_NS),
                    Follows::Error => self.chip.fail(),
                    Follows::Success => {}
                }
            }
        }
    }
}

impl Timed for Flash {
    fn next_event(&self) -> Option<GuestTime> {
        self.again_at
    }
    fn advance(&mut self, now: GuestTime) {
        if self.again_at.is_some_and(|at| at <= now) {
            self.again_at = None;
            self.begin(now);
        }
    }
}

impl MmioDevice for Flash {
    fn mmio_read(&mut self, offset: u64, width: Width, _now: GuestTime) -> u64 {
        (0..width.bytes() as u64)
            .fold(0, |value, n| value | u64::from(self.chip.read(offset.saturating_add(n))) << (8 * n))
    }
    fn mmio_write(&mut self, offset: u64, width: Width, value: u64, now: GuestTime) {
        for (n, byte) in value.to_le_bytes().into_iter().take(width.bytes()).enumerate() {
            if let Some((first, last)) = self.chip.write(offset.saturating_add(n as u64), byte) {
                self.changed(first, last, now);
            }
        }
    }
}

impl Device for Flash {
    fn reset(&mut self, now: GuestTime) {
        self.chip.reset();
        // The machine has forgotten the request under way. The worker may still do it; that is no harm.
        self.later.append(&mut self.begun);
        self.again_at = None;
        self.begin(now);
    }
    fn info(&self) -> String {
        let unwritten = self.begun.union(&self.later).count();
        format!("{} blocks, {unwritten} to be written, {}", self.chip.blocks(), self.chip.doing())
    }
    fn memory(&mut self) -> Option<&mut dyn MmioDevice> {
        Some(self)
    }
    fn timed(&mut self) -> Option<&mut dyn Timed> {
        Some(self)
    }
    fn completion(&mut self) -> Option<&mut dyn Completion> {
        Some(self)
    }
}

impl SaveState for Flash {
    type State = FlashStateV1;
    fn save(&self) -> FlashStateV1 {
        let Self {
            drive: _,
            outside: _,
            requests: _,
            store: _,
            chip,
            begun,
            later,
            again_at,
            token: _,
            told: _,
        } = self;
        let unwritten = begun.union(later);
        let unwritten = unwritten
            .map(|block| UnwrittenBlockV1 { block: *block, content: chip.block(*block).to_vec() })
            .collect();
        FlashStateV1 { chip: chip.save(), unwritten, again_at: *again_at }
    }
    fn restore(&mut self, state: FlashStateV1) -> Result<(), RestoreError> {
        let FlashStateV1 { chip, unwritten, again_at } = state;
        self.chip.check(&chip)?;
        let in_order = unwritten.windows(2).all(|pair| pair[0].block < pair[1].block);
        let possible = |entry: &UnwrittenBlockV1| {
            entry.block < self.chip.blocks() && entry.content.len() == BLOCK_BYTES as usize
        };
        if !in_order || !unwritten.iter().all(possible) {
            let value = format!("{} blocks, out of order or of a wrong size", unwritten.len());
            return Err(RestoreError { part: "flash", field: "unwritten", value });
        }
        if again_at.is_some() && unwritten.is_empty() {
            let value = "set, with nothing to write".to_owned();
            return Err(RestoreError { part: "flash", field: "again_at", value });
        }
        self.chip.restore(chip);
        self.begun.clear();
        self.later.clear();
        self.again_at = again_at;
        for UnwrittenBlockV1 { block, content } in unwritten {
            self.chip.set_block(block, &content);
            self.store.put(block, &content);
            self.later.insert(block);
        }
        // The worker's answer is due at once: the machine that was saved may have waited for it long.
        self.begin(GuestTime::ZERO);
        Ok(())
    }
}

impl Drop for Flash {
    fn drop(&mut self) {
        if let Err(error) = self.store.finish() {
            log::error!("drive {}: {error}; what was written last is lost", self.drive.config().id);
        }
    }
}

#[cfg(test)]
mod tests;
