//! The fixed addresses of the board: what chips answer where, and which wire is which.
//!
//! The board is the PC of the i440FX, PIIX3 and PIIX4 (see `docs/references.md`). Devices
//! place their registers by these constants and firmware writes them into its tables, so
//! that what the tables say is what the board has. Ports and interrupt numbers that the
//! IBM PC/AT fixed are named here too.

use crate::{PciAddress, PhysAddr, Port};

/// The most vCPUs that a machine can have. The local APIC id of a vCPU is its index.
pub const MAX_VCPUS: usize = 8;

/// The local APIC's page after reset (SDM Vol. 3A, APIC, IA32_APIC_BASE).
pub const LOCAL_APIC: PhysAddr = PhysAddr(0xFEE0_0000);
/// The IOAPIC's registers.
pub const IOAPIC: PhysAddr = PhysAddr(0xFEC0_0000);
/// The IOAPIC's id, as its register and the MADT say.
pub const IOAPIC_ID: u8 = 0;
/// Inputs of the IOAPIC; their global system interrupt numbers start at 0.
pub const IOAPIC_PINS: u8 = 24;
/// The HPET's registers.
pub const HPET: PhysAddr = PhysAddr(0xFED0_0000);
/// Bytes of the HPET's region.
pub const HPET_BYTES: u64 = 1024;

/// The first address that PCI memory BARs may use: right above the RAM below 4 GiB.
pub const PCI_HOLE_START: PhysAddr = PhysAddr(crate::memory::LOW_RAM_LIMIT);
/// The end (exclusive) of the PCI memory window: the IOAPIC follows.
pub const PCI_HOLE_END: PhysAddr = PhysAddr(0xFEC0_0000);
/// The first port that PCI I/O BARs may use.
pub const PCI_IO_START: Port = Port(0xC000);
/// The last port that PCI I/O BARs may use.
pub const PCI_IO_LAST: Port = Port(0xFFFF);
/// Where firmware puts the bus masters of the IDE controller: 16 ports.
pub const IDE_BUS_MASTER: Port = Port(0xC000);
/// PCI configuration mechanism 1: the address register (4 bytes); data follows at CFCh.
pub const PCI_CONFIG_ADDRESS: Port = Port(0xCF8);
/// PCI configuration mechanism 1: the data register (4 bytes).
pub const PCI_CONFIG_DATA: Port = Port(0xCFC);
/// The interrupt (PIC input and IOAPIC pin alike) that each of the PCI links A to D is
/// routed to by firmware. Level triggered. [`pci_link`] tells a function's link.
pub const PCI_LINK_IRQS: [u8; 4] = [10, 11, 10, 11];

/// The PCI link, 0 (A) to 3 (D), that interrupt `pin` (INTA# is 1) of a `device` on bus 0 is
/// wired to: slot 1 starts with link A. PC BIOS images for this chipset assume this wiring.
pub const fn pci_link(device: u8, pin: u8) -> u8 {
    device.wrapping_add(pin).wrapping_add(2) & 3
}

/// Base of the PIIX4 power-management block.
pub const PM_BASE: Port = Port(0x600);
/// Bytes of the power-management block.
pub const PM_BYTES: u16 = 64;
/// PM1a event block: status (2 bytes) and enable (2 bytes).
pub const PM1A_EVENT: Port = Port(PM_BASE.0);
/// PM1a control block (2 bytes).
pub const PM1A_CONTROL: Port = Port(PM_BASE.0 + 4);
/// PM timer (4 bytes, 3.579545 MHz).
pub const PM_TIMER: Port = Port(PM_BASE.0 + 8);
/// Whether the PM timer counts 32 bits (the FADT's TMR_VAL_EXT) or 24.
pub const PM_TIMER_32_BIT: bool = true;
/// General-purpose event block 0: status (2 bytes) and enable (2 bytes).
pub const GPE0: Port = Port(PM_BASE.0 + 12);
/// Bytes of general-purpose event block 0.
pub const GPE0_BYTES: u8 = 4;
/// SLP_TYP of S5 (soft off) in PM1a control, for the `\_S5` package.
pub const SLP_TYP_S5: u8 = 0;
/// SLP_TYP of S3 (suspend to RAM), for the `\_S3` package.
pub const SLP_TYP_S3: u8 = 1;
/// The command port of the APM and ACPI handshake (the FADT's SMI_CMD).
pub const SMI_COMMAND: Port = Port(0xB2);
/// What written to [`SMI_COMMAND`] sets SCI_EN.
pub const ACPI_ENABLE: u8 = 0xF1;
/// What written to [`SMI_COMMAND`] clears SCI_EN.
pub const ACPI_DISABLE: u8 = 0xF0;
/// The system control interrupt, level triggered.
pub const SCI_IRQ: u8 = 9;
/// The reset control register (the FADT's RESET_REG).
pub const RESET_CONTROL: Port = Port(0xCF9);
/// What written to [`RESET_CONTROL`] resets the machine.
pub const RESET_VALUE: u8 = 0x06;
/// System control port A: A20 and fast reset.
pub const SYSTEM_CONTROL_A: Port = Port(0x92);

/// Master PIC; the slave is at [`PIC_SLAVE`].
pub const PIC_MASTER: Port = Port(0x20);
/// Slave PIC, on input 2 of the master.
pub const PIC_SLAVE: Port = Port(0xA0);
/// Edge/level control registers of the two PICs.
pub const ELCR: Port = Port(0x4D0);
/// PIT: counters 0 to 2 and the control word.
pub const PIT: Port = Port(0x40);
/// System control port B: PIT gate, speaker, refresh.
pub const SYSTEM_CONTROL_B: Port = Port(0x61);
/// CMOS index (bit 7 masks NMI); data follows.
pub const CMOS: Port = Port(0x70);
/// Keyboard controller's data port; its command port is 64h.
pub const I8042_DATA: Port = Port(0x60);
/// Keyboard controller's command and status port.
pub const I8042_COMMAND: Port = Port(0x64);
/// Base ports of the serial ports COM1 to COM4.
pub const SERIAL: [Port; 4] = [Port(0x3F8), Port(0x2F8), Port(0x3E8), Port(0x2E8)];
/// Interrupts of the serial ports COM1 to COM4.
pub const SERIAL_IRQS: [u8; 4] = [4, 3, 4, 3];
/// pvpanic, where drivers look for it without ACPI.
pub const PVPANIC: Port = Port(0x505);
/// The page of the VM generation ID, where the board's own firmware puts it: reserved RAM among its tables.
pub const GENERATION_PAGE: PhysAddr = PhysAddr(0xE_F000);
/// Where in its page the GUID is. What is in front of it must be zero: UEFI firmware takes it for a table otherwise.
pub const GENERATION_ID_AT: u8 = 40;
/// The file of fw_cfg to which firmware writes the page's address.
pub const GENERATION_ADDRESS_FILE: &str = "etc/vmgenid_addr";
/// The general-purpose event that tells of another VM generation ID.
pub const GENERATION_GPE: u8 = 5;
/// fw_cfg: selector (2 bytes), data at 511h, DMA address at 514h (8 bytes).
pub const FW_CFG: Port = Port(0x510);
/// The debug console port.
pub const DEBUG_PORT: Port = Port(0xE9);
/// The same, where SeaBIOS and OVMF look for it.
pub const FIRMWARE_DEBUG_PORT: Port = Port(0x402);
/// isa-debug-exit where CPU test suites expect it.
pub const DEBUG_EXIT: Port = Port(0xF4);
/// The VGA window's start.
pub const VGA_WINDOW: PhysAddr = PhysAddr(0xA_0000);
/// Where the display adapter is on the PCI bus.
pub const VGA_FUNCTION: PciAddress = PciAddress::new(2, 0);
/// Where the board puts its frame buffer for kernels that are booted directly: room for the largest, 256 MiB.
pub const VGA_FRAME_BUFFER: PhysAddr = PhysAddr(0xC000_0000);
/// Where the board puts its registers for them.
pub const VGA_REGISTERS: PhysAddr = PhysAddr(0xFEBF_0000);
/// The VGA window's end (exclusive).
pub const VGA_WINDOW_END: PhysAddr = PhysAddr(0xC_0000);

/// ISA interrupt of the PIT's counter 0 at the PIC.
pub const PIT_IRQ: u8 = 0;
/// IOAPIC pin of the PIT's counter 0 (MADT interrupt source override of IRQ 0).
pub const PIT_GSI: u8 = 2;
/// Interrupt of the keyboard.
pub const KEYBOARD_IRQ: u8 = 1;
/// Interrupt of the mouse.
pub const MOUSE_IRQ: u8 = 12;
/// Interrupt of the real-time clock.
pub const RTC_IRQ: u8 = 8;

/// The local APIC timer's input clock before its divider, in hertz (CPUID leaf 15h's crystal
/// clock is this clock too, so that guests need not calibrate).
pub const APIC_TIMER_HZ: u64 = 1_000_000_000;
