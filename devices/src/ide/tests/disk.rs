//! Disks.

use super::*;

/// A disk that fails behind a sector, in the way that is set.
struct Failing {
    disk: MemoryDisk,
    from: u64,
    space: bool,
    works: std::sync::atomic::AtomicBool,
}
impl Failing {
    fn new(space: bool) -> Arc<Self> {
        Arc::new(Self { disk: MemoryDisk::new(pattern(64)), from: 5 * 512, space, works: false.into() })
    }
    fn check(&self, offset: u64, bytes: usize) -> Result<(), BlockError> {
        if offset + bytes as u64 <= self.from || self.works.load(std::sync::atomic::Ordering::SeqCst) {
            return Ok(());
        }
        Err(if self.space {
            BlockError::NoSpace
        } else {
            BlockError::Host(std::io::Error::other("worn out"))
        })
    }
}
impl BlockBackend for Failing {
    fn size(&self) -> u64 {
        self.disk.size()
    }
    fn limits(&self) -> BlockLimits {
        self.disk.limits()
    }
    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        self.check(offset, into.len())?;
        self.disk.read(offset, into)
    }
    fn write(&self, offset: u64, from: &[u8]) -> Result<(), BlockError> {
        self.check(offset, from.len())?;
        self.disk.write(offset, from)
    }
    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }
    fn write_zeroes(&self, offset: u64, bytes: u64, unmap: bool) -> Result<(), BlockError> {
        self.disk.write_zeroes(offset, bytes, unmap)
    }
    fn discard(&self, offset: u64, bytes: u64) -> Result<(), BlockError> {
        self.disk.discard(offset, bytes)
    }
}

#[test]
fn identify_says_what_the_disk_is() {
    let (mut bench, _) = bench(3000);
    bench.command(command::IDENTIFY, 0, 0);
    assert_eq!((bench.status(), bench.irq()), (READY | DRQ, true));
    let words = bench.read_words(256);
    assert_eq!((bench.status(), bench.irq()), (READY, true));
    assert!(bench.take_irq());
    let word = |at: usize| u16::from_le_bytes([words[2 * at], words[2 * at + 1]]);
    assert_eq!((word(0), word(1), word(3), word(6)), (0x40, 2, 16, 63));
    assert_eq!((word(60), word(100), word(103)), (3000, 3000, 0));
    assert_eq!(&words[54..66], b"RTMITOROH RA");
    assert_eq!(words.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
}

#[test]
fn sectors_are_read_with_an_interrupt_each() {
    let (mut bench, disk) = bench(64);
    bench.command(command::READ_SECTORS, 3, 2);
    assert_eq!((bench.status(), bench.irq()), (BSY, false));
    bench.work_all();
    let mut read = Vec::new();
    for _ in 0..2 {
        assert_eq!(bench.status(), READY | DRQ);
        assert!(bench.take_irq());
        read.extend(bench.read_words(256));
    }
    assert_eq!((bench.status(), bench.irq()), (READY, false));
    assert_eq!(read, disk.content()[3 * 512..5 * 512]);
    assert_eq!((bench.get(LBA_LOW), bench.get(COUNT)), (4, 0));
}

#[test]
fn sectors_are_written_by_multiples() {
    let (mut bench, disk) = bench(64);
    bench.command(command::WRITE_MULTIPLE, 1, 3);
    assert_eq!((bench.status(), bench.get(FEATURE)), (READY | ERR, ABRT));
    bench.command(command::SET_MULTIPLE, 0, 2);
    bench.take_irq();
    bench.command(command::WRITE_MULTIPLE, 1, 3);
    assert_eq!((bench.status(), bench.irq()), (READY | DRQ, false));
    bench.write_words(&[0xAA; 1024]);
    assert_eq!(bench.status(), BSY);
    bench.work_all();
    assert!(bench.status() == READY | DRQ && bench.take_irq());
    bench.write_words(&[0xBB; 512]);
    bench.work_all();
    assert!(bench.status() == READY && bench.take_irq());
    let content = disk.content();
    assert_eq!((content[511], content[512], content[2047]), (pattern(1)[511], 0xAA, 0xBB));
    assert_eq!(content[2048..], pattern(64)[2048..]);
}

#[test]
fn dma_moves_to_the_regions_of_a_table_and_back() {
    let (mut bench, disk) = bench(2048);
    // More than one part, in regions that are no whole sectors.
    let regions: Vec<(u32, u16)> =
        (0..16).map(|i| (0x2_0000 + i * 0x8000, 0x7000)).chain([(0xA_0000 - 0x1_0000, 0)]).collect();
    bench.table(&regions, true);
    bench.command(command::READ_DMA, 100, 0);
    bench.start(true);
    bench.work_all();
    assert_eq!(bench.master_status(), 4 | 1, "the table is longer than the data");
    assert!(bench.take_irq());
    let expected = &disk.content()[100 * 512..356 * 512];
    assert_eq!(bench.memory(0x2_0000, 0x7000), expected[..0x7000]);
    assert_eq!(bench.memory(0x2_8000, 0x7000), expected[0x7000..0xE000]);
    bench.table(&[(0x2_0000, 0x200), (0x2_8000, 0x200)], false);
    bench.start(false);
    bench.command(command::WRITE_DMA, 0, 2);
    bench.work_all();
    assert_eq!(bench.master_status(), 4);
    assert_eq!(disk.content()[..512], expected[..512]);
    assert_eq!(disk.content()[512..1024], expected[0x7000..0x7200]);
}

/// EDK II's driver makes regions of 64 KiB from wherever its buffer begins.
#[test]
fn a_region_may_go_over_a_boundary_of_64_kib() {
    let (mut bench, disk) = bench(2048);
    bench.table(&[(0x2_8200, 0), (0x3_8200, 0x200)], true);
    bench.command(command::READ_DMA, 100, 129);
    bench.start(true);
    bench.work_all();
    assert_eq!(bench.master_status(), 4);
    assert_eq!(bench.memory(0x2_8200, 129 * 512), disk.content()[100 * 512..229 * 512]);
}

#[test]
fn addresses_have_48_bits_28_bits_or_three_parts() {
    let (mut bench, disk) = bench(4000);
    for (register, high, low) in [(COUNT, 0, 1), (LBA_LOW, 0, 0x40), (LBA_MID, 0, 0x01), (LBA_HIGH, 0, 0)] {
        bench.set(register, high);
        bench.set(register, low);
    }
    bench.set(DEVICE, LBA);
    bench.set(COMMAND, command::READ_SECTORS_EXT);
    bench.work_all();
    assert_eq!(bench.read_words(256), disk.content()[0x140 * 512..0x141 * 512]);
    // What was written first is read with the HOB bit.
    bench.set(COUNT, 0x12);
    bench.set(COUNT, 0x34);
    bench.control(HOB);
    assert_eq!(bench.get(COUNT), 0x12);
    bench.set(LBA_LOW, 1);
    assert_eq!(bench.get(COUNT), 0x34);
    // Cylinder 1, head 2, sector 3 of 16 heads and 63 sectors.
    for (register, value) in [(DEVICE, 2), (COUNT, 1), (LBA_LOW, 3), (LBA_MID, 1), (LBA_HIGH, 0)] {
        bench.set(register, value);
    }
    bench.set(COMMAND, command::READ_SECTORS);
    bench.work_all();
    let sector = (16 + 2) * 63 + 2;
    assert_eq!(bench.read_words(256), disk.content()[sector * 512..][..512]);
    assert_eq!([LBA_LOW, LBA_MID, LBA_HIGH].map(|register| bench.get(register)), [3, 1, 0]);
    // Sector 0 and head 8 of 8 are nowhere.
    bench.set(COUNT, 20);
    bench.set(DEVICE, 7);
    bench.set(COMMAND, command::INITIALIZE_PARAMETERS);
    for (head, sector) in [(8, 1), (0, 0), (0, 21)] {
        for (register, value) in
            [(DEVICE, head), (COUNT, 1), (LBA_LOW, sector), (COMMAND, command::READ_SECTORS)]
        {
            bench.set(register, value);
        }
        assert_eq!((bench.status(), bench.get(FEATURE)), (READY | ERR, IDNF), "{head} {sector}");
    }
}

#[test]
fn a_transfer_beyond_the_end_and_a_bad_sector_are_told() {
    let (mut bench, _) = bench(64);
    bench.command(command::READ_SECTORS, 63, 2);
    assert_eq!((bench.status(), bench.get(FEATURE), bench.get(LBA_LOW)), (READY | ERR, IDNF, 64));
    let mut bench = Bench::new([Some(disk_with(|_| {}, Failing::new(false))), None]);
    bench.command(command::READ_SECTORS, 3, 4);
    bench.work_all();
    // The two sectors before it come.
    assert_eq!(bench.read_words(256), pattern(64)[3 * 512..4 * 512]);
    bench.work_all();
    assert_eq!(bench.read_words(256), pattern(64)[4 * 512..5 * 512]);
    bench.work_all();
    assert_eq!((bench.status(), bench.get(FEATURE), bench.get(LBA_LOW)), (READY | ERR, UNC, 5));
    bench.command(command::READ_VERIFY, 0, 64);
    bench.work_all();
    assert_eq!((bench.status(), bench.get(LBA_LOW)), (READY | ERR, 5));
}

#[test]
fn a_full_host_stops_the_machine_and_nothing_is_lost() {
    let disk = Failing::new(true);
    let mut bench = Bench::new([Some(disk_with(|_| {}, disk.clone())), None]);
    bench.command(command::WRITE_SECTORS, 9, 1);
    bench.write_words(&[0x77; 512]);
    bench.work_all();
    assert_eq!((bench.status(), bench.irq()), (BSY, false));
    assert_eq!(bench.requests.take(), Some(crate::requests::MachineRequest::Pause));
    // The machine goes on, and the host has space again.
    disk.works.store(true, std::sync::atomic::Ordering::SeqCst);
    let at = bench.ide.next_event().unwrap();
    bench.ide.advance(at);
    bench.work_all();
    assert!(bench.status() == READY && bench.take_irq());
    assert_eq!(disk.disk.content()[9 * 512], 0x77);
    // Other ways: told, and ignored.
    for (policy, status) in [(OnDiskError::Report, READY | ERR), (OnDiskError::Ignore, READY)] {
        let drive = disk_with(|config| config.on_write_error = policy, Failing::new(true));
        let mut bench = Bench::new([Some(drive), None]);
        bench.command(command::WRITE_SECTORS, 9, 1);
        bench.write_words(&[0x77; 512]);
        bench.work_all();
        assert_eq!((bench.status(), bench.requests.take()), (status, None), "{policy:?}");
    }
}

#[test]
fn two_drives_share_a_channel() {
    let second = Drive::new(
        DriveConfig::new("cd", place(1), Media::Cdrom),
        Some(Arc::new(MemoryDisk::new(vec![0; 4096]))),
    );
    let mut bench =
        Bench::new([Some(disk_with(|_| {}, Arc::new(MemoryDisk::new(pattern(64))))), Some(second)]);
    let signature =
        |bench: &mut Bench| [COUNT, LBA_LOW, LBA_MID, LBA_HIGH].map(|register| bench.get(register));
    assert_eq!(signature(&mut bench), [1, 1, 0, 0]);
    bench.set(DEVICE, DEV);
    assert_eq!((signature(&mut bench), bench.status()), ([1, 1, 0x14, 0xEB], 0));
    // A reset selects device 0.
    bench.control(SRST);
    assert_eq!(bench.status(), BSY);
    bench.control(0);
    assert_eq!((bench.status(), bench.get(FEATURE), bench.get(DEVICE) & DEV), (READY, 1, 0));
    bench.set(COMMAND, command::EXECUTE_DIAGNOSTIC);
    assert!(bench.take_irq());
    // Interrupts are held off.
    bench.control(NIEN);
    bench.command(command::IDENTIFY, 0, 0);
    assert!(!bench.irq());
    bench.control(0);
    assert!(bench.irq());
    bench.set(COUNT, 9);
    assert_ne!(bench.get(COUNT), 9, "registers stay during a command");
}

#[test]
fn an_empty_channel_floats_and_a_missing_slave_reads_zero() {
    let mut bench = Bench::new([None, None]);
    assert_eq!((bench.get(COMMAND), bench.get(COUNT)), (0x7F, 0x7F));
    let (mut bench, _) = super::bench(64);
    bench.set(DEVICE, DEV);
    assert_eq!((bench.get(COMMAND), bench.status()), (0, 0));
    bench.set(COMMAND, command::IDENTIFY);
    assert!(!bench.irq());
    // Without its decode bit the channel is silent.
    bench.ide.config_write(IDETIM[0], Width::Word, 0, NOW);
    assert_eq!(bench.get(COMMAND), 0xFF);
}

#[test]
fn a_reset_waits_for_a_write_that_is_under_way() {
    let (mut bench, disk) = bench(64);
    bench.command(command::WRITE_SECTORS, 0, 1);
    bench.write_words(&[1; 512]);
    bench.control(SRST);
    bench.control(0);
    assert_eq!(bench.status(), BSY);
    bench.work_all();
    assert_eq!((bench.status(), bench.irq(), disk.content()[0]), (READY, false, 1));
}

#[test]
fn a_table_that_is_too_short_and_a_closed_bus_master_move_no_more() {
    let (mut bench, _) = bench(64);
    bench.table(&[(0x2_0000, 0x200)], true);
    bench.command(command::READ_DMA, 0, 2);
    bench.start(true);
    bench.work_all();
    assert_eq!((bench.master_status() & 7, bench.irq()), (0, false));
    bench.control(SRST);
    bench.control(0);
    assert_eq!(bench.status(), READY);
    bench.ide.config_write(0x04, Width::Word, 1, NOW);
    bench.table(&[(0x3_0000, 0x200)], true);
    bench.command(command::READ_DMA, 0, 1);
    bench.start(true);
    bench.work_all();
    assert_eq!((bench.master_status() & 7, bench.memory(0x3_0000, 4)), (2, vec![0; 4]));
}

#[test]
fn power_features_smart_and_buffers() {
    let (mut bench, disk) = bench(64);
    bench.command(command::STANDBY_IMMEDIATE, 0, 0);
    bench.work_all();
    for (wake, count) in [(false, 0), (true, 0xFF)] {
        if wake {
            bench.command(command::IDLE_IMMEDIATE, 0, 0);
        }
        bench.command(command::CHECK_POWER, 0, 0);
        assert_eq!(bench.get(COUNT), count);
    }
    bench.command(command::WRITE_BUFFER, 0, 0);
    bench.write_words(&[3; 512]);
    bench.command(command::READ_BUFFER, 0, 0);
    assert_eq!(bench.read_words(256), [3; 512]);
    bench.set(FEATURE, 0xDA);
    bench.command(command::SMART, 0x00C2_4F00, 0);
    assert_eq!((bench.status(), bench.get(LBA_MID), bench.get(LBA_HIGH)), (READY, 0x4F, 0xC2));
    bench.set(FEATURE, 0xD0);
    bench.command(command::SMART, 0x00C2_4F00, 1);
    assert_eq!(bench.read_words(256).iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
    bench.command(command::READ_NATIVE_MAX, 0, 0);
    assert_eq!(bench.get(LBA_LOW), 63);
    bench.command(command::SLEEP, 0, 0);
    bench.work_all();
    bench.take_irq();
    bench.command(command::IDENTIFY, 0, 0);
    assert!(!bench.irq());
    assert_eq!(disk.content(), pattern(64));
}

#[test]
fn ranges_are_given_up_where_the_drive_is_set_up_so() {
    struct Trimming(MemoryDisk, Mutex<Vec<(u64, u64)>>);
    impl BlockBackend for Trimming {
        fn size(&self) -> u64 {
            self.0.size()
        }
        fn limits(&self) -> BlockLimits {
            BlockLimits { discard_bytes: Some(512), ..self.0.limits() }
        }
        fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
            self.0.read(offset, into)
        }
        fn write(&self, offset: u64, from: &[u8]) -> Result<(), BlockError> {
            self.0.write(offset, from)
        }
        fn flush(&self) -> Result<(), BlockError> {
            Ok(())
        }
        fn write_zeroes(&self, offset: u64, bytes: u64, unmap: bool) -> Result<(), BlockError> {
            self.0.write_zeroes(offset, bytes, unmap)
        }
        fn discard(&self, offset: u64, bytes: u64) -> Result<(), BlockError> {
            self.1.lock().unwrap().push((offset, bytes));
            Ok(())
        }
    }
    let disk = Arc::new(Trimming(MemoryDisk::new(pattern(64)), Mutex::default()));
    let mut bench = Bench::new([Some(disk_with(|config| config.discard = true, disk.clone())), None]);
    bench.memory.write(PhysAddr(0x2_0000), &(4u64 | 3 << 48).to_le_bytes());
    for expected in [READY, READY | ERR] {
        bench.table(&[(0x2_0000, 0x200)], false);
        bench.start(false);
        bench.set(FEATURE, 1);
        // A count of 16 bits.
        bench.set(COUNT, 0);
        bench.command(command::DATA_SET_MANAGEMENT, 0, 1);
        bench.work_all();
        assert_eq!(bench.status(), expected);
        bench.memory.write(PhysAddr(0x2_0008), &(63u64 | 2 << 48).to_le_bytes());
    }
    assert_eq!(*disk.1.lock().unwrap(), [(4 * 512, 3 * 512)]);
}

#[test]
fn a_command_goes_on_in_a_controller_that_was_restored() {
    let (mut bench, _) = bench(64);
    bench.command(command::READ_SECTORS, 3, 2);
    let saved = bench.ide.save();
    let (mut other, disk) = super::bench(64);
    other.ide.restore(saved.clone()).unwrap();
    other.work_all();
    let half = other.read_words(128);
    let halfway = other.ide.save();
    bench.ide.restore(halfway).unwrap();
    let rest = bench.read_words(128);
    assert_eq!([half, rest].concat(), disk.content()[3 * 512..4 * 512]);
    let mut empty = Bench::new([None, None]);
    assert!(empty.ide.restore(saved).is_err());
}
