//! Snapshots of machines in their disks: a machine that goes back is what it was, and what is no snapshot of it is refused
//! before anything is changed.

use super::saved_files::{HALF, file, numbers, state};
use super::*;
use crate::tests::chips::engines;
use std::time::Duration;
use trimotor_devices::drive::{DriveConfig, DrivePlace, Media};
use trimotor_storage::qcow2::{self, CreateOptions, Mode, NewSnapshot, Qcow2};
use trimotor_storage::{BlockBackend, ImageFile, MemoryDisk, MemoryFile};

const DISK_BYTES: u64 = 1 << 20;

/// What the program keeps, and a date that goes on.
#[derive(Default)]
struct Kept {
    refuses: Arc<AtomicBool>,
    seconds: Arc<Mutex<u64>>,
}
impl HostState for Kept {
    fn state(&self) -> Result<Vec<u8>, String> {
        Ok(b"kept".to_vec())
    }
    fn check(&self, kept: &[u8]) -> Result<(), String> {
        assert_eq!(kept, b"kept");
        if self.refuses.load(SeqCst) { Err("another disc is in the drive".to_owned()) } else { Ok(()) }
    }
    fn since_1970(&self) -> Duration {
        let mut seconds = self.seconds.lock().unwrap();
        *seconds += 1;
        Duration::from_secs(1_800_000_000 + *seconds)
    }
    fn random(&self) -> [u8; 16] {
        [0x5A; 16]
    }
}

pub(super) fn new_image() -> Arc<MemoryFile> {
    let image = Arc::new(MemoryFile::new(Vec::new(), 64 << 20));
    qcow2::create(&*image, &CreateOptions { cluster_bytes: 4096, ..CreateOptions::new(DISK_BYTES) }).unwrap();
    image
}
pub(super) fn opened(image: &Arc<MemoryFile>) -> Arc<dyn BlockBackend> {
    let file: Arc<dyn ImageFile> = image.clone();
    let header = qcow2::Header::read(&*file).unwrap();
    Arc::new(Qcow2::open(file, header, None, Mode::Write).unwrap())
}
fn with_disks(engine: Engine, disks: &[Arc<dyn BlockBackend>]) -> (Machine, Arc<AtomicBool>) {
    with_config(MachineConfig { engine: Some(engine), ..config() }, disks)
}
/// A machine with these disks, and whether its program refuses to go back.
pub(super) fn with_config(
    config: MachineConfig,
    disks: &[Arc<dyn BlockBackend>],
) -> (Machine, Arc<AtomicBool>) {
    let drive = |unit: usize| {
        DriveConfig::new(
            &format!("disk{unit}"),
            DrivePlace::Ide { channel: 0, unit: unit as u8 },
            Media::Disk,
        )
    };
    let config = MachineConfig { drives: (0..disks.len()).map(drive).collect(), ..config };
    let kept = Kept::default();
    let refuses = kept.refuses.clone();
    let plan = flat_plan(&config, &numbers());
    let media = disks.iter().enumerate().map(|(unit, disk)| (format!("disk{unit}"), disk.clone()));
    let services = HostServices {
        serial: vec![Box::new(Log::default())],
        drives: media.collect(),
        host_state: Some(Box::new(kept)),
        ..HostServices::new(Arc::new(NoClock))
    };
    let model = Arc::new(CpuModel::parse("x86-64-v3", 1_000_000_000).unwrap());
    (Machine::new(config, model, services, Box::new(plan)).unwrap(), refuses)
}
/// What a command answers, between two instructions.
fn obeys(machine: &mut Machine, command: Command) -> Result<Reply, String> {
    let answer = machine.control().send(command);
    assert_eq!(machine.obey_all(true), None);
    answer.try_take().expect("it was obeyed").map_err(|error| error.to_string())
}
pub(super) fn save(machine: &mut Machine, name: &str) {
    obeys(machine, Command::SaveSnapshot(Some(name.to_owned()))).unwrap();
}
pub(super) fn load(machine: &mut Machine, name: &str) -> Result<Reply, String> {
    obeys(machine, Command::LoadSnapshot(name.to_owned()))
}
fn first_byte(disk: &Arc<dyn BlockBackend>) -> u8 {
    let mut sector = [0; 512];
    disk.read(0, &mut sector).unwrap();
    sector[0]
}

#[test]
fn a_machine_that_goes_back_goes_on_exactly() {
    for engine in engines() {
        let (mut whole, _) = with_disks(engine, &[opened(&new_image())]);
        assert_eq!(whole.run_until(2 * HALF), None);
        let image = new_image();
        let disk = opened(&image);
        let (mut machine, _) = with_disks(engine, std::slice::from_ref(&disk));
        assert_eq!(machine.run_until(HALF), None);
        let then = file(&mut machine);
        disk.write(0, &[1; 512]).unwrap();
        // The run loop does it between two slices.
        machine.control().send(Command::SaveSnapshot(Some("half".to_owned())));
        assert_eq!(machine.run_until(HALF + 5001), None);
        disk.write(0, &[2; 512]).unwrap();
        machine.control().send(Command::LoadSnapshot("half".to_owned()));
        assert_eq!(machine.run_until(2 * HALF), None);
        assert!(state(&machine) == state(&whole), "{engine}");
        assert_eq!(first_byte(&disk), 1);
        // As often as wanted.
        for behind in [2 * HALF, 2 * HALF + 3] {
            assert_eq!(machine.run_until(behind), None);
            load(&mut machine, "half").unwrap();
            assert_eq!((machine.instructions(), first_byte(&disk)), (HALF, 1), "{engine}");
            assert!(file(&mut machine) == then, "{engine}");
            assert_eq!(machine.run_until(2 * HALF), None);
            assert!(state(&machine) == state(&whole), "{engine}");
            assert!(machine.memory().differing_pages(whole.memory()).is_empty(), "{engine}");
            disk.write(0, &[3; 512]).unwrap();
        }
        drop((machine, disk));
        // Another run, which has not begun, on each engine.
        for other in engines() {
            let copy = Arc::new(MemoryFile::new(image.content(), 64 << 20));
            let disk = opened(&copy);
            let (mut machine, _) = with_disks(other, std::slice::from_ref(&disk));
            machine.load_snapshot("half").unwrap();
            assert_eq!((machine.instructions(), first_byte(&disk)), (HALF, 1));
            assert_eq!(machine.run_until(2 * HALF), None);
            assert!(state(&machine) == state(&whole), "{engine}, {other}");
            assert!(machine.memory().differing_pages(whole.memory()).is_empty(), "{engine}, {other}");
        }
    }
}

#[test]
fn all_disks_go_together() {
    let disks = [opened(&new_image()), opened(&new_image())];
    let (mut machine, refuses) = with_disks(Engine::Interp, &disks);
    disks.iter().for_each(|disk| disk.write(0, &[1; 512]).unwrap());
    save(&mut machine, "one");
    disks.iter().for_each(|disk| disk.write(0, &[2; 512]).unwrap());
    save(&mut machine, "two");
    let Ok(Reply::Text(list)) = obeys(&mut machine, Command::Snapshots) else { panic!() };
    assert!(list.contains("one ") && list.contains("two ") && !list.contains("only"), "{list}");
    assert!(list.contains("2027-01-15 08:00:01") && list.contains("MiB"), "{list}");
    load(&mut machine, "one").unwrap();
    assert_eq!(disks.each_ref().map(first_byte), [1, 1]);
    load(&mut machine, "two").unwrap();
    assert_eq!(disks.each_ref().map(first_byte), [2, 2]);
    // What is refused changes nothing.
    let before = file(&mut machine);
    refuses.store(true, SeqCst);
    let refused = |machine: &mut Machine, name: &str, says: &str| {
        let error = load(machine, name).unwrap_err();
        assert!(error.contains(says), "{name}: {error}");
    };
    refused(&mut machine, "one", "another disc");
    refuses.store(false, SeqCst);
    refused(&mut machine, "none", "there is no snapshot \"none\" (`info snapshots`");
    let second = disks[1].as_qcow2().unwrap();
    second
        .create_snapshot(&NewSnapshot { name: "two".to_owned(), replaces: true, ..NewSnapshot::default() })
        .unwrap();
    refused(&mut machine, "two", "drive disk1 is of another moment");
    second.delete_snapshot("two").unwrap();
    refused(&mut machine, "two", "drive disk1 has no snapshot \"two\"");
    let Ok(Reply::Text(list)) = obeys(&mut machine, Command::Snapshots) else { panic!() };
    assert!(list.contains("on disk0 only"), "{list}");
    second.create_snapshot(&NewSnapshot { name: "disk".to_owned(), ..NewSnapshot::default() }).unwrap();
    refused(&mut machine, "disk", "without a machine");
    assert!(file(&mut machine) == before);
    assert_eq!(disks.each_ref().map(first_byte), [2, 2]);
    let delete = |name: &str| Command::DeleteSnapshot(name.to_owned());
    obeys(&mut machine, delete("one")).unwrap();
    obeys(&mut machine, delete("two")).unwrap();
    assert!(obeys(&mut machine, delete("two")).unwrap_err().contains("no snapshot \"two\""));
    obeys(&mut machine, delete("disk")).unwrap();
    let Ok(Reply::Text(list)) = obeys(&mut machine, Command::Snapshots) else { panic!() };
    assert_eq!(list, "there is no snapshot (savevm makes one)");
    // Without a name there is one by the date.
    let Ok(Reply::Text(said)) = obeys(&mut machine, Command::SaveSnapshot(None)) else { panic!() };
    assert_eq!(said, "snapshot vm-20270115080003");
}

#[test]
fn disks_without_snapshots_of_their_own_are_named() {
    let (mut without, _) = with_disks(Engine::Interp, &[]);
    let raw: Arc<dyn BlockBackend> = Arc::new(MemoryDisk::new(vec![0; 4096]));
    let (mut with_raw, _) = with_disks(Engine::Interp, &[opened(&new_image()), raw]);
    for (machine, says) in
        [(&mut without, "`save FILE` keeps it"), (&mut with_raw, "drive disk1 can be written")]
    {
        for command in [
            Command::SaveSnapshot(None),
            Command::LoadSnapshot("x".to_owned()),
            Command::DeleteSnapshot("x".to_owned()),
            Command::Snapshots,
        ] {
            let error = obeys(machine, command.clone()).unwrap_err();
            assert!(error.contains(says), "{command}: {error}");
        }
    }
}

/// The machine of a snapshot with changed bytes beside the disk's snapshot.
fn with_state(change: impl FnOnce(&mut Vec<u8>)) -> (Machine, Arc<dyn BlockBackend>) {
    let disk = opened(&new_image());
    let (mut machine, _) = with_disks(Engine::Interp, std::slice::from_ref(&disk));
    assert_eq!(machine.run_until(5000), None);
    save(&mut machine, "s");
    let image = disk.as_qcow2().unwrap();
    let snapshot = image.snapshots().unwrap().remove(0);
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut image.read_vm_state(&snapshot).unwrap(), &mut bytes).unwrap();
    change(&mut bytes);
    let mut out = image.write_vm_state().unwrap();
    std::io::Write::write_all(&mut out, &bytes).unwrap();
    let vm_state_bytes = out.finish().unwrap();
    let new = NewSnapshot { name: "s".to_owned(), vm_state_bytes, replaces: true, ..NewSnapshot::default() };
    image.create_snapshot(&new).unwrap();
    disk.write(0, &[9; 512]).unwrap();
    (machine, disk)
}

#[test]
fn a_damaged_machine_is_refused_and_the_running_one_goes_on() {
    for (step, says) in [(0, "another program"), (1, "checksum is wrong"), (2, "truncated")] {
        let (mut machine, disk) = with_state(|bytes| match step {
            0 => bytes[0] ^= 1,
            1 => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0x10;
            }
            _ => bytes.truncate(bytes.len() * 2 / 3),
        });
        let before = file(&mut machine);
        let error = load(&mut machine, "s").unwrap_err();
        assert!(error.contains("snapshot \"s\"") && error.contains(says), "{error}");
        assert!(file(&mut machine) == before);
        assert_eq!(first_byte(&disk), 9);
    }
}

#[test]
fn another_machine_s_snapshot_is_refused() {
    let image = new_image();
    let (mut machine, _) = with_disks(Engine::Interp, &[opened(&image)]);
    save(&mut machine, "s");
    drop(machine);
    let disk = opened(&image);
    let config = MachineConfig {
        memory_bytes: 8 << 20,
        drives: vec![DriveConfig::new("disk0", DrivePlace::Ide { channel: 0, unit: 0 }, Media::Disk)],
        ..config()
    };
    let plan = flat_plan(&config, &numbers());
    let services =
        HostServices { drives: [("disk0".to_owned(), disk)].into(), ..HostServices::new(Arc::new(NoClock)) };
    let model = Arc::new(CpuModel::parse("x86-64-v3", 1_000_000_000).unwrap());
    let mut other = Machine::new(config, model, services, Box::new(plan)).unwrap();
    let error = other.load_snapshot("s").unwrap_err();
    assert!(
        error.contains("another machine's: memory in bytes: it has 4194304, and this one 8388608"),
        "{error}"
    );
}

#[test]
fn a_state_that_a_device_refuses_has_the_machine_start_over_and_wait() {
    // Sections with right checksums, and a device that cannot be so.
    let (mut machine, disk) = with_state(|bytes| {
        let mut reader = trimotor_snapshot::Reader::new(std::io::Cursor::new(std::mem::take(bytes))).unwrap();
        let mut writer = trimotor_snapshot::Writer::new(Vec::new()).unwrap();
        while let Some(mut section) = reader.next().unwrap() {
            if section.name == "device pit" {
                section.content.iter_mut().for_each(|byte| *byte = 0x7F);
            }
            writer.section(&section.name, section.version, &section.content).unwrap();
        }
        *bytes = writer.finish().unwrap();
    });
    let error = load(&mut machine, "s").unwrap_err();
    assert!(error.contains("it was reset, and stands still"), "{error}");
    assert_eq!(first_byte(&disk), 0, "the disk went back");
    let Ok(Reply::Status(status)) = obeys(&mut machine, Command::Status) else { panic!() };
    assert!(status.paused);
    // Resets leave the count of instructions.
    let begun = machine.instructions();
    obeys(&mut machine, Command::Resume).unwrap();
    assert_eq!(machine.run_until(begun + 5000), None);
    assert_eq!(machine.instructions(), begun + 5000);
}
