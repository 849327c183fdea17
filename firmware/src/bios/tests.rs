//! The ROM as bytes.

use super::*;
use crate::tables::MemoryMap;

fn platform() -> Platform {
    Platform {
        memory: MemoryMap::new(64 << 20, 0),
        vcpus: 2,
        hpet: true,
        serial_ports: 1,
        pvpanic: false,
        vmgenid: false,
        pm_base: trimotor_bus::board::PM_BASE,
    }
}

#[test]
fn the_rom_has_what_programs_look_for() {
    let Bios { image, symbols } = build(&platform()).unwrap();
    assert_eq!(image.len(), ROM_BYTES);
    // The reset vector is a far jump to F000:E05B.
    assert_eq!(image[ROM_BYTES - 16..][..5], [0xEA, 0x5B, 0xE0, 0x00, 0xF0]);
    assert!(symbols.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(symbols.iter().any(|(_, name)| name == "int13"));
}
