//! Floppy drives.

use super::*;

#[test]
fn a_floppy_is_read_and_written() {
    let mut bios = Bios::new();
    let frame = bios.int13(0x0212, 0, 0x0501, 0x0100);
    assert_eq!((status(&frame), frame.al()), (0, 18));
    assert_eq!((bios.number_at(BUFFER), bios.number_at(BUFFER + 17 * 512)), (198, 215));
    assert_eq!((bios.bytes(0x490, 1), bios.bytes(0x494, 1)), (vec![0x17], vec![5]));
    bios.put(BUFFER, &[3; 512]);
    assert_eq!(status(&bios.int13(0x0301, 0, 0x0002, 0x0000)), 0);
    assert_eq!(bios.floppies[0].content()[512..1024], [3; 512]);
    // Head 1 follows head 0, and the cylinder ends the call.
    assert_eq!(status(&bios.int13(0x0224, 0, 0x0001, 0x0000)), 0);
    let frame = bios.int13(0x0202, 0, 0x0012, 0x0100);
    assert_eq!((status(&frame), frame.al()), (4, 0));
}

#[test]
fn what_cannot_be_is_refused() {
    let mut bios = Bios::new();
    let calls = [
        (0x0200, 0, 0x0001, 0x0000, 0x01),
        (0x0225, 0, 0x0001, 0x0000, 0x01),
        (0x0201, 0, 0x0013, 0x0000, 0x04),
        (0x0201, 0, 0x5001, 0x0000, 0x04),
        (0x0201, 0, 0x0001, 0x0200, 0x04),
        (0x0201, 0xFE01, 0x0001, 0x0000, 0x09),
        (0x0201, 0xFE00, 0x0001, 0x0000, 0x00),
        (0x0401, 0xFFFF, 0x0001, 0x0000, 0x00),
        (0x0201, 0, 0x0001, 0x0001, 0x80),
        (0x0201, 0, 0x0001, 0x0002, 0x01),
        (0x1900, 0, 0x0001, 0x0000, 0x01),
    ];
    for (ax, bx, cx, dx, expected) in calls {
        let frame = bios.int13(ax, bx, cx, dx);
        assert_eq!(status(&frame), expected, "AX {ax:04X} BX {bx:04X} CX {cx:04X} DX {dx:04X}");
        assert_eq!((bios.bytes(0x441, 1), bios.bytes(0x474, 1)), (vec![expected], vec![0]));
        assert_eq!(status(&bios.int13(0x0100, 0, 0, 0)), expected);
    }
    let frame = bios.call(0x40, |frame| frame.set_dx(0x80));
    assert_eq!(status(&frame), 1);
    assert_eq!(status(&bios.call(0x40, |frame| frame.set_dx(0))), 0);
}

#[test]
fn a_changed_medium_is_told_once() {
    let mut bios = Bios::new();
    assert_eq!(status(&bios.int13(0x1600, 0, 0, 0)), 0);
    bios.floppies[0].insert(Some(MemoryDisk::new(numbered(1440, 512)).read_only()));
    assert_eq!(status(&bios.int13(0x0201, 0, 0x0001, 0)), 6);
    assert_eq!(status(&bios.int13(0x0201, 0, 0x0001, 0)), 0);
    // A medium of 720 KB has nine sectors a track.
    assert_eq!(status(&bios.int13(0x020A, 0, 0x0001, 0)), 0);
    assert_eq!(status(&bios.int13(0x0201, 0, 0x000A, 0)), 4);
    assert_eq!(status(&bios.int13(0x0301, 0, 0x0001, 0)), 3);
    // 360 KB do not fit into a drive of 3.5 inches, and no drive takes 5 KB.
    bios.floppies[0].insert(Some(MemoryDisk::new(numbered(720, 512))));
    assert_eq!(status(&bios.int13(0x1600, 0, 0, 0)), 6);
    assert_eq!(status(&bios.int13(0x0201, 0, 0x0001, 0)), 0x0C);
    bios.floppies[0].insert(Some(MemoryDisk::new(vec![0; 5120])));
    assert_eq!(status(&bios.int13(0x1600, 0, 0, 0)), 6);
    assert_eq!(status(&bios.int13(0x1600, 0, 0, 0)), 0);
    assert_eq!(status(&bios.int13(0x0201, 0, 0x0001, 0)), 0x0C);
    bios.floppies[0].insert(None);
    assert_eq!(status(&bios.int13(0x1600, 0, 0, 0)), 0x80);
}

#[test]
fn parameters_are_those_of_the_drive() {
    let mut bios = Bios::new();
    for (drive, drive_type, cx, sectors) in [(0u16, 4, 0x4F12, 18), (1, 1, 0x2709, 9)] {
        let frame = bios.int13(0x0800, 0xFFFF, 0, drive);
        assert_eq!((status(&frame), frame.bx(), frame.cx(), frame.edx), (0, drive_type, cx, 0x0102));
        let table = bios.bytes((u64::from(frame.es) << 4) + u64::from(frame.edi & 0xFFFF), 12);
        assert_eq!((table[4], table[11]), (sectors, (cx >> 8) as u8));
        let frame = bios.int13(0x1500, 0, 0, drive);
        assert_eq!((frame.ah(), frame.flags & 1), (2, 0));
    }
    let frame = bios.int13(0x0800, 0xFFFF, 0xFFFF, 0xFF02);
    assert_eq!((status(&frame), frame.bx(), frame.cx(), frame.edx & 0xFFFF, frame.es), (0, 0, 0, 2, 0));
    let frame = bios.int13(0x1500, 0, 0, 2);
    assert_eq!((frame.ah(), frame.flags & 1), (0, 0));
}

#[test]
fn a_track_is_formatted_as_its_medium_is() {
    let mut bios = Bios::new();
    let mark = |track: u8, head: u8, sectors: u8| {
        (1..=sectors).flat_map(|sector| [track, head, sector, 2]).collect::<Vec<u8>>()
    };
    // The table that vector 1Eh points to says what sectors are filled with.
    bios.put(0x78, &[0, 0, 0, 0x70]);
    bios.put(0x7_0008, &[0xF6]);
    bios.put(BUFFER, &mark(2, 1, 18));
    assert_eq!(status(&bios.int13(0x1800, 0, 0x4F12, 0)), 0);
    assert_eq!(status(&bios.int13(0x0512, 0, 0x0201, 0x0100)), 0);
    let track = 5 * 18 * 512;
    let content = bios.floppies[0].content();
    assert!(content[track..track + 18 * 512].iter().all(|byte| *byte == 0xF6));
    assert_eq!((content[track - 512], content[track + 18 * 512]), (89, 108));
    // Sectors of another track, twice the same, or of another size.
    for bytes in [mark(3, 1, 18), [mark(2, 1, 17), vec![2, 1, 17, 2]].concat(), vec![2, 1, 1, 3]] {
        bios.put(BUFFER, &bytes);
        assert_eq!(status(&bios.int13(0x0512, 0, 0x0201, 0x0100)), 0x0C);
    }
}

#[test]
fn formats_that_a_drive_does_not_have_are_refused() {
    let mut bios = Bios::new();
    for (cx, expected) in [(0x4F12, 0), (0x4F09, 0), (0x4F0F, 0x0C), (0x2709, 0x0C), (0x4F24, 0x0C)] {
        assert_eq!(status(&bios.int13(0x1800, 0, cx, 0)), expected, "{cx:04X}");
    }
    assert_eq!(status(&bios.int13(0x1800, 0, 0x2709, 1)), 0x80);
    for (al, expected) in [(0, 1), (1, 1), (2, 1), (3, 1), (4, 0), (5, 1)] {
        assert_eq!(status(&bios.int13(0x1700 | al, 0, 0, 0)), expected, "AL {al}");
    }
}
