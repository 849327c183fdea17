//! POST: from the reset vector to the boot sector.
//!
//! | step | port 80h | file |
//! |---|---|---|
//! | the ROM is copied to RAM | 01h | [`shadow`] |
//! | a reset with a shutdown code goes on where it should | 02h | [`shadow`] |
//! | vectors, BDA and EBDA | 03h | [`memory`] |
//! | PCI bridges, interrupt controllers, timer, keyboard, clock | 04h to 07h | [`chipset`] |
//! | base addresses and interrupts of PCI functions | 08h | [`pci`] |
//! | memory types, other processors | 09h | [`processors`] |
//! | video BIOS and splash | 0Ah | [`card_rom`], [`option_roms`], [`splash`] |
//! | drives, VM generation ID | 0Bh | [`boot`], [`generation`] |
//! | option ROMs | 0Ch | [`given_roms`], [`option_roms`] |
//! | boot menu, boot | 0Dh | [`menu`], [`boot`] |

pub mod boot;
pub mod card_rom;
pub mod chipset;
pub mod generation;
pub mod given_roms;
pub mod memory;
pub mod menu;
pub mod option_roms;
pub mod pci;
pub mod processors;
pub mod shadow;
pub mod splash;

use super::asm::{Build, Module, code};
use super::layout::{BOOT_SECTOR, EBDA_SEGMENT};
use crate::tables::Platform;
use iced_x86::code_asm::*;

/// Where the code of a step is shown.
pub const POST_CODE: u16 = 0x80;

pub(super) fn write(a: &mut Module, platform: &Platform) -> Build {
    main(a, platform)?;
    shadow::write(a)?;
    memory::write(a, platform)?;
    chipset::write(a)?;
    pci::write(a)?;
    processors::write(a, platform)?;
    splash::write(a, platform)?;
    card_rom::write(a)?;
    given_roms::write(a)?;
    if platform.vmgenid {
        generation::write(a)?;
    }
    option_roms::write(a)?;
    menu::write(a)?;
    boot::write(a)
}

/// All steps in turn. Until RAM is known to work there is no stack.
fn main(a: &mut Module, platform: &Platform) -> Build {
    a.routine("post")?;
    code!(a; cli; cld; out_byte(POST_CODE, 1));
    shadow::copy_rom(a)?;
    code!(a;
        xor(ax, ax);
        mov(ss, ax);
        mov(sp, u32::from(BOOT_SECTOR));
        out_byte(POST_CODE, 2);
        invoke("shutdown_code");
        out_byte(POST_CODE, 3);
        invoke("low_memory");
        out_byte(POST_CODE, 4);
        invoke("bridges");
        out_byte(POST_CODE, 5);
        invoke("interrupts_and_timer");
        out_byte(POST_CODE, 6);
        invoke("clock");
        out_byte(POST_CODE, 8);
        invoke("pci_setup");
        out_byte(POST_CODE, 9);
        invoke("processors");
        out_byte(POST_CODE, 0x0A);
        invoke("video_rom");
        invoke("splash");
        out_byte(POST_CODE, 7);
        invoke("keyboard_setup");
        sti;
        out_byte(POST_CODE, 0x0B);
        invoke("find_drives");
    );
    if platform.vmgenid {
        code!(a; invoke("tell_generation_page"));
    }
    code!(a;
        out_byte(POST_CODE, 0x0C);
        invoke("option_roms");
        invoke("lock_shadow");
        invoke("boot_menu");
        out_byte(POST_CODE, 0x0D);
        int(0x19);
    );
    let stop = a.here()?;
    code!(a; hlt; jmp(stop));
    Ok(())
}

/// Points DS at the EBDA.
pub(super) fn ebda_in_ds(a: &mut Module) -> Build {
    code!(a; push(i32::from(EBDA_SEGMENT as i16)); pop(ds));
    Ok(())
}
