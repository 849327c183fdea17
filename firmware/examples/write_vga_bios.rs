//! Writes the ROM of the VGA card to a file, for another PC emulator (`-device VGA,romfile=vga.bin`) or a disassembler, and its
//! routines to standard output: `cargo run -p trimotor-firmware --example write_vga_bios -- vga.bin`.

use trimotor_firmware::vga_bios;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("name a file")?;
    let rom = vga_bios::build()?;
    std::fs::write(path, rom.image)?;
    for (address, name) in rom.symbols {
        println!("{address:05x} {name}");
    }
    Ok(())
}
