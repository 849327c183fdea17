//! Services that programs call by software interrupts, and handlers of hardware interrupts.
//!
//! | interrupt | what | file |
//! |---|---|---|
//! | 08h, 70h, 1Ah | timer and clock | [`clock`] |
//! | 09h, 16h | keyboard | [`keyboard`], [`key_table`] |
//! | 11h, 12h, 05h, 02h, IRQs without a device | small ones | [`small`] |
//! | 13h, 40h | disks | [`port`] |
//! | 1Ah function B1h | PCI BIOS | [`crate::pci_bios`] |
//! | 14h, 17h | serial ports, printers | [`serial`] |
//! | 15h | system | [`system`], [`memory`], [`apm`], [`pointing`] |
//! | 74h | mouse | [`pointing`] |
//! | 10h | video, in a module of its own | [`crate::vga_bios`] |

pub mod apm;
pub mod clock;
pub mod key_table;
pub mod keyboard;
pub mod memory;
pub mod pointing;
pub mod port;
pub mod serial;
pub mod small;
pub mod system;

use super::asm::{Build, Module, code};
use crate::tables::Platform;
use iced_x86::code_asm::*;

pub(super) fn write(a: &mut Module, platform: &Platform) -> Build {
    small::write(a)?;
    clock::write(a)?;
    keyboard::write(a)?;
    port::write(a)?;
    serial::write(a)?;
    system::write(a)?;
    memory::write(a, platform)?;
    apm::write(a)?;
    pointing::write(a)?;
    a.routine("service_1a")?;
    crate::pci_bios::interrupt_16(a)?;
    leave(a)
}

/// The registers onto the stack, as [`frame`](super::layout::frame) has them, and BP to them. DS is the BDA, AX, BX, CX, DX,
/// SI and DI are still the caller's.
pub(crate) fn enter(a: &mut Module) -> Build {
    code!(a; push(ds); push(es); pushad; mov(bp, sp); cld; push(0x40); pop(ds));
    Ok(())
}

/// The ends of services: `leave` gives registers and flags back as the frame has them; the others set CF before.
fn leave(a: &mut Module) -> Build {
    use super::layout::frame;
    code!(a;
        // AH is an error's number: 86h, no such function.
        routine("leave_unsupported");
        mov(byte_ptr(bp + frame::AH), 0x86);
        routine("leave_carry");
        or(byte_ptr(bp + frame::FLAGS), 1);
        goto("leave");
        routine("leave_ok");
        mov(byte_ptr(bp + frame::AH), 0);
        routine("leave_no_carry");
        and(byte_ptr(bp + frame::FLAGS), 0xFE);
        routine("leave");
        mov(sp, bp);
        popad;
        pop(es);
        pop(ds);
        iret
    );
    Ok(())
}
