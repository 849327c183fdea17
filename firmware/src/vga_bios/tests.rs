//! The ROM as bytes.

use super::*;

#[test]
fn the_rom_is_an_option_rom_of_a_vga() {
    let VgaBios { image, symbols } = build().unwrap();
    assert!(image.len().is_multiple_of(2048) && image.len() <= 64 << 10, "{}", image.len());
    assert_eq!(image[..2], [0x55, 0xAA]);
    assert_eq!(usize::from(image[2]) * 512, image.len());
    assert_eq!(crate::tables::checksum(&image), 0);
    assert_eq!(&image[0x1E..0x21], b"IBM");
    let pci = usize::from(u16::from_le_bytes([image[0x18], image[0x19]]));
    assert_eq!(&image[pci..pci + 8], b"PCIR\x34\x12\x11\x11");
    // VGA, for a PC, the last image.
    assert_eq!(&image[pci + 0x0D..pci + 0x10], [0, 0, 3]);
    assert_eq!(&image[pci + 0x14..pci + 0x16], [0, 0x80]);
    let edid = &image[header::EDID as usize..][..128];
    assert_eq!((edid[..2].to_vec(), crate::tables::checksum(edid)), (vec![0, 0xFF], 0));
    assert!(symbols.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(symbols.iter().any(|(_, name)| name == "vbe_window_far"));
}
