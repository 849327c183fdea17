//! Where everything stands: the ROM, the BIOS data area, the stack frame of services.
//!
//! | address | what |
//! |---|---|
//! | 00000h | interrupt vectors |
//! | 00400h | BIOS data area (BDA) |
//! | 07C00h | boot sector; POST's stack lies below it |
//! | 9FC00h | extended BIOS data area (EBDA), 1 KiB |
//! | C0000h | the video adapter's ROM, copied there by POST, and option ROMs behind it |
//! | E0000h | ACPI tables |
//! | EF000h | the page of the VM generation ID |
//! | F0000h | system BIOS: what is found by signature, code, data, entry points at fixed addresses |
//!
//! Source: IBM PC/AT Technical Reference, "System BIOS"; IBM PS/2 and PC BIOS Interface Technical Reference.

/// Bytes of the ROM, which ends at 1 MiB and at 4 GiB.
pub const ROM_BYTES: usize = 128 << 10;
/// The address below 1 MiB at which the ROM starts.
pub const ROM_BASE: u32 = 0xE_0000;
/// The segment of the system BIOS.
pub const SYSTEM_SEGMENT: u16 = 0xF000;
/// Where the PCI interrupt routing table stands, behind the tables of [`crate::tables`].
pub const PCI_ROUTING: u32 = 0x1600;
/// Where the BIOS32 service directory stands, with the PCI BIOS for 32-bit programs.
pub const DIRECTORY: u32 = 0x1800;
/// The first offset of its code.
pub const SYSTEM_CODE: u32 = 0x2000;
/// The first offset of its data.
pub const SYSTEM_DATA: u32 = 0xA000;
/// The first offset of the entry points at fixed addresses.
pub const FIXED_ENTRIES: u32 = 0xE000;
/// The segment of the video BIOS.
pub const VIDEO_SEGMENT: u16 = 0xC000;
/// Most bytes of the video BIOS.
pub const VIDEO_MOST_BYTES: usize = 64 << 10;
/// The segment at which option ROMs end.
pub const OPTION_ROMS_END: u16 = 0xE000;
/// The segment of the extended BIOS data area.
pub const EBDA_SEGMENT: u16 = 0x9FC0;
/// KiB of conventional memory below it.
pub const CONVENTIONAL_KIB: u16 = 639;
/// Where a boot sector is loaded.
pub const BOOT_SECTOR: u16 = 0x7C00;

/// Fields of the BIOS data area, as offsets in segment 40h.
pub mod bda {
    /// The segment.
    pub const SEGMENT: u16 = 0x40;
    /// Ports of the serial ports, four words.
    pub const SERIAL: u32 = 0x00;
    /// Segment of the EBDA.
    pub const EBDA: u32 = 0x0E;
    /// Equipment, as INT 11h returns it.
    pub const EQUIPMENT: u32 = 0x10;
    /// KiB of conventional memory, as INT 12h returns it.
    pub const MEMORY_KIB: u32 = 0x13;
    /// Shift keys that are down or locked.
    pub const SHIFT_FLAGS: u32 = 0x17;
    /// More of them.
    pub const SHIFT_FLAGS_2: u32 = 0x18;
    /// The number that is typed with Alt.
    pub const ALT_NUMBER: u32 = 0x19;
    /// Offset of the next key to take.
    pub const KEY_HEAD: u32 = 0x1A;
    /// Offset of the next free place.
    pub const KEY_TAIL: u32 = 0x1C;
    /// The ring of sixteen keys.
    pub const KEY_BUFFER: u32 = 0x1E;
    /// Its end.
    pub const KEY_BUFFER_END: u32 = 0x3E;
    /// Ticks until the floppy's motor is turned off.
    pub const MOTOR_COUNT: u32 = 0x40;
    /// Floppy motors that are on.
    pub const MOTOR_STATUS: u32 = 0x3F;
    /// Video mode.
    pub const VIDEO_MODE: u32 = 0x49;
    /// Columns.
    pub const COLUMNS: u32 = 0x4A;
    /// Bytes of a page.
    pub const PAGE_BYTES: u32 = 0x4C;
    /// Offset of the page that is shown.
    pub const PAGE_START: u32 = 0x4E;
    /// The cursor of each of eight pages: column, row.
    pub const CURSORS: u32 = 0x50;
    /// The cursor's shape: last line, first line.
    pub const CURSOR_SHAPE: u32 = 0x60;
    /// The page that is shown.
    pub const PAGE: u32 = 0x62;
    /// Port of the CRT controller.
    pub const CRTC_PORT: u32 = 0x63;
    /// The CGA's mode register.
    pub const CGA_MODE: u32 = 0x65;
    /// The CGA's palette register.
    pub const CGA_PALETTE: u32 = 0x66;
    /// Far pointer at which a reset with a shutdown code goes on.
    pub const RESET_RESUME: u32 = 0x67;
    /// Ticks since midnight, a dword.
    pub const TICKS: u32 = 0x6C;
    /// Midnight has passed.
    pub const MIDNIGHT: u32 = 0x70;
    /// Bit 7: Ctrl-Break was pressed.
    pub const BREAK: u32 = 0x71;
    /// 1234h: the reset is a warm one.
    pub const WARM: u32 = 0x72;
    /// Time-outs of the serial ports, four bytes.
    pub const SERIAL_TIMEOUTS: u32 = 0x7C;
    /// Offset of the key ring.
    pub const KEY_START: u32 = 0x80;
    /// Offset of its end.
    pub const KEY_END: u32 = 0x82;
    /// Rows less one.
    pub const ROWS: u32 = 0x84;
    /// Lines of a character.
    pub const CHARACTER_LINES: u32 = 0x85;
    /// How the video BIOS was set up.
    pub const VIDEO_CONTROL: u32 = 0x87;
    /// Feature bits and switches.
    pub const VIDEO_SWITCHES: u32 = 0x88;
    /// VGA flags.
    pub const VIDEO_FLAGS: u32 = 0x89;
    /// Display combination code.
    pub const DISPLAY_CODE: u32 = 0x8A;
    /// Keyboard: kind, and prefixes that were seen.
    pub const KEYBOARD_FLAGS: u32 = 0x96;
    /// Keyboard LEDs.
    pub const KEYBOARD_LEDS: u32 = 0x97;
    /// Far pointer to the flag of a wait that is under way.
    pub const WAIT_FLAG: u32 = 0x98;
    /// Microseconds that are left of it.
    pub const WAIT_LEFT: u32 = 0x9C;
    /// Bit 0: a wait is under way; bit 7: it is over.
    pub const WAIT_STATE: u32 = 0xA0;
    /// Far pointer to the video BIOS's table of pointers.
    pub const VIDEO_POINTERS: u32 = 0xA8;
    /// The mode that VBE has set, with bits 14 and 15; 0: one of VGA's. Reserved by IBM, this and the next.
    pub const VBE_MODE: u32 = 0xBA;
    /// The monitor's state of power, as VBE has it.
    pub const VIDEO_POWER: u32 = 0xBC;
}

/// What a service finds on its stack, as offsets from BP.
pub mod frame {
    /// DI.
    pub const DI: u32 = 0;
    /// SI.
    pub const SI: u32 = 4;
    /// BP.
    pub const BP: u32 = 8;
    /// EBX.
    pub const BX: u32 = 16;
    /// BH.
    pub const BH: u32 = 17;
    /// EDX.
    pub const DX: u32 = 20;
    /// DH.
    pub const DH: u32 = 21;
    /// ECX.
    pub const CX: u32 = 24;
    /// CH.
    pub const CH: u32 = 25;
    /// EAX.
    pub const AX: u32 = 28;
    /// AH.
    pub const AH: u32 = 29;
    /// ES.
    pub const ES: u32 = 32;
    /// DS.
    pub const DS: u32 = 34;
    /// The flags that the caller gets back.
    pub const FLAGS: u32 = 40;
}
