//! Disk calls of the BIOS: any registers, packets and buffers, on drives with any content, anywhere in memory.
//!
//! No call panics; each is done when its worker is; a worker's answer is bounded; and what the device saves comes back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, Mutex};
use trimotor_bus::{BusMaster, GuestMemory, GuestTime, PhysAddr, Port, PortDevice, SaveState, Width};
use trimotor_devices::bios_services::{
    DiskDrive, AtaPlace, BiosServices, BootKind, BootOrder, Drives, FloppyDrive,
};
use trimotor_devices::drive::{Drive, DriveConfig, DrivePlace, Media, Medium};
use trimotor_devices::requests::MachineRequests;
use trimotor_devices::{Completion, Device, Job, Outside};
use trimotor_fuzz::Input;
use trimotor_storage::MemoryDisk;

/// The largest answer of a worker: a boot image below 1 MiB and what is said of it.
const MAX_ANSWER: usize = (1 << 20) + 64;
/// Sectors of CDs where the fuzzer's bytes go: the boot record, its catalog, an image.
const CD_SECTORS: usize = 32;
/// Bytes of a frame.
const FRAME_BYTES: usize = 46;

/// Jobs that wait.
#[derive(Default)]
struct Jobs(Mutex<Vec<(u64, GuestTime, Job)>>);
impl Outside for Jobs {
    fn begin(&self, token: u64, due: GuestTime, job: Job) {
        self.0.lock().expect("one thread").push((token, due, job));
    }
}

/// A disk with some of the input at a place where the services look.
fn disk(input: &mut Input<'_>, sectors: usize, at: &[usize]) -> Medium {
    let mut content = vec![0; sectors * 512];
    for at in at {
        let some = input.below(64);
        let bytes = input.bytes(some);
        if let Some(part) = content.get_mut(*at..*at + bytes.len()) {
            part.copy_from_slice(bytes);
        }
    }
    let disk = MemoryDisk::new(content);
    Arc::new(if input.below(4) == 0 { disk.read_only() } else { disk })
}
/// A CD that can be booted from, but for what the input changes.
fn cd(input: &mut Input<'_>) -> Medium {
    let mut content = vec![0; CD_SECTORS * 2048];
    content[17 * 2048..][..30].copy_from_slice(b"\0CD001\x01EL TORITO SPECIFICATION");
    content[17 * 2048 + 0x47] = 18;
    let catalog = &mut content[18 * 2048..];
    catalog[..2].copy_from_slice(&[1, 0]);
    catalog[30..34].copy_from_slice(&[0x55, 0xAA, 0x88, input.below(6) as u8]);
    catalog[28..30].copy_from_slice(&(0u16.wrapping_sub(0xAA55).wrapping_sub(1)).to_le_bytes());
    catalog[38..40].copy_from_slice(&[1, 0]);
    catalog[40] = 20;
    for base in [17 * 2048, 18 * 2048, 20 * 2048 + 440] {
        for _ in 0..input.below(3) {
            let at = base + input.below(80);
            content[at] = input.number(1) as u8;
        }
    }
    Arc::new(MemoryDisk::new(content))
}
fn drive(media: Media, medium: Option<Medium>) -> Drive {
    Drive::new(DriveConfig::new("", DrivePlace::Unattached, media), medium)
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let memory = GuestMemory::new(1 << 20, &[]).expect("memory");
    memory.write(PhysAddr(0x40E), &[0xC0, 0x9F]);
    let place = Some(AtaPlace { controller: (0, 1, 1), channel: 0, unit: 0 });
    let floppy_sectors = [2880, 720, 5760, 100][input.below(4)];
    let floppy = Some(disk(&mut input, floppy_sectors, &[0]));
    let hard_disk = Some(disk(&mut input, 3000, &[0, 440]));
    let optical = drive(Media::Cdrom, Some(cd(&mut input)));
    let drives = Drives {
        floppies: vec![
            FloppyDrive::new(drive(Media::Floppy, floppy)),
            FloppyDrive::new(drive(Media::Floppy, None)),
        ],
        disks: vec![DiskDrive { place, drive: drive(Media::Disk, hard_disk) }],
        cds: vec![DiskDrive { place, drive: optical.clone() }],
    };
    let order = BootOrder {
        order: vec![BootKind::CdRom, BootKind::HardDisk, BootKind::Floppy, BootKind::Network],
        ..BootOrder::default()
    };
    let jobs = Arc::new(Jobs::default());
    let mut services = BiosServices::new(
        BusMaster::new(memory.clone()),
        jobs.clone(),
        MachineRequests::new(),
        drives,
        order,
    );
    while !input.is_empty() {
        match input.below(10) {
            0 => memory.write(PhysAddr(input.number(3)), input.bytes(24)),
            1 => {
                optical.set_medium((input.below(2) == 0).then(|| cd(&mut input)));
                0
            }
            2 => {
                services.reset(GuestTime::ZERO);
                0
            }
            _ => {
                let at = PhysAddr(if input.below(8) == 0 { input.number(4) } else { 0x2000 });
                let mut frame = [0; FRAME_BYTES];
                let some = input.bytes(FRAME_BYTES - 4);
                frame[4..4 + some.len()].copy_from_slice(some);
                let service = [0x13, 0x13, 0x13, 0x40, 0x100, 0x101, 0x102, 0x103][input.below(8)];
                frame[..2].copy_from_slice(&u16::to_le_bytes(service));
                frame[24] = [0, 1, 0x80, 0xE0, frame[24]][input.below(5)];
                if service >= 0x100 {
                    frame[32] &= 7;
                }
                memory.write(at, &frame);
                services.port_write(Port(0x520), Width::Dword, at.0 as u32, GuestTime::ZERO);
                0
            }
        };
        if input.below(8) == 0 {
            let saved = services.save();
            jobs.0.lock().expect("one thread").clear();
            services.restore(saved.clone()).expect("what was saved");
            assert_eq!(services.save(), saved);
        }
        if input.below(8) != 0 {
            let waiting = std::mem::take(&mut *jobs.0.lock().expect("one thread"));
            for (token, due, job) in waiting {
                let answer = job();
                assert!(answer.len() <= MAX_ANSWER, "an answer of {} bytes", answer.len());
                services.complete(token, &answer, due);
            }
            assert_eq!(services.port_read(Port(0x524), Width::Byte, GuestTime::ZERO), 0xFF);
        }
    }
    _ = services.info();
});
