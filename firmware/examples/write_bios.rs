//! Writes the built-in BIOS to a file, for a disassembler or another PC emulator, and its routines to standard output:
//! `cargo run -p trimotor-firmware --example write_bios -- bios.bin [MiB [vCPUs]]`.

use trimotor_firmware::bios;
use trimotor_firmware::tables::{MemoryMap, Platform};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("name a file")?;
    let mut number = |otherwise: u64| arguments.next().map_or(Ok(otherwise), |text| text.parse());
    let (mib, vcpus) = (number(256)?, number(1)?);
    let platform = Platform {
        memory: MemoryMap::new(mib << 20, 0),
        vcpus: u8::try_from(vcpus)?,
        hpet: true,
        serial_ports: 1,
        pvpanic: false,
        vmgenid: false,
        pm_base: trimotor_bus::board::PM_BASE,
    };
    let bios = bios::build(&platform)?;
    std::fs::write(path, bios.image)?;
    for (address, name) in bios.symbols {
        println!("{address:05x} {name}");
    }
    Ok(())
}
