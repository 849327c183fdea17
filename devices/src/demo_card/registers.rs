//! Registers of the demonstration card.

/// Vendor ID: that of PCI devices of virtual machines.
pub const VENDOR: u16 = 0x1B36;
/// Device ID.
pub const DEVICE: u16 = 0x7D01;
/// What [`ID`] reads.
pub const ID_VALUE: u64 = 0x7472_696D_6F74_6F72;

/// Which BAR has the ports.
pub const IO_BAR: u8 = 0;
/// Which BAR has the registers (64 bits wide, so BAR 3 is its upper half).
pub const REGISTER_BAR: u8 = 2;
/// Which BAR has the MSI-X table.
pub const MSIX_BAR: u8 = 1;
/// Which BAR has the card's memory (64 bits wide, prefetchable, so BAR 5 is its upper half).
pub const VRAM_BAR: u8 = 4;
/// Bytes of the ports.
pub const IO_BYTES: u32 = 32;
/// Bytes of the registers.
pub const REGISTER_BYTES: u64 = 4096;

/// Read only: [`ID_VALUE`].
pub const ID: u64 = 0x00;
/// Keeps what is written.
pub const SCRATCH: u64 = 0x08;
/// Guest-physical address that requests read from.
pub const SOURCE: u64 = 0x10;
/// Guest-physical address that requests write to.
pub const DESTINATION: u64 = 0x18;
/// Bytes that requests copy; up to [`MAX_BYTES`].
pub const LENGTH: u64 = 0x20;
/// A write begins the request whose number, 0 to 15, is in bits 3:0.
pub const DOORBELL: u64 = 0x28;
/// A bit for each request that is done; bit 16 and up: for each that was refused. Writing ones clears.
pub const STATUS: u64 = 0x30;
/// Read only: how many requests completed.
pub const COMPLETED: u64 = 0x38;
/// Read only: the numbers of the last sixteen requests that completed, four bits each, the last one lowest.
pub const ORDER: u64 = 0x40;

/// Read only: how many pages of the card's memory were written since this was last read, by whoever wrote them.
pub const DIRTY: u64 = 0x48;

/// Guest-physical address of the table of requests: sixteen entries of 32 bytes, each source, destination and length as
/// the registers have them, and eight bytes that nobody reads.
pub const TABLE: u64 = 0x50;
/// Write only: begins the request whose number is in bits 3:0, which the table describes.
pub const QUEUE: u64 = 0x58;
/// Bytes of an entry of the table.
pub const ENTRY_BYTES: u64 = 32;

/// The most bytes of a request.
pub const MAX_BYTES: u64 = 4096;
/// Requests that may be under way at the same time.
pub const REQUESTS: usize = 16;
/// MSI-X vectors; request n uses vector n modulo this.
pub const VECTORS: usize = 4;
/// With guest time from a count of instructions, request n takes this many nanoseconds times 17 - n: the last one
/// begun is the first one done.
pub const STEP_NS: u64 = 5_000;
