//! Drives on a board, used by code of our own on every engine.

use super::chips::engines;
use super::*;
use iced_x86::code_asm::*;
use trimotor_devices::drive::{DriveConfig, DrivePlace, Media};
use trimotor_devices::drive_limits::{DriveLimits, Rate, Rates};
use trimotor_storage::{BlockBackend, MemoryDisk};

const LOAD: u32 = 0x10_0000;
/// The bus master's table, and where it moves data.
const TABLE: u32 = 0x20_0000;
const STACK: u32 = 0x20_F000;
const BUS_MASTER: u32 = 0xC000;

fn out8(a: &mut CodeAssembler, port: u32, value: u32) {
    a.mov(dx, port).unwrap();
    a.mov(al, value).unwrap();
    a.out(dx, al).unwrap();
}
fn out32(a: &mut CodeAssembler, port: u32, value: u32) {
    a.mov(dx, port).unwrap();
    a.mov(eax, value).unwrap();
    a.out(dx, eax).unwrap();
}
fn leave(a: &mut CodeAssembler, code: u32) {
    a.mov(al, code).unwrap();
    a.out(0xF4, al).unwrap();
    a.hlt().unwrap();
}

/// A Multiboot 1 image of what `build` writes.
fn image(build: impl Fn(&mut CodeAssembler)) -> Vec<u8> {
    const MAGIC: u32 = 0x1BAD_B002;
    const HAS_ADDRESSES: u32 = 1 << 16;
    let mut a = CodeAssembler::new(32).unwrap();
    a.mov(esp, STACK).unwrap();
    build(&mut a);
    let entry = LOAD + 32;
    let code = a.assemble(entry.into()).unwrap();
    let end = entry + code.len() as u32;
    let checksum = 0u32.wrapping_sub(MAGIC).wrapping_sub(HAS_ADDRESSES);
    let header = [MAGIC, HAS_ADDRESSES, checksum, LOAD, LOAD, end, end, entry];
    header.iter().flat_map(|field| field.to_le_bytes()).chain(code).collect()
}

/// READ DMA of sector 0: one region at `address`, of so many bytes.
fn read_sector(a: &mut CodeAssembler, address: u32, bytes: u32) {
    a.mov(dword_ptr(TABLE), address).unwrap();
    a.mov(dword_ptr(TABLE + 4), 0x8000_0000 | bytes).unwrap();
    out8(a, BUS_MASTER, 0);
    out32(a, BUS_MASTER + 4, TABLE);
    out8(a, BUS_MASTER + 2, 6);
    for (port, value) in [(0x1F6, 0x40), (0x1F2, 1), (0x1F3, 0), (0x1F4, 0), (0x1F5, 0), (0x1F7, 0xC8)] {
        out8(a, port, value);
    }
    out8(a, BUS_MASTER, 9);
}
/// Waits until the drive is not busy.
fn wait(a: &mut CodeAssembler) {
    let mut again = a.create_label();
    a.mov(dx, 0x3F6u32).unwrap();
    a.set_label(&mut again).unwrap();
    a.in_(al, dx).unwrap();
    a.test(al, 0x80).unwrap();
    a.jnz(again).unwrap();
}

/// The hostile twin: a sector that is read over the code that runs, and to where no RAM is; tables in ROM and nowhere.
fn over_code(a: &mut CodeAssembler) {
    let (mut target, mut start, mut again, mut new) =
        (a.create_label(), a.create_label(), a.create_label(), a.create_label());
    // The return address is the target's.
    a.call(start).unwrap();
    a.set_label(&mut target).unwrap();
    // mov al, 0; the sector makes it mov al, 1.
    a.db(&[0xB0, 0]).unwrap();
    a.ret().unwrap();
    a.db(&[0; 600]).unwrap();
    a.set_label(&mut start).unwrap();
    a.pop(ebx).unwrap();
    // No interrupt comes.
    out8(a, 0x3F6, 2);
    for address in [0xFFFF_0000u32, 0xFEE0_0000, 0xFEC0_0000, 0xFED0_0000, 0xE000_0000, 0xA_0000, 0xFFFF_FFFE]
    {
        read_sector(a, address, 0x200);
        wait(a);
    }
    for table in [0xFFFF_0000u32, 0xFFFF_FFFC, 0xFEE0_0000] {
        out8(a, BUS_MASTER, 0);
        out32(a, BUS_MASTER + 4, table);
        out8(a, 0x1F2, 1);
        out8(a, 0x1F7, 0xC8);
        out8(a, BUS_MASTER, 9);
        wait(a);
        out8(a, 0x3F6, 6);
        out8(a, 0x3F6, 2);
        wait(a);
    }
    // The code that runs now is not the sector's: only what is at the target is written over.
    read_sector(a, 0, 0x200);
    wait(a);
    a.mov(dword_ptr(TABLE), ebx).unwrap();
    out8(a, BUS_MASTER, 0);
    out32(a, BUS_MASTER + 4, TABLE);
    out8(a, 0x1F2, 1);
    out8(a, 0x1F7, 0xC8);
    out8(a, BUS_MASTER, 9);
    a.set_label(&mut again).unwrap();
    a.call(target).unwrap();
    a.cmp(al, 1).unwrap();
    a.je(new).unwrap();
    a.jmp(again).unwrap();
    a.set_label(&mut new).unwrap();
    leave(a, 1);
}

fn machine(engine: Engine, cpus: u8, clock: ClockSource, image: &[u8]) -> Machine {
    machine_with(engine, cpus, clock, image, DriveLimits::default())
}
fn machine_with(engine: Engine, cpus: u8, clock: ClockSource, image: &[u8], limits: DriveLimits) -> Machine {
    let place = DrivePlace::Ide { channel: 0, unit: 0 };
    let mut sector = vec![0x90; 512];
    // mov al, 1; ret.
    sector[..3].copy_from_slice(&[0xB0, 1, 0xC3]);
    let disk: Arc<dyn BlockBackend> = Arc::new(MemoryDisk::new(sector));
    let config = MachineConfig {
        engine: Some(engine),
        cpus,
        clock,
        devices: vec![DeviceConfig::new("isa-debug-exit")],
        drives: vec![DriveConfig { limits, ..DriveConfig::new("disk", place, Media::Disk) }],
        ..super::config()
    };
    let request = BootRequest::new(BootFile { name: "test".into(), bytes: image.to_vec() });
    let plan = boot::load(request, &config.platform()).unwrap();
    let model = Arc::new(CpuModel::parse("max", 1_000_000_000).unwrap());
    let services = HostServices {
        drives: [("disk".to_owned(), disk)].into(),
        ..HostServices::new(Arc::new(super::cards::Ticking::default()))
    };
    Machine::new(config, model, services, Box::new(plan)).unwrap()
}

#[test]
fn a_disk_read_over_running_code_is_seen_and_elsewhere_harmless() {
    let image = image(over_code);
    for engine in engines() {
        let mut ends = Vec::new();
        for (cpus, clock) in [
            (1, ClockSource::Instructions),
            (1, ClockSource::Instructions),
            (1, ClockSource::Host),
            (4, ClockSource::Host),
        ] {
            let mut machine = machine(engine, cpus, clock, &image);
            assert_eq!(machine.run(), ExitReason::DebugExit(1), "{engine}, {cpus} vCPUs, {clock:?}");
            if clock == ClockSource::Instructions {
                ends.push(machine.instructions());
            }
        }
        assert_eq!(ends[0], ends[1], "{engine}: two runs differ");
    }
}

/// Reads of a sector, one after the other.
const READS: u32 = 21;
/// Reads in a second, at most.
const READS_PER_S: u64 = 10_000;

/// A guest that reads so many sectors, and leaves.
fn image_of_reads() -> Vec<u8> {
    image(|a| {
        out8(a, 0x3F6, 2);
        for _ in 0..READS {
            read_sector(a, TABLE + 0x1000, 0x200);
            wait(a);
        }
        leave(a, 1);
    })
}

#[test]
fn a_limited_drive_takes_its_time_by_both_clocks() {
    let (image, rate) = (image_of_reads(), Rate { per_s: READS_PER_S, burst: Some(1) });
    let limits =
        DriveLimits { requests: Rates { read: Some(rate), ..Rates::default() }, ..DriveLimits::default() };
    // The first one goes at once.
    let least_ns = u64::from(READS - 1) * 1_000_000_000 / READS_PER_S;
    for engine in engines() {
        let mut ends = Vec::new();
        for (cpus, clock) in [
            (1, ClockSource::Instructions),
            (1, ClockSource::Instructions),
            (1, ClockSource::Host),
            (2, ClockSource::Host),
        ] {
            let mut machine = machine_with(engine, cpus, clock, &image, limits);
            assert_eq!(machine.run(), ExitReason::DebugExit(1), "{engine}, {cpus} vCPUs, {clock:?}");
            let took = machine.board().clock.now().ns();
            assert!(took >= least_ns, "{engine}, {cpus} vCPUs, {clock:?}: {took} ns");
            if clock == ClockSource::Instructions {
                // What the program does beside takes less than two more reads.
                assert!(
                    took < least_ns * (u64::from(READS) + 1) / u64::from(READS - 1),
                    "{engine}: {took} ns"
                );
                ends.push(machine.instructions());
            }
        }
        assert_eq!(ends[0], ends[1], "{engine}: two runs differ");
    }
}

#[test]
fn a_saved_limit_goes_on() {
    let (image, rate) = (image_of_reads(), Rate { per_s: READS_PER_S, burst: Some(1) });
    let limits =
        DriveLimits { requests: Rates { total: Some(rate), ..Rates::default() }, ..DriveLimits::default() };
    let engine = engines()[0];
    let whole = {
        let mut machine = machine_with(engine, 1, ClockSource::Instructions, &image, limits);
        assert_eq!(machine.run(), ExitReason::DebugExit(1));
        machine.board().clock.now().ns()
    };
    let mut machine = machine_with(engine, 1, ClockSource::Instructions, &image, limits);
    // Half of the reads.
    assert_eq!(machine.run_until(whole / 2), None);
    let state = machine.save().unwrap();
    let model = Arc::new(CpuModel::parse("max", 1_000_000_000).unwrap());
    let disk: Arc<dyn BlockBackend> = Arc::new(MemoryDisk::new(vec![0; 512]));
    let services = HostServices {
        drives: [("disk".to_owned(), disk)].into(),
        ..HostServices::new(Arc::new(super::cards::Ticking::default()))
    };
    let plan = flat_plan(&super::config(), &[0xF4]);
    let mut second = Machine::restored(state, Some(engine), model, services, Box::new(plan)).unwrap();
    assert_eq!(second.run(), ExitReason::DebugExit(1));
    assert_eq!(second.board().clock.now().ns(), whole, "as the one that was not saved");
}
