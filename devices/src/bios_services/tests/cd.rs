//! CD-ROM drives, and disks that are emulated from them.

use super::boot::{Catalog, boot};
use super::*;

#[test]
fn a_cd_has_sectors_of_2048_bytes() {
    let mut bios = Bios::new();
    let frame = bios.int13(0x4100, 0x55AA, 0, 0xE0);
    assert_eq!((frame.bx(), frame.cx(), frame.ah()), (0xAA55, 7, 0x30));
    assert_eq!(status(&bios.packet(0x4200, 0xE0, 398, 2)), 0);
    assert_eq!((bios.number_at(BUFFER), bios.number_at(BUFFER + 2048)), (398, 399));
    let refused = [(0x4200, 400, 1, 1), (0x4300, 0, 1, 3), (0x4200, 0, 127, 0)];
    for (ax, first, count, expected) in refused {
        assert_eq!(status(&bios.packet(ax, 0xE0, first, count)), expected, "{ax:04X} {first} {count}");
    }
    for (ax, expected) in [(0x0201, 1), (0x0301, 3), (0x0800, 1), (0x0000, 0), (0x1000, 0)] {
        assert_eq!(status(&bios.int13(ax, 0, 1, 0xE0)), expected, "{ax:04X}");
    }
    assert_eq!(status(&bios.int13(0x0000, 0, 0, 0xE1)), 1);
    bios.put(PACKET, &[0x42, 0]);
    assert_eq!(status(&bios.int13(0x4800, 0, 0, 0xE0)), 0);
    assert_eq!(bios.bytes(PACKET + 2, 2), [0x35, 0]);
    assert_eq!((bios.number_at(PACKET + 16), bios.bytes(PACKET + 24, 2)), (400, vec![0, 8]));
    assert_eq!(bios.bytes(PACKET + 0x28, 8), b"ATAPI   ");
}

#[test]
fn a_medium_is_locked_ejected_and_changed() {
    let mut bios = Bios::new();
    let mut call = |ax| {
        let frame = bios.int13(ax, 0, 0, 0xE0);
        (status(&frame), frame.al())
    };
    assert_eq!([call(0x4502), call(0x4501)], [(0, 0), (0xB0, 1)]);
    assert_eq!([call(0x4500), call(0x4500), call(0x4502)], [(0, 1), (0, 1), (0, 1)]);
    assert_eq!(call(0x4600).0, 0xB1);
    assert_eq!([call(0x4501), call(0x4501), call(0x4503)], [(0, 1), (0, 0), (1, 3)]);
    assert_eq!([call(0x4900).0, call(0x4600).0], [0, 0]);
    assert_eq!([call(0x4600).0, call(0x1000).0], [0x31, 0xAA]);
    assert_eq!([call(0x4900).0, call(0x4900).0], [6, 0]);
    (0..255).for_each(|_| assert_eq!(call(0x4500).0, 0));
    assert_eq!(call(0x4500).0, 0xB4);
    assert_eq!(status(&bios.packet(0x4200, 0xE0, 0, 1)), 0x31);
}

#[test]
fn a_floppy_is_emulated() {
    let mut bios = boot(&Catalog { media_type: 2, ..Catalog::default() });
    let frame = bios.call(0x101, |_| ());
    assert_eq!((frame.flags & 1, frame.edx & 0xFF), (0, 0));
    assert_eq!((frame.es, frame.bx(), bios.number_at(0x7C00)), (0x7C0, 0, 0));
    // The image's sectors; the real drive A: is number 01h now.
    assert_eq!(status(&bios.int13(0x0202, 0, 0x0003, 0x0000)), 0);
    assert_eq!((bios.number_at(BUFFER), bios.number_at(BUFFER + 512)), (2, 3));
    assert_eq!(status(&bios.int13(0x0201, 0, 0x0003, 0x0001)), 0x80);
    let frame = bios.int13(0x0800, 0, 0, 0x0000);
    assert_eq!((status(&frame), frame.bx(), frame.cx(), frame.edx), (0, 4, 0x4F12, 0x0102));
    assert_eq!(status(&bios.int13(0x0301, 0, 0x0003, 0x0000)), 3);
    assert_eq!(status(&bios.int13(0x4100, 0x55AA, 0, 0)), 1);
    assert_eq!(bios.bytes(0x410, 1), [0x41]);
    let frame = bios.int13(0x4B01, 0, 0, 0x0000);
    let packet = bios.bytes(PACKET, 19);
    assert_eq!((status(&frame), &packet[..8]), (0, &[0x13, 2, 0, 1, 20, 0, 0, 0][..]));
    assert_eq!(packet[12..], [0xC0, 7, 1, 0, 0x4F, 0x12, 1]);
    // The end of the emulation.
    assert_eq!(status(&bios.int13(0x4B00, 0, 0, 0x0001)), 1);
    assert_eq!(status(&bios.int13(0x4B00, 0, 0, 0x007F)), 0);
    assert_eq!(status(&bios.int13(0x0201, 0, 0x0003, 0x0000)), 0x80);
    assert_eq!(bios.bytes(0x410, 1), [0x01]);
    // And a beginning anew, by the packet.
    bios.put(PACKET, &packet);
    assert_eq!(status(&bios.int13(0x4A00, 0, 0, 0)), 0);
    assert_eq!(status(&bios.int13(0x0201, 0, 0x0005, 0x0000)), 0);
    assert_eq!(bios.number_at(BUFFER), 4);
}

#[test]
fn a_hard_disk_is_emulated() {
    let mut bios = boot(&Catalog { media_type: 4, partition: true, ..Catalog::default() });
    let frame = bios.call(0x101, |_| ());
    assert_eq!((frame.flags & 1, frame.edx & 0xFF), (0, 0x80));
    let frame = bios.int13(0x0800, 0, 0, 0x0080);
    assert_eq!((status(&frame), frame.cx(), frame.edx), (0, 4 << 8 | 10, 0x0102));
    assert_eq!(status(&bios.int13(0x0201, 0, 0x0102, 0x0180)), 0);
    assert_eq!(bios.number_at(BUFFER), (2 + 1) * 10 + 1);
    assert_eq!(bios.bytes(0x475, 1), [2]);
    // The real hard disk has the next number.
    assert_eq!(status(&bios.int13(0x0201, 0, 0x0002, 0x0081)), 0);
    assert_eq!(bios.number_at(BUFFER), 1);
}

#[test]
fn without_an_emulation_the_packet_tells_the_cd() {
    let mut bios = boot(&Catalog { load_segment: 0x2000, load_sectors: 4, ..Catalog::default() });
    assert_eq!(status(&bios.int13(0x4B01, 0, 0, 0xE0)), 1);
    let frame = bios.call(0x101, |_| ());
    assert_eq!((frame.flags & 1, frame.edx & 0xFF, frame.es, frame.bx()), (0, 0xE0, 0x2000, 0));
    assert_eq!((bios.number_at(0x2_0000), bios.number_at(0x2_0600)), (0, 3));
    assert_eq!(status(&bios.int13(0x4B01, 0, 0, 0xE0)), 0);
    assert_eq!(bios.bytes(PACKET, 5), [0x13, 0, 0xE0, 1, 20]);
    // Function 4Ch jumps into the image that its packet names.
    bios.put(PACKET + 12, &[0, 0x30]);
    let frame = bios.int13(0x4C00, 0, 0, 0);
    assert_eq!((status(&frame), frame.cs, frame.ip, frame.edx & 0xFF), (0, 0x3000, 0, 0xE0));
    assert_eq!(bios.number_at(0x3_0600), 3);
    for (at, byte) in [(0, 0x12), (1, 5), (3, 3), (13, 0xF0)] {
        let before = bios.bytes(PACKET + at, 1);
        bios.put(PACKET + at, &[byte]);
        assert_ne!(status(&bios.int13(0x4C00, 0, 0, 0)), 0, "byte {at}");
        bios.put(PACKET + at, &before);
    }
}

#[test]
fn the_boot_catalog_is_read() {
    let mut bios = boot(&Catalog::default());
    let mut packet = vec![8, 1];
    packet.extend([0, 0, 0, (BUFFER >> 12) as u8]);
    packet.extend([0, 0]);
    bios.put(PACKET, &packet);
    assert_eq!(status(&bios.int13(0x4D00, 0, 0, 0xE0)), 0);
    assert_eq!(bios.bytes(BUFFER + 30, 3), [0x55, 0xAA, 0x88]);
    bios.put(PACKET, &[7]);
    assert_eq!(status(&bios.int13(0x4D00, 0, 0, 0xE0)), 1);
    let mut without = Bios::with(vec![], vec![], vec![], BootOrder::default());
    assert_eq!(status(&without.int13(0x4D00, 0, 0, 0xE0)), 1);
}
