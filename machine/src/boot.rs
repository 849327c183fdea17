//! Entering a guest that `firmware` planned: its processor state in the engines' terms, and what
//! firmware leaves in the chips.

use crate::board::Board;
use crate::vcpu_bus::VcpuBus;
use trimotor_bus::{CpuBus, PciAddress, Port, Width, board};
use trimotor_cpu::{ArchState, Segment, TableRegister};
use trimotor_devices::ide;
use trimotor_devices::vga::TextMode;
use trimotor_firmware::boot::{EntrySegment, EntryState, EntryTable};
use trimotor_firmware::vga_bios::font::LINES_16;

/// MTRR default type register: write back, fixed and variable ranges enabled.
const MTRR_WRITE_BACK: u64 = 0xC06;
/// Eight fixed ranges of one type each.
const UNCACHEABLE: u64 = 0;
const WRITE_BACK: u64 = 0x0606_0606_0606_0606;
const WRITE_PROTECTED: u64 = 0x0505_0505_0505_0505;
/// Variable MTRR mask: valid.
const MTRR_VALID: u64 = 1 << 11;

/// `reset` (a vCPU's state after RESET) as the boot plan's entry wants it.
pub fn entry_state(reset: ArchState, entry: &EntryState) -> ArchState {
    let EntryState {
        mode: _,
        gpr,
        rip,
        rflags,
        cs,
        ds,
        es,
        ss,
        fs,
        gs,
        tr,
        ldtr,
        gdtr,
        idtr,
        cr0,
        cr3,
        cr4,
        efer,
    } = entry;
    ArchState {
        gpr: *gpr,
        rip: *rip,
        rflags: *rflags,
        segments: [es, cs, ss, ds, fs, gs].map(segment),
        ldtr: segment(ldtr),
        tr: segment(tr),
        gdtr: table(gdtr),
        idtr: table(idtr),
        cpl: 0,
        cr0: *cr0,
        cr3: *cr3,
        cr4: *cr4,
        efer: *efer,
        ..reset
    }
}

fn segment(s: &EntrySegment) -> Segment {
    let attributes = u16::from(s.access) | u16::from(s.flags & 0xF) << 12;
    Segment { base: s.base, limit: s.limit, attributes, selector: s.selector }
}

fn table(t: &EntryTable) -> TableRegister {
    TableRegister { base: t.base, limit: t.limit }
}

/// Sets the memory types as firmware does on every processor: all RAM write back, the VGA window
/// and the PCI hole uncacheable, the ROM area write protected. Systems compare them between
/// processors.
pub fn set_memory_types(state: &mut ArchState, phys_bits: u32) {
    let m = &mut state.msrs;
    m.mtrr_def_type = MTRR_WRITE_BACK;
    // 64 KiB ranges from 0, 16 KiB ranges from 80000h and A0000h, 4 KiB ranges from C0000h.
    m.mtrr_fixed = [WRITE_PROTECTED; 11];
    m.mtrr_fixed[0] = WRITE_BACK;
    m.mtrr_fixed[1] = WRITE_BACK;
    m.mtrr_fixed[2] = UNCACHEABLE;
    let hole = board::PCI_HOLE_START.0;
    let size = (1u64 << 32) - hole;
    let physical = (1u64 << phys_bits.clamp(36, 52)) - 1;
    m.mtrr_variable[0] = [hole, physical & !(size - 1) | MTRR_VALID];
}

/// What firmware leaves in the chips before it starts a system.
pub fn firmware_setup(b: &Board) {
    const HOST_BRIDGE: PciAddress = PciAddress::new(0, 0);
    const ISA_BRIDGE: PciAddress = PciAddress::new(1, 0);
    const IDE: PciAddress = PciAddress::new(1, 1);
    // RAM in the windows at E0000h to FFFFFh, in which the tables stand.
    for (register, value) in [(0x59, 0x30), (0x5E, 0x33), (0x5F, 0x33)] {
        b.config_write(HOST_BRIDGE, register, 1, value);
    }
    // The PCI links' interrupts, level triggered like the SCI.
    let mut levels = 1u16 << board::SCI_IRQ;
    for (link, irq) in board::PCI_LINK_IRQS.iter().enumerate() {
        b.config_write(ISA_BRIDGE, 0x60 + link as u8, 1, u32::from(*irq));
        levels |= 1 << irq;
    }
    // The IDE controller's ports, and its bus masters' where systems expect PCI ports.
    for channel in ide::IDETIM {
        b.config_write(IDE, channel, 2, 0x8000);
    }
    b.config_write(IDE, 0x20, 4, u32::from(board::IDE_BUS_MASTER.0) | 1);
    b.config_write(IDE, 0x04, 2, 5);
    // The display adapter's frame buffer and registers.
    b.config_write(board::VGA_FUNCTION, 0x10, 4, board::VGA_FRAME_BUFFER.0 as u32);
    b.config_write(board::VGA_FUNCTION, 0x18, 4, board::VGA_REGISTERS.0 as u32);
    b.config_write(board::VGA_FUNCTION, 0x04, 2, 3);
    let mut bus = VcpuBus::in_turn(b, 0);
    let mut out = |port: u16, value: u8| bus.port_write(Port(port), Width::Byte, value.into());
    for (chip, level) in levels.to_le_bytes().iter().enumerate() {
        out(board::ELCR.0 + chip as u16, *level);
    }
    // The first DMA controller asks through channel 4 of the second.
    for (port, value) in [(0x0D, 0), (0xDA, 0), (0xD6, 0xC0), (0xD4, 0)] {
        out(port, value);
    }
    // PIT counter 0: 18.2 Hz. Before the PICs, which forget the edge that this makes.
    for (port, value) in [(0x43, 0x36), (0x40, 0), (0x40, 0)] {
        out(port, value);
    }
    // PICs, as a BIOS leaves them: vectors 08h and 70h; timer, keyboard and the slave are let in, and the
    // slave's inputs masked. No boot protocol says anything of them, except that interrupts are off at the
    // CPU: what initialises them loses nothing, and what counts on the BIOS's timer has it.
    for (base, words) in [
        (board::PIC_MASTER.0, [0x11, 0x08, 0x04, 0x01, 0xF8]),
        (board::PIC_SLAVE.0, [0x11, 0x70, 0x02, 0x01, 0xFF]),
    ] {
        out(base, words[0]);
        for word in &words[1..] {
            out(base + 1, *word);
        }
    }
    if let Some(display) = b.refs.display {
        b.devices.with(display, |display| display.set_text_mode(TextMode::Rows25, Some(LINES_16)));
    }
}
