//! Hosts that fail: what a call tells, and when the machine pauses.

use super::*;
use crate::drive::OnDiskError;
use crate::requests::MachineRequest;
use std::sync::atomic::{AtomicBool, Ordering};
use trimotor_storage::{BlockBackend, BlockError, BlockLimits};

/// A disk whose host fails while it is told to.
struct Failing {
    content: MemoryDisk,
    fails: AtomicBool,
    full: bool,
}
impl Failing {
    fn answer(&self) -> Result<(), BlockError> {
        match (self.fails.load(Ordering::Relaxed), self.full) {
            (false, _) => Ok(()),
            (true, true) => Err(BlockError::NoSpace),
            (true, false) => Err(BlockError::Damaged("a scratch".into())),
        }
    }
}
impl BlockBackend for Failing {
    fn size(&self) -> u64 {
        self.content.size()
    }
    fn limits(&self) -> BlockLimits {
        self.content.limits()
    }
    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        self.answer().and_then(|()| self.content.read(offset, into))
    }
    fn write(&self, offset: u64, from: &[u8]) -> Result<(), BlockError> {
        self.answer().and_then(|()| self.content.write(offset, from))
    }
    fn flush(&self) -> Result<(), BlockError> {
        self.answer()
    }
    fn write_zeroes(&self, offset: u64, bytes: u64, unmap: bool) -> Result<(), BlockError> {
        self.answer().and_then(|()| self.content.write_zeroes(offset, bytes, unmap))
    }
    fn discard(&self, offset: u64, bytes: u64) -> Result<(), BlockError> {
        self.answer().and_then(|()| self.content.discard(offset, bytes))
    }
}

/// The services with one hard disk that fails, and what they ask of the machine.
fn bios(policy: OnDiskError, full: bool) -> (Bios, Arc<Failing>) {
    let content = MemoryDisk::new(numbered(64, 512));
    let disk = Arc::new(Failing { content, fails: AtomicBool::new(true), full });
    let config = DriveConfig {
        on_read_error: policy,
        on_write_error: policy,
        ..DriveConfig::new("disk", DrivePlace::Unattached, Media::Disk)
    };
    let drive = Drive::new(config, Some(disk.clone()));
    let mut bios = Bios::new();
    bios.services.drives.disks[0].drive = drive;
    (bios, disk)
}
const READ: (u16, u16) = (0x0201, 0x0005);
const WRITE: (u16, u16) = (0x0301, 0x0005);

fn call(bios: &mut Bios, (ax, cx): (u16, u16)) -> (u8, u8) {
    let frame = bios.int13(ax, 0, cx, 0x0080);
    (status(&frame), frame.al())
}

#[test]
fn an_error_is_reported() {
    let (mut bios, disk) = bios(OnDiskError::Report, true);
    assert_eq!(call(&mut bios, READ), (0x10, 0));
    assert_eq!(call(&mut bios, WRITE), (0xCC, 0));
    assert_eq!(bios.machine.take(), None);
    disk.fails.store(false, Ordering::Relaxed);
    assert_eq!(call(&mut bios, READ), (0, 1));
}

#[test]
fn an_error_is_ignored() {
    let (mut bios, disk) = bios(OnDiskError::Ignore, false);
    bios.put(BUFFER, &[7; 512]);
    assert_eq!(call(&mut bios, WRITE), (0, 1));
    assert_eq!(call(&mut bios, READ), (0, 1));
    assert_eq!(bios.bytes(BUFFER, 512), [0; 512], "what cannot be read is zeros");
    disk.fails.store(false, Ordering::Relaxed);
    call(&mut bios, READ);
    assert_eq!(bios.number_at(BUFFER), 4, "nothing was written");
}

#[test]
fn the_machine_pauses_and_the_call_is_done_again() {
    for (policy, full) in
        [(OnDiskError::Stop, false), (OnDiskError::Stop, true), (OnDiskError::StopWithoutSpace, true)]
    {
        let (mut bios, disk) = bios(policy, full);
        bios.put(BUFFER, &[7; 512]);
        bios.begin(0x13, |frame| {
            frame.set_ax(WRITE.0);
            frame.set_cx(WRITE.1);
            frame.set_dx(0x80);
            frame.es = (BUFFER >> 4) as u16;
        });
        for _ in 0..3 {
            bios.work();
            assert_eq!(bios.machine.take(), Some(MachineRequest::Pause));
            assert!(!bios.done());
            let again = bios.services.next_event().unwrap();
            // What the caller does with its buffer meanwhile is no matter.
            bios.put(BUFFER, &[8; 512]);
            bios.services.advance(again);
        }
        disk.fails.store(false, Ordering::Relaxed);
        bios.work();
        assert!(bios.done());
        let frame = bios.frame(FRAME);
        assert_eq!((status(&frame), frame.al(), bios.machine.take()), (0, 1, None));
        assert_eq!(disk.content.content()[4 * 512..5 * 512], [7; 512]);
        assert_eq!(bios.services.next_event(), None);
    }
}

#[test]
fn an_error_that_is_no_lack_of_space_is_reported_where_only_that_pauses() {
    let (mut bios, _) = bios(OnDiskError::StopWithoutSpace, false);
    assert_eq!(call(&mut bios, WRITE), (0xCC, 0));
    assert_eq!(bios.machine.take(), None);
}

#[test]
fn a_reset_ends_the_wait() {
    let (mut bios, _) = bios(OnDiskError::Stop, true);
    bios.begin(0x13, |frame| {
        frame.set_ax(READ.0);
        frame.set_cx(READ.1);
        frame.set_dx(0x80);
    });
    bios.work();
    assert!(bios.services.next_event().is_some());
    bios.services.reset(GuestTime::ZERO);
    assert_eq!(bios.services.next_event(), None);
    assert!(bios.done());
}
