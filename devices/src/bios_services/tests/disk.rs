//! Hard disks.

use super::*;

#[test]
fn the_disk_is_read_and_written_by_cylinder_head_and_sector() {
    let mut bios = Bios::new();
    let frame = bios.int13(0x0203, 0x100, 0x0102, 0x0380);
    assert_eq!((status(&frame), frame.al()), (0, 3));
    let first = (16 + 3) * 63 + 1;
    let read = |n: u64| bios.number_at(BUFFER + 0x100 + 512 * n);
    assert_eq!([read(0), read(1), read(2)], [first, first + 1, first + 2]);
    bios.put(BUFFER, &[9; 1024]);
    let frame = bios.int13(0x0302, 0, 0x0001, 0x0081);
    assert_eq!((status(&frame), frame.al()), (0, 2));
    assert_eq!(bios.disks[1].content()[..1025], [vec![9; 1024], vec![2]].concat());
    let frame = bios.int13(0x0480, 0xFFFF, 0x0001, 0x0080);
    assert_eq!((status(&frame), frame.al()), (0, 128));
}

#[test]
fn what_cannot_be_is_refused() {
    let mut bios = Bios::new();
    // AX, BX, CX, DX, status.
    let calls = [
        (0x0200, 0, 0x0001, 0x0080, 0x01),
        (0x0281, 0, 0x0001, 0x0080, 0x01),
        (0x0201, 0, 0x0000, 0x0080, 0x01),
        (0x0201, 0, 0x1401, 0x0080, 0x01),
        (0x0201, 0, 0x0001, 0x1080, 0x01),
        (0x0280, 1, 0x0001, 0x0080, 0x09),
        (0x0280, 0x10, 0x0001, 0x0080, 0x00),
        (0x027F, 0xF, 0x0001, 0x0080, 0x00),
        (0x0501, 0, 0x0001, 0x0080, 0x01),
        (0x0A01, 0, 0x0001, 0x0080, 0x01),
        (0x0C00, 0, 0x1301, 0x0F80, 0x00),
        (0x0C00, 0, 0x1401, 0x0F80, 0x01),
        (0x2500, 0, 0x0001, 0x0080, 0x01),
        (0x0201, 0, 0x0001, 0x0082, 0x01),
        (0x0000, 0, 0x0000, 0x0082, 0x01),
        (0x0800, 0, 0x0000, 0x0082, 0x07),
    ];
    for (ax, bx, cx, dx, expected) in calls {
        let frame = bios.int13(ax, bx, cx, dx);
        assert_eq!(status(&frame), expected, "AX {ax:04X} BX {bx:04X} CX {cx:04X} DX {dx:04X}");
        assert_eq!(bios.bytes(0x474, 1), [expected]);
        let again = bios.int13(0x0100, 0, 0, dx & 0xFF81);
        assert_eq!(status(&again), expected, "function 01h");
    }
}

#[test]
fn a_read_over_the_end_tells_what_came_through() {
    let mut bios = Bios::new();
    let frame = bios.int13(0x0204, 0, 0x133E, 0x0F80);
    assert_eq!((status(&frame), frame.al()), (0x04, 2));
    assert_eq!(bios.number_at(BUFFER + 512), 20 * 16 * 63 - 1);
    let frame = bios.packet(0x4200, 0x80, 20 * 16 * 63 - 1, 2);
    assert_eq!((status(&frame), bios.bytes(PACKET + 2, 2)), (0x04, vec![1, 0]));
}

#[test]
fn a_read_only_disk_is_write_protected() {
    let mut bios = Bios::new();
    bios.disks[0].insert(Some(MemoryDisk::new(numbered(2016, 512)).read_only()));
    assert_eq!(status(&bios.int13(0x0301, 0, 0x0001, 0x0080)), 0x03);
    assert_eq!(status(&bios.packet(0x4300, 0x80, 0, 1)), 0x03);
    assert_eq!(status(&bios.int13(0x0201, 0, 0x0001, 0x0080)), 0);
}

#[test]
fn geometry_type_and_number_of_disks_are_told() {
    let mut bios = Bios::new();
    let frame = bios.int13(0x08AA, 0, 0, 0x0080);
    assert_eq!((status(&frame), frame.al()), (0, 0));
    // The last cylinder is not counted.
    assert_eq!((frame.cx(), frame.edx), (18 << 8 | 63, 0x0F02));
    let frame = bios.int13(0x1500, 0, 0, 0x0081);
    assert_eq!((frame.ah(), frame.flags & 1), (3, 0));
    assert_eq!(u32::from(frame.cx()) << 16 | frame.edx & 0xFFFF, 2 * 16 * 63);
    let frame = bios.int13(0x1500, 0, 0, 0x0082);
    assert_eq!((frame.ah(), frame.flags & 1), (0, 0));
    for ah in [0x00, 0x09, 0x0D, 0x10, 0x11, 0x14] {
        assert_eq!(status(&bios.int13(ah << 8, 0, 0, 0x80)), 0, "{ah:#x}");
    }
}

#[test]
fn extensions_are_present_where_they_are_asked_for() {
    let mut bios = Bios::new();
    let frame = bios.int13(0x4100, 0x55AA, 0, 0x80);
    assert_eq!((frame.eax >> 8, frame.bx(), frame.cx(), frame.flags & 1), (0x30, 0xAA55, 7, 0));
    assert_eq!(status(&bios.int13(0x4100, 0, 0, 0x80)), 1);
    assert_eq!(status(&bios.int13(0x4100, 0x55AA, 0, 0x00)), 1);
}

#[test]
fn packets_move_sectors() {
    let mut bios = Bios::new();
    assert_eq!(status(&bios.packet(0x4200, 0x80, 20_000, 5)), 0);
    assert_eq!((bios.number_at(BUFFER), bios.number_at(BUFFER + 2048)), (20_000, 20_004));
    bios.put(BUFFER, &[0x11; 512]);
    for al in 0..=2 {
        bios.put(BUFFER, &[0x11 + al; 512]);
        assert_eq!(status(&bios.packet(0x4300 | u16::from(al), 0x81, 7, 1)), 0);
        assert_eq!(bios.disks[1].content()[7 * 512], 0x11 + al);
    }
    let refused = [
        (0x4303, 7, 1, 1),
        (0x4200, 20 * 16 * 63, 1, 1),
        (0x4200, u64::MAX, 1, 1),
        (0x4200, 0, 128, 1),
        (0x4200, 0, 0, 0),
        (0x4400, 0, 127, 0),
        (0x4700, 20_159, 1, 0),
        (0x4700, 20_160, 1, 1),
    ];
    for (ax, first, count, expected) in refused {
        assert_eq!(status(&bios.packet(ax, 0x80, first, count)), expected, "{ax:04X} {first} {count}");
    }
    bios.put(PACKET, &[15]);
    assert_eq!(status(&bios.int13(0x4200, 0, 0, 0x80)), 1);
}

#[test]
fn a_long_packet_has_a_far_buffer() {
    let mut bios = Bios::new();
    let mut packet = vec![24, 0, 1, 0, 0xFF, 0xFF, 0xFF, 0xFF];
    packet.extend(33u64.to_le_bytes());
    packet.extend(0x30_0000u64.to_le_bytes());
    bios.put(PACKET, &packet);
    assert_eq!(status(&bios.int13(0x4200, 0, 0, 0x80)), 0);
    assert_eq!(bios.number_at(0x30_0000), 33);
}

#[test]
fn parameters_are_as_long_as_the_buffer_allows() {
    let mut bios = Bios::new();
    for (room, told) in [
        (0x19, None),
        (0x1A, Some(0x1A)),
        (0x1D, Some(0x1A)),
        (0x1E, Some(0x1E)),
        (0x41, Some(0x1E)),
        (0x42, Some(0x42)),
        (0x4A, Some(0x42)),
    ] {
        bios.put(PACKET, &[0xEE; 80]);
        bios.put(PACKET, &[room, 0]);
        let frame = bios.int13(0x4800, 0, 0, 0x81);
        assert_eq!(status(&frame), u8::from(told.is_none()), "{room:#x}");
        let Some(told) = told else { continue };
        let result = bios.bytes(PACKET, 80);
        assert!(result[0] == told && result[usize::from(told)..].iter().all(|byte| *byte == 0xEE));
    }
    let result = bios.bytes(PACKET, 0x42);
    let dword = |at: usize| u32::from_le_bytes(result[at..at + 4].try_into().unwrap());
    assert_eq!([dword(4), dword(8), dword(12), dword(16), dword(20)], [3, 16, 63, 3024, 0]);
    assert_eq!(result[24..26], [0, 2]);
    assert_eq!(result[30..42], *b"\xDD\xBE\x24\0\0\0PCI ATA     "[..12].to_vec());
    assert_eq!(result[30..66].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
    // The device parameter table of the slave on the primary channel.
    let at = (u64::from(dword(26) >> 16) << 4) + u64::from(dword(26) & 0xFFFF);
    let table = bios.bytes(at, 16);
    assert_eq!(table[..7], [0xF0, 0x01, 0xF6, 0x03, 0xF0, 0, 14]);
    assert_eq!(table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
}

#[test]
fn hard_disks_are_neither_locked_nor_ejected() {
    let mut bios = Bios::new();
    for (ax, expected) in
        [(0x4500, 0xB2), (0x4600, 0xB2), (0x4900, 0), (0x4E01, 0), (0x4E00, 1), (0x4E05, 1), (0x4F00, 1)]
    {
        assert_eq!(status(&bios.int13(ax, 0, 0, 0x80)), expected, "{ax:04X}");
    }
}

#[test]
fn low_memory_tells_of_the_drives() {
    let mut bios = Bios::new();
    let frame = bios.call(0x100, |_| ());
    assert_eq!((frame.eax, frame.ebx, frame.ecx), (2, 2, 1));
    assert_eq!((bios.bytes(0x475, 1), bios.bytes(0x410, 1)), (vec![2], vec![0x41]));
    for (vector, cylinders) in [(0x41, 20), (0x46, 3)] {
        let vector = bios.number_at(vector * 4);
        let table = bios.bytes((u64::from(vector >> 16) << 4) + u64::from(vector & 0xFFFF), 16);
        assert_eq!((table[0], table[2], table[14]), (cylinders, 16, 63));
    }
}
