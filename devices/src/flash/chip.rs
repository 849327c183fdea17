//! The flash chip itself: its cells, and the state machine that commands drive. Cycles of one byte.

use serde::{Deserialize, Serialize};
use trimotor_bus::RestoreError;

/// Bytes that are erased at a time.
pub const BLOCK_BYTES: u32 = 4096;
/// Bytes that one write to the buffer programs at most.
pub const BUFFER_BYTES: u32 = 256;
/// What the chip says it is: Intel, 28F128J3.
const MANUFACTURER: u8 = 0x89;
const DEVICE: u8 = 0x18;

/// Commands: the first cycle of a write.
mod command {
    pub const PROGRAM: [u8; 2] = [0x10, 0x40];
    pub const ERASE: u8 = 0x20;
    pub const CLEAR_STATUS: u8 = 0x50;
    pub const READ_STATUS: u8 = 0x70;
    pub const READ_ID: u8 = 0x90;
    pub const QUERY: u8 = 0x98;
    pub const CONFIRM: u8 = 0xD0;
    pub const BUFFER: u8 = 0xE8;
}

/// Bits of the status register.
mod status {
    /// The chip is done.
    pub const READY: u8 = 1 << 7;
    /// An erase failed; with [`PROGRAM_FAILED`], the cycles of a command were in a wrong order.
    pub const ERASE_FAILED: u8 = 1 << 5;
    pub const PROGRAM_FAILED: u8 = 1 << 4;
    /// The block is locked.
    pub const LOCKED: u8 = 1 << 1;
    pub const ALL: u8 = READY | ERASE_FAILED | PROGRAM_FAILED | LOCKED;
}

/// What the next cycle means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
enum Mode {
    /// Reads give the content; a write is a command. So are the next three.
    #[default]
    Array,
    /// Reads give the status register.
    Status,
    /// Reads tell which chip it is.
    Id,
    /// Reads give the Common Flash Interface's table.
    Query,
    /// A write is the byte to program.
    Program,
    /// A write confirms that a block is erased.
    Erase,
    /// A write says how many bytes follow for the buffer, less one.
    BufferCount,
    /// Writes are bytes for the buffer, as many as are left.
    Buffer { left: u16 },
    /// A write confirms that the buffer is programmed.
    BufferConfirm,
}

impl Mode {
    /// Whether the chip waits for another cycle of a command; reads give the status meanwhile.
    fn amid_command(self) -> bool {
        !matches!(self, Mode::Array | Mode::Status | Mode::Id | Mode::Query)
    }
}

/// What the state machine remembers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct ChipState {
    mode: Mode,
    status: u8,
    /// What waits in the buffer: offset in the chip, byte.
    buffer: Vec<(u32, u8)>,
}

/// The chip.
pub(super) struct Chip {
    cells: Vec<u8>,
    /// All blocks are locked: their file is read-only.
    locked: bool,
    state: ChipState,
}

impl Chip {
    /// A chip of whole blocks with this content, which reads give first.
    pub(super) fn new(cells: Vec<u8>, locked: bool) -> Self {
        Self { cells, locked, state: ChipState::default() }
    }
    /// Hardware reset: the content stays.
    pub(super) fn reset(&mut self) {
        self.state = ChipState::default();
    }
    /// Blocks of the chip.
    pub(super) fn blocks(&self) -> u32 {
        self.cells.len() as u32 / BLOCK_BYTES
    }
    /// The content of a block.
    pub(super) fn block(&self, block: u32) -> &[u8] {
        let start = (block * BLOCK_BYTES) as usize;
        &self.cells[start..start + BLOCK_BYTES as usize]
    }
    /// Replaces a block's content, as a restored state has it.
    pub(super) fn set_block(&mut self, block: u32, content: &[u8]) {
        let start = (block * BLOCK_BYTES) as usize;
        self.cells[start..start + BLOCK_BYTES as usize].copy_from_slice(content);
    }
    /// Sets the error bits: what was programmed cannot be kept.
    pub(super) fn fail(&mut self) {
        self.state.status |= status::PROGRAM_FAILED | status::ERASE_FAILED;
    }

    /// Reads the byte at `offset`; ones beyond the end.
    pub(super) fn read(&self, offset: u64) -> u8 {
        match self.state.mode {
            Mode::Array => self.cells.get(offset as usize).copied().unwrap_or(0xFF),
            Mode::Id => self.id(offset),
            Mode::Query => self.query(offset),
            _ => self.state.status,
        }
    }
    /// The identifier's bytes; the third of each block tells whether it is locked.
    fn id(&self, offset: u64) -> u8 {
        match offset % u64::from(BLOCK_BYTES) {
            0 => MANUFACTURER,
            1 => DEVICE,
            2 => u8::from(self.locked),
            _ => 0,
        }
    }
    /// The Common Flash Interface's table.
    fn query(&self, offset: u64) -> u8 {
        let [blocks_low, blocks_high] = ((self.blocks() - 1) as u16).to_le_bytes();
        match offset {
            0x10 => b'Q',
            0x11 => b'R',
            0x12 => b'Y',
            0x13 => 0x01, // Intel's extended command set; no table of extensions.
            0x1B => 0x45, // Programmed and erased with 4.5 to 5.5 volts, and no others.
            0x1C => 0x55,
            0x1F => 0x07, // Typical times: 128 us a byte, 128 us a buffer, 1 s a block.
            0x20 => 0x07,
            0x21 => 0x0A,
            0x23 => 0x04, // At most 16 times as long.
            0x24 => 0x04,
            0x25 => 0x04,
            0x27 => self.cells.len().next_power_of_two().trailing_zeros() as u8,
            0x2A => BUFFER_BYTES.trailing_zeros() as u8,
            0x2C => 1, // One region, of so many blocks less one, of so many times 256 bytes.
            0x2D => blocks_low,
            0x2E => blocks_high,
            0x2F => (BLOCK_BYTES / 256) as u8,
            0x30 => ((BLOCK_BYTES / 256) >> 8) as u8,
            _ => 0,
        }
    }

    /// Writes a byte; returns the first and the last block whose content changed.
    pub(super) fn write(&mut self, offset: u64, value: u8) -> Option<(u32, u32)> {
        let offset = u32::try_from(offset).ok().filter(|offset| (*offset as usize) < self.cells.len())?;
        match self.state.mode {
            Mode::Array | Mode::Status | Mode::Id | Mode::Query => self.command(value),
            Mode::Program => {
                self.done();
                return self.program(offset, value);
            }
            Mode::Erase if value == command::CONFIRM => {
                self.done();
                return self.erase(offset / BLOCK_BYTES);
            }
            Mode::BufferCount => self.state.mode = Mode::Buffer { left: u16::from(value) + 1 },
            Mode::Buffer { left } => {
                self.state.buffer.push((offset, value));
                self.state.mode =
                    if left > 1 { Mode::Buffer { left: left - 1 } } else { Mode::BufferConfirm };
            }
            Mode::BufferConfirm if value == command::CONFIRM => {
                self.done();
                return self.program_buffer();
            }
            Mode::Erase | Mode::BufferConfirm => {
                self.done();
                self.fail();
                self.state.buffer.clear();
            }
        }
        None
    }
    fn command(&mut self, value: u8) {
        self.state.mode = match value {
            _ if command::PROGRAM.contains(&value) => Mode::Program,
            command::ERASE => Mode::Erase,
            command::BUFFER => {
                self.state.status |= status::READY;
                Mode::BufferCount
            }
            command::CLEAR_STATUS => {
                // A real chip keeps its ready bit. EDK II tells this flash from RAM and ROM by a status of zero.
                self.state.status = 0;
                self.state.mode
            }
            command::READ_STATUS => Mode::Status,
            command::READ_ID => Mode::Id,
            command::QUERY => Mode::Query,
            _ => Mode::Array,
        };
    }
    /// A command has all its cycles.
    fn done(&mut self) {
        self.state.mode = Mode::Status;
        self.state.status |= status::READY;
    }
    /// Programming makes zeros of ones, and never the other way round.
    fn program(&mut self, offset: u32, value: u8) -> Option<(u32, u32)> {
        if self.locked {
            self.state.status |= status::PROGRAM_FAILED | status::LOCKED;
            return None;
        }
        let cell = &mut self.cells[offset as usize];
        let block = offset / BLOCK_BYTES;
        (std::mem::replace(cell, *cell & value) != *cell).then_some((block, block))
    }
    fn program_buffer(&mut self) -> Option<(u32, u32)> {
        let mut changed: Option<(u32, u32)> = None;
        for (offset, value) in std::mem::take(&mut self.state.buffer) {
            if let Some((block, _)) = self.program(offset, value) {
                let (first, last) = changed.unwrap_or((block, block));
                changed = Some((first.min(block), last.max(block)));
            }
        }
        changed
    }
    fn erase(&mut self, block: u32) -> Option<(u32, u32)> {
        if self.locked {
            self.state.status |= status::ERASE_FAILED | status::LOCKED;
            return None;
        }
        if self.block(block).iter().all(|byte| *byte == 0xFF) {
            return None;
        }
        self.set_block(block, &[0xFF; BLOCK_BYTES as usize]);
        Some((block, block))
    }

    /// What the chip remembers beside its content.
    pub(super) fn save(&self) -> ChipState {
        self.state.clone()
    }
    /// Whether a chip of so many bytes can be in this state.
    pub(super) fn check(&self, state: &ChipState) -> Result<(), RestoreError> {
        let ChipState { mode, status, buffer } = state;
        let refuse = |field, value: String| Err(RestoreError { part: "flash", field, value });
        if status & !status::ALL != 0 {
            return refuse("status", format!("{status:#x}"));
        }
        let expected = match mode {
            Mode::Buffer { left } if !(1..=BUFFER_BYTES as u16).contains(left) => {
                return refuse("mode", format!("{mode:?}"));
            }
            Mode::Buffer { left } => buffer.len() <= (BUFFER_BYTES - u32::from(*left)) as usize,
            Mode::BufferConfirm => (1..=BUFFER_BYTES as usize).contains(&buffer.len()),
            _ => buffer.is_empty(),
        };
        if !expected || buffer.iter().any(|(offset, _)| *offset as usize >= self.cells.len()) {
            return refuse("buffer", format!("{} bytes, {mode:?}", buffer.len()));
        }
        Ok(())
    }
    /// Takes a state that [`check`](Self::check) accepted.
    pub(super) fn restore(&mut self, state: ChipState) {
        self.state = state;
    }
    /// What it is doing, for people.
    pub(super) fn doing(&self) -> &'static str {
        match self.state.mode {
            Mode::Array => "reads give the content",
            mode if mode.amid_command() => "amid a command",
            _ => "reads give registers",
        }
    }
}
