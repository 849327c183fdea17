//! CD-ROM drives.

use super::*;

/// A drive at the primary channel with a disc of eight sectors.
fn cd() -> Bench {
    let disc: Medium = Arc::new(MemoryDisk::new(pattern(32)).read_only());
    let config = DriveConfig::new("cd", place(0), Media::Cdrom);
    let mut bench = Bench::new([Some(Drive::new(config, Some(disc))), None]);
    // The first command tells of the reset.
    assert_eq!(packet(&mut bench, &[0]), Err((6, 0x29)));
    bench
}
/// Sends a command, takes what comes in blocks of at most 1024 bytes; an error as sense key and code.
fn packet(bench: &mut Bench, bytes: &[u8]) -> Result<Vec<u8>, (u8, u8)> {
    let run = |bench: &mut Bench, bytes: &[u8]| {
        let mut packet = bytes.to_vec();
        packet.resize(12, 0);
        for (register, value) in [(FEATURE, 0), (LBA_MID, 0), (LBA_HIGH, 4), (COMMAND, command::PACKET)] {
            bench.set(register, value);
        }
        assert_eq!((bench.status(), bench.get(COUNT)), (READY | DRQ, 1));
        bench.write_words(&packet);
        let mut data = Vec::new();
        loop {
            bench.work_all();
            assert!(bench.take_irq());
            if bench.status() & DRQ == 0 {
                break;
            }
            assert_eq!(bench.get(COUNT), REASON_TO_HOST);
            let length = usize::from(bench.get(LBA_MID)) | usize::from(bench.get(LBA_HIGH)) << 8;
            assert!((1..=1024).contains(&length));
            let mut words = bench.read_words(length.div_ceil(2));
            words.truncate(length);
            data.extend(words);
        }
        assert_eq!(bench.get(COUNT), REASON_COMMAND | REASON_TO_HOST);
        (bench.status(), bench.get(FEATURE), data)
    };
    let (status, error, data) = run(bench, bytes);
    if status & ERR == 0 {
        return Ok(data);
    }
    let (_, _, sense) = run(bench, &[3, 0, 0, 0, 18]);
    assert_eq!(sense[2], error >> 4);
    Err((sense[2], sense[12]))
}

#[test]
fn a_disc_is_read() {
    let mut bench = cd();
    assert_eq!(packet(&mut bench, &[0x25]), Ok(vec![0, 0, 0, 7, 0, 0, 8, 0]));
    assert_eq!(packet(&mut bench, &[0x28, 0, 0, 0, 0, 2, 0, 0, 3]), Ok(pattern(32)[4096..10240].to_vec()));
    assert_eq!(packet(&mut bench, &[0xA8, 0, 0, 0, 0, 7, 0, 0, 0, 1]), Ok(pattern(32)[14336..].to_vec()));
    assert_eq!(
        packet(&mut bench, &[0xBE, 0, 0, 0, 0, 1, 0, 0, 1, 0x10]),
        Ok(pattern(32)[2048..4096].to_vec())
    );
    assert_eq!(packet(&mut bench, &[0x28, 0, 0, 0, 0, 7, 0, 0, 2]), Err((5, 0x21)));
    assert_eq!(packet(&mut bench, &[0xFF]), Err((5, 0x20)));
    assert_eq!(packet(&mut bench, &[0xBE, 0, 0, 0, 0, 1, 0, 0, 1, 0xF8]), Err((5, 0x24)));
}

#[test]
fn a_disc_is_read_by_dma() {
    let mut bench = cd();
    bench.table(&[(0x2_0000, 4096)], true);
    bench.set(FEATURE, 1);
    bench.set(COMMAND, command::PACKET);
    bench.write_words(&[0x28, 0, 0, 0, 0, 1, 0, 0, 2, 0, 0, 0]);
    bench.start(true);
    bench.work_all();
    assert!(bench.take_irq());
    assert_eq!((bench.get(COUNT), bench.master_status()), (3, 4));
    assert_eq!(bench.memory(0x2_0000, 4096), pattern(32)[2048..6144]);
}

#[test]
fn what_drive_and_disc_say_of_themselves() {
    let mut bench = cd();
    let inquiry = packet(&mut bench, &[0x12, 0, 0, 0, 36]).unwrap();
    assert_eq!((inquiry.len(), inquiry[0], inquiry[1]), (36, 5, 0x80));
    assert_eq!(packet(&mut bench, &[0x12, 0, 0, 0, 5]).unwrap().len(), 5);
    let toc = packet(&mut bench, &[0x43, 0, 0, 0, 0, 0, 0, 0, 64]).unwrap();
    assert_eq!(toc, [0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xAA, 0, 0, 0, 0, 8]);
    let toc = packet(&mut bench, &[0x43, 2, 0, 0, 0, 0, 0xAA, 0, 64]).unwrap();
    assert_eq!(toc[8..], [0, 0, 2, 8]);
    assert_eq!(packet(&mut bench, &[0x43, 0, 2, 0, 0, 0, 0, 0, 255]).unwrap().len(), 48);
    assert_eq!(packet(&mut bench, &[0x43, 0, 0, 0, 0, 0, 2, 0, 64]), Err((5, 0x24)));
    let configuration = packet(&mut bench, &[0x46, 0, 0, 0, 0, 0, 0, 0, 255]).unwrap();
    assert_eq!((configuration[3] as usize, configuration[7]), (configuration.len() - 4, 8));
    let modes = packet(&mut bench, &[0x5A, 0, 0x2A, 0, 0, 0, 0, 0, 255]).unwrap();
    assert_eq!((modes.len(), modes[1] as usize, modes[8]), (28, 26, 0x2A));
    assert_eq!(packet(&mut bench, &[0x51, 0, 0, 0, 0, 0, 0, 0, 255]).unwrap().len(), 34);
    assert_eq!(packet(&mut bench, &[0xBD, 0, 0, 0, 0, 0, 0, 0, 0, 8]).unwrap().len(), 8);
    assert_eq!(packet(&mut bench, &[0x42, 2, 0x40, 1, 0, 0, 0, 0, 16]).unwrap().len(), 16);
    // IDENTIFY DEVICE is refused with the signature.
    bench.set(COMMAND, command::IDENTIFY);
    assert_eq!((bench.status() & ERR, bench.get(LBA_MID), bench.get(LBA_HIGH)), (ERR, 0x14, 0xEB));
    bench.set(COMMAND, command::IDENTIFY_PACKET);
    assert_eq!(bench.read_words(256)[..2], [0xC0, 0x85]);
}

#[test]
fn discs_are_ejected_and_changed() {
    let mut bench = cd();
    let event = |bench: &mut Bench| {
        let data = packet(bench, &[0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8]).unwrap();
        (data[4] & 0xF, data[5])
    };
    assert_eq!(event(&mut bench), (2, 2));
    assert_eq!(event(&mut bench), (0, 2));
    // The guest holds the disc: a person asks for it.
    packet(&mut bench, &[0x1E, 0, 0, 0, 1]).unwrap();
    assert_eq!(packet(&mut bench, &[0x1B, 0, 0, 0, 2]), Err((5, 0x53)));
    let locked = bench.ide.change_medium("cd", None, false, NOW);
    assert_eq!(locked, Err(MediumError::Locked { id: "cd".into() }));
    assert_eq!(event(&mut bench), (1, 2));
    packet(&mut bench, &[0x1E, 0, 0, 0, 0]).unwrap();
    packet(&mut bench, &[0x1B, 0, 0, 0, 2]).unwrap();
    assert_eq!(packet(&mut bench, &[0x28, 0, 0, 0, 0, 0, 0, 0, 1]), Err((2, 0x3A)));
    assert_eq!(event(&mut bench), (3, 1));
    // Another disc closes the tray, and the next command tells of it.
    let disc: Medium = Arc::new(MemoryDisk::new(vec![9; 4096]));
    bench.ide.change_medium("cd", Some(disc), false, NOW).unwrap();
    assert_eq!(packet(&mut bench, &[0]), Err((6, 0x28)));
    assert_eq!(packet(&mut bench, &[0x25]), Ok(vec![0, 0, 0, 1, 0, 0, 8, 0]));
    bench.ide.change_medium("cd", None, true, NOW).unwrap();
    assert_eq!(packet(&mut bench, &[0]), Err((2, 0x3A)));
    assert!(matches!(bench.ide.change_medium("x", None, true, NOW), Err(MediumError::NoDrive { .. })));
}

/// The BIOS ejects discs past the controller.
#[test]
fn a_disc_that_goes_by_another_way_is_missed() {
    let disc: Medium = Arc::new(MemoryDisk::new(pattern(32)).read_only());
    let drive = Drive::new(DriveConfig::new("cd", place(0), Media::Cdrom), Some(disc.clone()));
    let mut bench = Bench::new([Some(drive.clone()), None]);
    assert_eq!(packet(&mut bench, &[0]), Err((6, 0x29)));
    let event = |bench: &mut Bench| {
        let data = packet(bench, &[0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8]).unwrap();
        (data[4], data[5])
    };
    assert_eq!(event(&mut bench), (2, 2));
    drive.set_medium(None);
    assert_eq!(event(&mut bench), (3, 1));
    assert_eq!(packet(&mut bench, &[0]), Err((2, 0x3A)));
    drive.set_medium(Some(disc));
    assert_eq!(packet(&mut bench, &[0]), Err((6, 0x28)));
    assert_eq!(packet(&mut bench, &[0]), Ok(vec![]));
}

#[test]
fn parameters_are_taken_and_checked() {
    let mut bench = cd();
    let mut select = |parameters: &[u8]| {
        bench.set(FEATURE, 0);
        bench.set(COMMAND, command::PACKET);
        bench.write_words(&[0x55, 0x10, 0, 0, 0, 0, 0, 0, parameters.len() as u8, 0, 0, 0]);
        assert_eq!((bench.status(), bench.get(COUNT)), (READY | DRQ, 0));
        bench.write_words(parameters);
        bench.status() & ERR
    };
    assert_eq!(select(&[0, 0, 0, 0, 0, 0, 0, 0, 1, 6, 0, 9, 0, 0, 0, 0]), 0);
    assert_eq!(select(&[0, 0, 0, 0, 0, 0, 0, 0, 5, 6, 0, 9, 0, 0, 0, 0]), ERR);
    assert_eq!(select(&[0, 0, 0, 0, 0, 0, 0xFF, 0xFF]), ERR);
    let page = packet(&mut bench, &[0x5A, 0, 1, 0, 0, 0, 0, 0, 255]).unwrap();
    assert_eq!(page[8..12], [1, 6, 0, 9]);
}
