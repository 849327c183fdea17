//! Low memory: interrupt vectors, the BIOS data area, the extended BIOS data area.

use crate::bios::asm::{Build, Module, code};
use crate::bios::entries::{FLOPPY_PARAMETERS, IRET};
use crate::bios::layout::*;
use crate::tables::Platform;
use iced_x86::code_asm::*;
use trimotor_bus::board::SERIAL;

/// Vectors that lead to routines; vectors 00h to 77h that are not here lead to IRET.
const VECTORS: [(u32, &str); 30] = [
    (0x02, "int02"),
    (0x05, "int05"),
    (0x08, "int08"),
    (0x09, "int09"),
    (0x0A, "hardware_master"),
    (0x0B, "hardware_master"),
    (0x0C, "hardware_master"),
    (0x0D, "hardware_master"),
    (0x0E, "int0e"),
    (0x0F, "hardware_master"),
    (0x10, "int42"),
    (0x11, "int11"),
    (0x12, "int12"),
    (0x13, "int13"),
    (0x14, "int14"),
    (0x15, "int15"),
    (0x16, "int16"),
    (0x17, "int17"),
    (0x18, "int18"),
    (0x19, "int19"),
    (0x1A, "int1a"),
    (0x40, "int40"),
    (0x42, "int42"),
    (0x70, "int70"),
    (0x71, "int71"),
    (0x72, "hardware_slave"),
    (0x73, "hardware_slave"),
    (0x74, "int74"),
    (0x75, "int75"),
    (0x76, "int76"),
];

/// Offset of the EBDA's own size, in KiB.
const EBDA_SIZE: u32 = 0;

pub(super) fn write(a: &mut Module, platform: &Platform) -> Build {
    let routines = a.table(&VECTORS.map(|(_, routine)| routine));
    let numbers: Vec<u8> = VECTORS.iter().map(|(vector, _)| *vector as u8).collect();
    let numbers = a.bytes(&numbers);
    a.routine("low_memory")?;
    // Vectors, BDA, and what DOS calls the inter-process area, but for the flag of a warm reset.
    code!(a;
        xor(ax, ax);
        mov(es, ax);
        mov(ds, ax);
        mov(bx, word_ptr(0x400 + bda::WARM));
        xor(di, di);
        mov(cx, 0x600 / 2);
        rep_stosw();
        mov(word_ptr(0x400 + bda::WARM), bx);
        mov(eax, u32::from(SYSTEM_SEGMENT) << 16 | IRET);
        xor(di, di);
        mov(cx, 0x78);
        rep_stosd();
        // Those that programs may use stay empty.
        mov(di, 4 * 0x60);
        xor(eax, eax);
        mov(cx, 8);
        rep_stosd();
        xor(si, si);
        mov(ax, u32::from(SYSTEM_SEGMENT));
        mov(ds, ax);
    );
    let next = a.here()?;
    code!(a;
        movzx(bx, byte_ptr(si + numbers));
        shl(bx, 2);
        mov(di, si);
        add(di, di);
        mov(ax, word_ptr(di + routines));
        mov(word_ptr(bx).es(), ax);
        inc(si);
        cmp(si, VECTORS.len() as u32);
        jb(next);
        mov(word_ptr(4 * 0x1E).es(), FLOPPY_PARAMETERS);
        mov(word_ptr(4 * 0x77).es(), 0);
    );
    // IRQ 15, which no drive uses unless it says so.
    let slave = a.table(&["hardware_slave"]);
    code!(a;
        mov(ax, word_ptr(slave).cs());
        mov(word_ptr(4 * 0x77).es(), ax);
        mov(ax, u32::from(EBDA_SEGMENT));
        mov(es, ax);
        xor(di, di);
        xor(ax, ax);
        mov(cx, 512);
        rep_stosw();
        mov(byte_ptr(EBDA_SIZE).es(), 1);
        mov(ax, u32::from(bda::SEGMENT));
        mov(ds, ax);
    );
    data_area(a, platform)?;
    a.ret()
}

/// The BIOS data area; DS is its segment.
fn data_area(a: &mut Module, platform: &Platform) -> Build {
    let ports = usize::from(platform.serial_ports).min(SERIAL.len());
    for (i, port) in SERIAL.iter().enumerate().take(ports) {
        a.mov(word_ptr(bda::SERIAL + 2 * i as u32), u32::from(port.0))?;
        a.mov(byte_ptr(bda::SERIAL_TIMEOUTS + i as u32), 1)?;
    }
    // FPU, mouse, 80x25 colour, serial ports. Floppies are added where they are found.
    let equipment = 0x0002 | 1 << 2 | 2 << 4 | (ports as u32) << 9;
    for (at, value) in [
        (bda::EBDA, u32::from(EBDA_SEGMENT)),
        (bda::EQUIPMENT, equipment),
        (bda::MEMORY_KIB, u32::from(CONVENTIONAL_KIB)),
        (bda::KEY_HEAD, bda::KEY_BUFFER),
        (bda::KEY_TAIL, bda::KEY_BUFFER),
        (bda::KEY_START, bda::KEY_BUFFER),
        (bda::KEY_END, bda::KEY_BUFFER_END),
    ] {
        a.mov(word_ptr(at), value)?;
    }
    a.mov(byte_ptr(bda::KEYBOARD_FLAGS), 0x10)
}
