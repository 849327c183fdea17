//! A host that is full, or whose disk fails, under Linux: the guest sees an error, or the machine pauses and nothing is lost.

use super::guest::Shell;
use crate::support::engines::JIT;
use crate::support::guests::DEBIAN;
use crate::support::needs::Tests;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use trimotor_machine::{DriveConfig, DrivePlace, Engine, Media, Medium, OnDiskError};
use trimotor_storage::{BlockBackend, BlockError, BlockLimits, MemoryDisk};

pub fn tests() -> Tests {
    Tests::needing(&[DEBIAN, JIT]).test(errors_of_the_host_are_reported_ignored_or_waited_for)
}

/// A disk that is written while there is space for it.
struct Full {
    content: MemoryDisk,
    full: AtomicBool,
}
impl Full {
    fn new() -> Arc<Self> {
        Arc::new(Self { content: MemoryDisk::new(vec![0; 8 << 20]), full: AtomicBool::new(true) })
    }
    fn space(&self) -> Result<(), BlockError> {
        if self.full.load(Ordering::Relaxed) { Err(BlockError::NoSpace) } else { Ok(()) }
    }
}
impl BlockBackend for Full {
    fn size(&self) -> u64 {
        self.content.size()
    }
    fn limits(&self) -> BlockLimits {
        self.content.limits()
    }
    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        self.content.read(offset, into)
    }
    fn write(&self, offset: u64, from: &[u8]) -> Result<(), BlockError> {
        self.space().and_then(|()| self.content.write(offset, from))
    }
    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }
    fn write_zeroes(&self, offset: u64, bytes: u64, unmap: bool) -> Result<(), BlockError> {
        self.space().and_then(|()| self.content.write_zeroes(offset, bytes, unmap))
    }
    fn discard(&self, offset: u64, bytes: u64) -> Result<(), BlockError> {
        self.content.discard(offset, bytes)
    }
}

/// A disk of that policy at the primary channel, or as the secondary master.
fn drive(id: &str, (channel, unit): (u8, u8), on_write_error: OnDiskError) -> DriveConfig {
    let place = DrivePlace::Ide { channel, unit };
    DriveConfig { on_write_error, ..DriveConfig::new(id, place, Media::Disk) }
}

fn errors_of_the_host_are_reported_ignored_or_waited_for() {
    let (waits, reports, ignores) = (Full::new(), Full::new(), Full::new());
    let mut shell = Shell::start(
        Engine::Jit,
        vec![
            (drive("waits", (0, 0), OnDiskError::StopWithoutSpace), Some(waits.clone() as Medium)),
            (drive("reports", (0, 1), OnDiskError::Report), Some(reports.clone() as Medium)),
            (drive("ignores", (1, 0), OnDiskError::Ignore), Some(ignores.clone() as Medium)),
        ],
    );
    // A person makes room whenever the machine pauses, and has it go on.
    let pauses = Arc::new(AtomicU32::new(0));
    let (seen, disk) = (pauses.clone(), waits.clone());
    shell.on_pause(move || {
        seen.fetch_add(1, Ordering::Relaxed);
        disk.full.store(false, Ordering::Relaxed);
    });
    let write = |disk: &str| format!("dd if=/tmp/data of=/dev/{disk} bs=64k conv=fsync 2>&1; echo $?");
    shell.run("dd if=/dev/urandom of=/tmp/data bs=64k count=16 2>/dev/null");
    let told = shell.run(&write("sda"));
    assert!(told.ends_with('0'), "{told}");
    assert_eq!(pauses.load(Ordering::Relaxed), 1);
    let errors = shell.run("dmesg | grep -cE 'I/O error|exception'");
    assert_eq!(errors, "0", "the guest noticed nothing");
    let same = |disk: &str| {
        format!(
            "echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/{disk} bs=64k count=16 2>/dev/null | cmp - /tmp/data; echo $?"
        )
    };
    assert_eq!(shell.run(&same("sda")), "0");

    let told = shell.run(&write("sdb"));
    assert!(told.contains("error") && !told.ends_with('0'), "{told}");
    assert_ne!(shell.run("dmesg | grep -c 'I/O error, dev sdb'"), "0");
    reports.full.store(false, Ordering::Relaxed);
    let told = shell.run(&write("sdb"));
    assert!(told.ends_with('0'), "there is space now: {told}");
    assert_eq!(shell.run(&same("sdb")), "0");

    let told = shell.run(&write("sdc"));
    assert!(told.ends_with('0'), "{told}");
    assert_eq!(ignores.content.content(), vec![0; 8 << 20]);
    assert_eq!(pauses.load(Ordering::Relaxed), 1);
    shell.power_off();
}
