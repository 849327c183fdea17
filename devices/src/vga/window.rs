//! The window at A0000h to BFFFFh as a piece of the frame buffer that vCPUs write without the adapter.
//!
//! That can be where a byte of the window is a byte of the frame buffer and nothing is done to it: in DISPI modes of 8 and
//! more bits a pixel; and otherwise by write mode 0 without rotation, set/reset, function or bit mask, and read mode 0, with
//! chain 4 (mode 13h) where all planes are written, with odd/even (text, modes 4 and 5) where planes 0 and 1 are.
//! (Such reads leave the latches as they are. On hardware they load them, which write mode 1 could tell.)
//!
//! Showing memory and taking it away costs as much as some hundred accesses, because vCPUs drop their translations. So a
//! window is shown only after some accesses came to the same place: programs that switch banks or registers for
//! each few bytes are served byte by byte.

use super::dispi::Dispi;
use super::planes::{self, Order};
use super::registers::Registers;
use trimotor_bus::memory::Shown;
use trimotor_bus::{MemoryRegion, PhysAddr, board};

/// Accesses to the same place before it is shown.
const ACCESSES: u32 = 256;
/// Bytes of the planes that the window reaches; of a DISPI bank.
const WINDOW_BYTES: u64 = 64 << 10;

/// A piece of the frame buffer in the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    /// Where it begins, in bytes from A0000h.
    pub at: u64,
    /// Bytes.
    pub bytes: u64,
    /// Its first byte in the frame buffer.
    pub offset: u64,
}

/// What is shown, and what could be.
#[derive(Default)]
pub(super) struct Window {
    /// What can be shown.
    piece: Option<Piece>,
    accesses: u32,
    shown: Option<Piece>,
    /// The board knows not yet.
    news: bool,
}

impl Window {
    /// The registers may have changed.
    pub(super) fn registers_changed(&mut self, r: &Registers, dispi: &Dispi) {
        let piece = piece(r, dispi);
        if piece == self.piece {
            return;
        }
        self.piece = piece;
        self.accesses = 0;
        self.news |= self.shown.is_some();
        self.shown = None;
    }
    /// The piece whose bytes are bytes of the window.
    pub(super) fn piece(&self) -> Option<Piece> {
        self.piece
    }
    /// An access came through the adapter.
    pub(super) fn accessed(&mut self) {
        if self.piece.is_some() && self.shown.is_none() {
            self.accesses += 1;
            if self.accesses >= ACCESSES {
                self.shown = self.piece;
                self.news = true;
            }
        }
    }
    /// What the board is to show from now on, if that changed.
    pub(super) fn take_news(&mut self, memory: &MemoryRegion) -> Option<Option<Shown>> {
        let fits = |piece: &Piece| piece.offset + piece.bytes <= memory.bytes();
        let shown = |Piece { at, bytes, offset }| Shown {
            at: PhysAddr(board::VGA_WINDOW.0 + at),
            bytes,
            region: memory.clone(),
            offset,
        };
        std::mem::take(&mut self.news).then(|| self.shown.filter(fits).map(shown))
    }
    /// The adapter's state is another one: nothing is shown.
    pub(super) fn forget(&mut self) {
        *self = Self { news: true, ..Self::default() };
    }
}

fn piece(r: &Registers, dispi: &Dispi) -> Option<Piece> {
    if let Some(mode) = dispi.mode() {
        let piece = Piece { at: 0, bytes: WINDOW_BYTES, offset: dispi.bank() };
        return (mode.bits > 4).then_some(piece);
    }
    let g = &r.graphics;
    let plain = g[1] == 0 && g[3] == 0 && g[5] & 0x0B == 0 && g[8] == 0xFF && r.misc & 2 != 0;
    let in_order = match Order::of(r, dispi.enabled()) {
        Order::Words => false,
        Order::Chain4 => r.sequencer[2] == 0xF,
        Order::OddEven => r.sequencer[2] == 0x3 && g[5] & 0x10 != 0 && g[4] & 2 == 0,
    };
    // 128 KiB show 64 KiB twice.
    let (at, bytes) = planes::opened(r);
    (plain && in_order && bytes <= WINDOW_BYTES).then_some(Piece { at, bytes, offset: 0 })
}
