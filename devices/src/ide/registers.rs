//! Registers and bits of an IDE channel (ATA/ATAPI-7, "Register descriptions"; PIIX3 data sheet, "Bus master IDE registers").

/// Status: the device is busy; the other bits mean nothing.
pub const BSY: u8 = 1 << 7;
/// Status: the device takes commands.
pub const DRDY: u8 = 1 << 6;
/// Status: the device has written to a medium that fails, or the like.
pub const DF: u8 = 1 << 5;
/// Status: the last seek is done (obsolete since ATA-4, set as drives set it).
pub const DSC: u8 = 1 << 4;
/// Status: a word can be moved through the data register.
pub const DRQ: u8 = 1 << 3;
/// Status: the error register says what went wrong. For packet devices: CHK.
pub const ERR: u8 = 1 << 0;
/// Status of a device that rests.
pub const READY: u8 = DRDY | DSC;

/// Error: a transfer failed on the interface.
pub const ICRC: u8 = 1 << 7;
/// Error: the medium cannot be read; on writes: it is write protected.
pub const UNC: u8 = 1 << 6;
/// Error: no such address.
pub const IDNF: u8 = 1 << 4;
/// Error: the command was aborted.
pub const ABRT: u8 = 1 << 2;
/// Error register after a diagnosis without findings.
pub const DIAGNOSED: u8 = 0x01;

/// Device register: addresses are LBAs, not cylinder, head and sector.
pub const LBA: u8 = 1 << 6;
/// Device register: device 1 is selected.
pub const DEV: u8 = 1 << 4;
/// Device register: bits that read as ones (obsolete since ATA-2).
pub const OBSOLETE: u8 = 0xA0;

/// Device control: no interrupts.
pub const NIEN: u8 = 1 << 1;
/// Device control: reset.
pub const SRST: u8 = 1 << 2;
/// Device control: what was written before the last byte is read.
pub const HOB: u8 = 1 << 7;

/// Interrupt reason (the count register of a packet device): command, not data.
pub const REASON_COMMAND: u8 = 1 << 0;
/// Interrupt reason: to the host.
pub const REASON_TO_HOST: u8 = 1 << 1;

/// Offsets in the command block.
pub mod block {
    /// Data, 16 or 32 bits.
    pub const DATA: u16 = 0;
    /// Features (write), error (read).
    pub const FEATURE: u16 = 1;
    /// Sector count.
    pub const COUNT: u16 = 2;
    /// LBA bits 7:0, sector number.
    pub const LBA_LOW: u16 = 3;
    /// LBA bits 15:8, cylinder bits 7:0.
    pub const LBA_MID: u16 = 4;
    /// LBA bits 23:16, cylinder bits 15:8.
    pub const LBA_HIGH: u16 = 5;
    /// Device, LBA bits 27:24 or head.
    pub const DEVICE: u16 = 6;
    /// Command (write), status (read).
    pub const COMMAND: u16 = 7;
}

/// Bus master command: the transfer runs.
pub const BM_START: u8 = 1 << 0;
/// Bus master command: to memory.
pub const BM_TO_MEMORY: u8 = 1 << 3;
/// Bus master status: a transfer runs.
pub const BM_ACTIVE: u8 = 1 << 0;
/// Bus master status: memory could not be reached.
pub const BM_ERROR: u8 = 1 << 1;
/// Bus master status: the device has raised its interrupt.
pub const BM_INTERRUPT: u8 = 1 << 2;
/// Bus master status: drivers note here which device can do DMA.
pub const BM_CAPABLE: u8 = 3 << 5;

/// Commands (ATA/ATAPI-7, "Command descriptions").
pub mod command {
    #![allow(missing_docs, reason = "the names are the standard's")]
    pub const NOP: u8 = 0x00;
    pub const DATA_SET_MANAGEMENT: u8 = 0x06;
    pub const DEVICE_RESET: u8 = 0x08;
    pub const RECALIBRATE: u8 = 0x10;
    pub const RECALIBRATE_LAST: u8 = 0x1F;
    pub const READ_SECTORS: u8 = 0x20;
    pub const READ_SECTORS_ONCE: u8 = 0x21;
    pub const READ_SECTORS_EXT: u8 = 0x24;
    pub const READ_DMA_EXT: u8 = 0x25;
    pub const READ_NATIVE_MAX_EXT: u8 = 0x27;
    pub const READ_MULTIPLE_EXT: u8 = 0x29;
    pub const WRITE_SECTORS: u8 = 0x30;
    pub const WRITE_SECTORS_ONCE: u8 = 0x31;
    pub const WRITE_SECTORS_EXT: u8 = 0x34;
    pub const WRITE_DMA_EXT: u8 = 0x35;
    pub const WRITE_MULTIPLE_EXT: u8 = 0x39;
    pub const WRITE_VERIFY: u8 = 0x3C;
    pub const WRITE_DMA_FUA_EXT: u8 = 0x3D;
    pub const READ_VERIFY: u8 = 0x40;
    pub const READ_VERIFY_ONCE: u8 = 0x41;
    pub const READ_VERIFY_EXT: u8 = 0x42;
    pub const SEEK: u8 = 0x70;
    pub const SEEK_LAST: u8 = 0x7F;
    pub const EXECUTE_DIAGNOSTIC: u8 = 0x90;
    pub const INITIALIZE_PARAMETERS: u8 = 0x91;
    pub const PACKET: u8 = 0xA0;
    pub const IDENTIFY_PACKET: u8 = 0xA1;
    pub const SMART: u8 = 0xB0;
    pub const READ_MULTIPLE: u8 = 0xC4;
    pub const WRITE_MULTIPLE: u8 = 0xC5;
    pub const SET_MULTIPLE: u8 = 0xC6;
    pub const READ_DMA: u8 = 0xC8;
    pub const READ_DMA_ONCE: u8 = 0xC9;
    pub const WRITE_DMA: u8 = 0xCA;
    pub const WRITE_DMA_ONCE: u8 = 0xCB;
    pub const WRITE_MULTIPLE_FUA_EXT: u8 = 0xCE;
    pub const STANDBY_IMMEDIATE: u8 = 0xE0;
    pub const IDLE_IMMEDIATE: u8 = 0xE1;
    pub const STANDBY: u8 = 0xE2;
    pub const IDLE: u8 = 0xE3;
    pub const READ_BUFFER: u8 = 0xE4;
    pub const CHECK_POWER: u8 = 0xE5;
    pub const SLEEP: u8 = 0xE6;
    pub const FLUSH_CACHE: u8 = 0xE7;
    pub const WRITE_BUFFER: u8 = 0xE8;
    pub const FLUSH_CACHE_EXT: u8 = 0xEA;
    pub const IDENTIFY: u8 = 0xEC;
    pub const SET_FEATURES: u8 = 0xEF;
    pub const READ_NATIVE_MAX: u8 = 0xF8;
}
