//! Starting from disks, and why it fails.

use super::*;

/// A boot catalog on a CD of 400 sectors, at sector 19, with an image at sector 20.
pub struct Catalog {
    pub record: &'static [u8],
    pub validation: u8,
    pub platform: u8,
    pub key: [u8; 2],
    pub checksum: u16,
    pub bootable: u8,
    pub media_type: u8,
    pub load_segment: u16,
    pub load_sectors: u16,
    pub image: u32,
    /// Entries behind the default one.
    pub more: Vec<[u8; 32]>,
    /// The image has a partition table: 5 cylinders, 2 heads, 10 sectors.
    pub partition: bool,
}

impl Default for Catalog {
    fn default() -> Self {
        Self {
            record: b"\0CD001\x01EL TORITO SPECIFICATION",
            validation: 1,
            platform: 0,
            key: [0x55, 0xAA],
            checksum: 0,
            bootable: 0x88,
            media_type: 0,
            load_segment: 0,
            load_sectors: 1,
            image: 20,
            more: vec![],
            partition: false,
        }
    }
}

/// An entry of a boot catalog.
fn entry(catalog: &Catalog) -> [u8; 32] {
    let mut entry = [0; 32];
    entry[..2].copy_from_slice(&[catalog.bootable, catalog.media_type]);
    entry[2..4].copy_from_slice(&catalog.load_segment.to_le_bytes());
    entry[6..8].copy_from_slice(&catalog.load_sectors.to_le_bytes());
    entry[8..12].copy_from_slice(&catalog.image.to_le_bytes());
    entry
}
/// A section's header.
fn header(first: u8, platform: u8, count: u8) -> [u8; 32] {
    let mut header = [0; 32];
    header[..3].copy_from_slice(&[first, platform, count]);
    header
}

pub fn cd(catalog: &Catalog) -> Vec<u8> {
    let mut content = vec![0; 400 * 2048];
    content[20 * 2048..].copy_from_slice(&numbered(380 * 4, 512));
    let record = &mut content[17 * 2048..];
    record[..catalog.record.len()].copy_from_slice(catalog.record);
    record[0x47] = 19;
    let mut validation = [0; 32];
    validation[..2].copy_from_slice(&[catalog.validation, catalog.platform]);
    validation[30..].copy_from_slice(&catalog.key);
    let sum = validation
        .chunks(2)
        .fold(catalog.checksum, |sum, word| sum.wrapping_sub(u16::from_le_bytes([word[0], word[1]])));
    validation[28..30].copy_from_slice(&sum.to_le_bytes());
    let mut entries = [validation, entry(catalog)].concat();
    entries.extend(catalog.more.concat());
    content[19 * 2048..][..entries.len()].copy_from_slice(&entries);
    if catalog.partition {
        let first = &mut content[20 * 2048..];
        first[446..454].copy_from_slice(&[0x80, 0, 2, 0, 6, 1, 10, 4]);
        first[510..512].copy_from_slice(&[0x55, 0xAA]);
    }
    content
}

/// A machine with such a CD and a hard disk, which boots from the CD.
pub fn boot(catalog: &Catalog) -> Bios {
    let order = BootOrder { order: vec![BootKind::CdRom], ..BootOrder::default() };
    let disk = Bay::with(numbered(20 * 16 * 63, 512));
    Bios::with(vec![Bay::empty()], vec![disk], vec![Bay::with(cd(catalog))], order)
}

/// Service 0101h for an entry: the code and message of its failure, or `None`.
fn failure(bios: &mut Bios, entry: u16) -> Option<(u8, String)> {
    let frame = bios.call(0x101, |frame| frame.set_ax(entry));
    (frame.flags & 1 != 0).then(|| (frame.ah(), bios.text(&frame)))
}

#[test]
fn each_broken_catalog_has_its_reason() {
    let good = Catalog::default;
    let cases: [(Catalog, u8, &str); 12] = [
        (Catalog { record: b"\x01CD001\x01", ..good() }, 5, "no El Torito boot record at sector 17"),
        (Catalog { record: b"\0CD001\x01ANOTHER", ..good() }, 5, "no El Torito boot record at sector 17"),
        (
            Catalog { validation: 2, ..good() },
            6,
            "the boot catalog at sector 19 does not begin with a validation entry",
        ),
        (
            Catalog { key: [0xAA, 0x55], ..good() },
            6,
            "the validation entry of the boot catalog lacks its key bytes 55 AA",
        ),
        (
            Catalog { checksum: 1, ..good() },
            6,
            "the validation entry of the boot catalog has a wrong checksum",
        ),
        (
            Catalog { platform: 0xEF, ..good() },
            6,
            "the boot catalog has no entry for a PC BIOS; its first one is for platform EFh",
        ),
        (Catalog { bootable: 0, ..good() }, 6, "the boot catalog's entry is marked as not bootable"),
        (Catalog { media_type: 5, ..good() }, 6, "the boot catalog's entry has the unknown media type 5h"),
        (Catalog { image: 400, ..good() }, 6, "the boot image at sector 400 lies behind the end of the CD"),
        (
            Catalog { image: u32::MAX, ..good() },
            6,
            "the boot image at sector 4294967295 lies behind the end of the CD",
        ),
        (
            Catalog { load_segment: 0x9000, load_sectors: 300, ..good() },
            6,
            "the boot image has 153600 bytes to load at segment 9000h, which end behind 0x9fc00",
        ),
        (
            Catalog { media_type: 4, ..good() },
            6,
            "the hard disk image at sector 20 has no partition table with one partition",
        ),
    ];
    for (catalog, code, reason) in cases {
        assert_eq!(failure(&mut boot(&catalog), 0), Some((code, format!("CD-ROM 0: {reason}"))));
    }
}

#[test]
fn a_section_for_a_pc_bios_is_found_behind_others() {
    let mut catalog = Catalog { platform: 0xEF, ..Catalog::default() };
    let bootable = entry(&Catalog { load_segment: 0x1234, ..Catalog::default() });
    let mut extension = [0; 32];
    extension[0] = 0x44;
    catalog.more =
        vec![header(0x90, 0xEF, 2), [0x88; 32], [0x88; 32], extension, header(0x91, 0, 1), bootable];
    let mut bios = boot(&catalog);
    let frame = bios.call(0x101, |_| ());
    assert_eq!((frame.flags & 1, frame.es), (0, 0x1234));
    // More entries than a catalog's sector has.
    catalog.more = vec![header(0x90, 0xEF, 255)];
    assert_eq!(failure(&mut boot(&catalog), 0).map(|(code, _)| code), Some(6));
}

#[test]
fn each_drive_that_cannot_be_started_says_why() {
    let mut bios = Bios::new();
    let expected = [
        (4, "Hard disk 0: no boot signature (55 AA) at the end of sector 0"),
        (4, "Hard disk 1: no boot signature (55 AA) at the end of sector 0"),
        (5, "CD-ROM 0: no El Torito boot record at sector 17"),
        (4, "Floppy 0: sector 0 holds no program: all its bytes are 00"),
        (2, "Floppy 1: no medium in the drive"),
        (0xFE, "Network: no adapter with a boot ROM"),
        (0xFF, "There is no such entry in the boot order"),
    ];
    for (entry, (code, message)) in (0..).zip(expected) {
        assert_eq!(failure(&mut bios, entry), Some((code, message.to_owned())));
    }
    let mut short =
        Bios::with(vec![], vec![Bay::with(vec![])], vec![Bay::with(vec![0; 512])], BootOrder::default());
    let expected = [
        (3, "Hard disk 0: sector 0 cannot be read"),
        (3, "CD-ROM 0: sector 17 cannot be read"),
        (1, "Floppy 0: there is no such drive"),
    ];
    for (entry, (code, message)) in (0..).zip(expected) {
        assert_eq!(failure(&mut short, entry), Some((code, message.to_owned())));
    }
}

/// A disk that can be started.
fn bootable() -> Arc<Bay> {
    let mut content = numbered(20 * 16 * 63, 512);
    content[..4].copy_from_slice(b"BOOT");
    content[510..512].copy_from_slice(&[0x55, 0xAA]);
    Bay::with(content)
}

#[test]
fn boot_sectors_are_loaded() {
    let order = BootOrder { once: Some(vec![BootKind::Floppy]), ..BootOrder::default() };
    let blank = Bay::with(numbered(3 * 16 * 63, 512));
    let mut bios = Bios::with(vec![bootable()], vec![blank, bootable()], vec![], order);
    let frame = bios.call(0x101, |_| ());
    assert_eq!((frame.flags & 1, frame.es, frame.bx(), frame.edx & 0xFF), (0, 0, 0x7C00, 0));
    assert_eq!(bios.bytes(0x7C00, 4), b"BOOT");
    // The second start has the usual order. The disk that is started is number 80h.
    let frame = bios.call(0x100, |_| ());
    assert_eq!(frame.edx, 5);
    let frame = bios.call(0x101, |frame| frame.set_ax(1));
    assert_eq!((frame.flags & 1, frame.es, frame.bx(), frame.edx & 0xFF), (0, 0, 0x7C00, 0x80));
    assert_eq!(status(&bios.int13(0x0201, 0, 1, 0x80)), 0);
    assert_eq!(bios.bytes(BUFFER, 4), b"BOOT");
    assert_eq!(status(&bios.int13(0x0201, 0, 2, 0x81)), 0);
    let frame = bios.int13(0x0800, 0, 0, 0x81);
    assert_eq!(frame.cx(), 1 << 8 | 63);
}

#[test]
fn entries_have_names_and_kinds() {
    let mut bios = Bios::new();
    let expected = [
        (0x80, "Hard disk 0: primary master, 9 MiB"),
        (0x80, "Hard disk 1: primary slave, 1512 KiB"),
        (0xE0, "CD-ROM 0: secondary master, 800 KiB"),
        (0x00, "Floppy 0: 1440 KiB"),
        (0x00, "Floppy 1: no medium"),
        (0xFE, "Network"),
    ];
    for (entry, (kind, name)) in (0..).zip(expected) {
        let frame = bios.call(0x102, |frame| frame.set_ax(entry));
        assert_eq!((frame.flags & 1, frame.edx & 0xFF, bios.text(&frame)), (0, kind, name.to_owned()));
    }
    assert_eq!(bios.call(0x102, |frame| frame.set_ax(6)).flags & 1, 1);
    assert_eq!(bios.call(0x100, |_| ()).edx, 6);
}

#[test]
fn the_menu_is_as_configured() {
    let order = BootOrder { menu: true, prompt_tenths: 25, ..BootOrder::default() };
    let mut bios = Bios::with(vec![], vec![], vec![], order);
    assert_eq!(bios.call(0x103, |_| ()).eax, 0x119);
    assert_eq!(BootKind::of_letter('x'), None);
    let kinds: Vec<_> = "acdn".chars().filter_map(BootKind::of_letter).collect();
    assert_eq!(kinds, [BootKind::Floppy, BootKind::HardDisk, BootKind::CdRom, BootKind::Network]);
}

#[test]
fn a_drive_that_is_emptied_before_a_worker_comes_does_not_answer() {
    let mut bios = boot(&Catalog::default());
    bios.begin(0x101, |_| ());
    let (token, due, _) = bios.jobs.0.lock().unwrap().remove(0);
    bios.services.complete(token, &[], due);
    let frame = bios.frame(FRAME);
    assert_eq!((frame.ah(), bios.text(&frame)), (3, "CD-ROM 0: the drive did not answer".into()));
}
