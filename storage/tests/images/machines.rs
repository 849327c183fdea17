//! States of machines beside snapshots: whole, listed by `qemu-img`, and never half of two.

use crate::failing;
use crate::host::{Folder, content, make, qcow2, writable};
use crate::manage::named;
use crate::qemu;
use crate::random::Random;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use trimotor_storage::qcow2::{CreateOptions, NewSnapshot, Qcow2};
use trimotor_storage::{BlockBackend, BlockError};
use trimotor_test_needs::{QEMU_IMG, Tests};

/// Makes this program the one that takes snapshots: the image's path.
pub const VARIABLE: &str = "TRIMOTOR_SNAPSHOTS_UNTIL_KILLED";

pub fn tests() -> Tests {
    Tests::needing(&[QEMU_IMG])
        .test(machines_stand_beside_snapshots)
        .test(a_machine_that_was_left_behind_is_no_part_of_the_disk)
        .test(a_failing_host_leaves_the_old_snapshot_or_the_new_one)
        .test(a_killed_program_leaves_the_old_snapshot_or_the_new_one)
}

/// The state of machine `number`: its length differs with it.
fn state(number: u64, most: usize) -> Vec<u8> {
    let mut random = Random(number + 1);
    let bytes = most / 2 + random.below(most as u64 / 2) as usize;
    random.bytes(bytes)
}
/// Takes a snapshot with a machine, in the place of the one before.
fn take(image: &Qcow2, name: &str, state: &[u8]) -> Result<(), BlockError> {
    let mut out = image.write_vm_state()?;
    let failed = |error: io::Error| match error.downcast::<BlockError>() {
        Ok(error) => error,
        Err(error) => error.into(),
    };
    // In pieces that fit nothing.
    state.chunks(77_777).try_for_each(|piece| out.write_all(piece)).map_err(failed)?;
    let vm_state_bytes = out.finish()?;
    assert_eq!(vm_state_bytes, state.len() as u64);
    image.create_snapshot(&NewSnapshot {
        vm_clock_ns: 3_723_004_000_000,
        vm_state_bytes,
        instructions: Some(42),
        replaces: true,
        ..named(name)
    })
}
fn taken(image: &Qcow2, name: &str) -> Vec<u8> {
    let snapshots = image.snapshots().expect("a table");
    let snapshot = snapshots.iter().find(|snapshot| snapshot.name == name).expect("the snapshot");
    let mut state = Vec::new();
    image.read_vm_state(snapshot).expect("a state").read_to_end(&mut state).expect("reads");
    state
}

fn machines_stand_beside_snapshots() {
    let folder = Folder::new("machines");
    let image = folder.path("image.qcow2");
    let path = image.to_str().unwrap();
    for (cluster_bytes, version) in [(4096, 3), (512, 3), (65536, 2)] {
        make(&image, &CreateOptions { cluster_bytes, version, ..CreateOptions::new(700 << 10) });
        let first = vec![1; 700 << 10];
        writable(&image).write(0, &first).expect("writes");
        let (one, two, three) = (state(1, 3 << 20), state(2, 3 << 20), state(3, 3 << 20));
        take(&qcow2(&image), "one", &one).expect("a snapshot");
        qemu::check(&image);
        writable(&image).write(5000, &[2; 9000]).expect("writes");
        take(&qcow2(&image), "two", &two).expect("a snapshot");
        qemu::check(&image);
        let list = qemu::img(&["snapshot", "-l", path]);
        assert!(list.contains("one") && list.contains("01:02:03.004"), "{list}");
        assert!(list.contains("MiB"), "{list}");
        let disk = qcow2(&image);
        assert!(taken(&disk, "one") == one && taken(&disk, "two") == two);
        let snapshots = disk.snapshots().expect("a table");
        assert_eq!(snapshots[0].instructions, Some(42));
        let mut reader = disk.read_vm_state(&snapshots[0]).expect("a state");
        let mut byte = [0];
        assert_eq!(reader.seek(SeekFrom::Start(123_456)).expect("seeks"), 123_456);
        reader.read_exact(&mut byte).expect("reads");
        assert_eq!(byte[0], one[123_456]);
        assert_eq!(reader.seek(SeekFrom::Start(u64::MAX)).expect("seeks"), one.len() as u64);
        // The disk goes back, and the states are where they were.
        disk.apply_snapshot("one").expect("applies");
        assert!(taken(&disk, "two") == two);
        drop(disk);
        qemu::check(&image);
        assert!(content(&image) == first);
        // QEMU goes to one, with the machine in the active tables.
        qemu::img(&["snapshot", "-a", "two", path]);
        qemu::check(&image);
        take(&qcow2(&image), "one", &three).expect("a snapshot");
        qemu::check(&image);
        let disk = qcow2(&image);
        assert!(taken(&disk, "one") == three && taken(&disk, "two") == two);
        assert_eq!(disk.snapshots().expect("a table").len(), 2);
        disk.delete_snapshot("two").expect("deletes");
        drop(disk);
        qemu::check(&image);
        qemu::img(&["snapshot", "-d", "one", path]);
        qemu::check(&image);
    }
}

fn a_machine_that_was_left_behind_is_no_part_of_the_disk() {
    let folder = Folder::new("left-behind");
    let image = folder.path("image.qcow2");
    make(&image, &CreateOptions { cluster_bytes: 4096, ..CreateOptions::new(1 << 20) });
    let disk = qcow2(&image);
    let mut out = disk.write_vm_state().expect("a state");
    out.write_all(&state(1, 5 << 20)).expect("writes");
    out.finish().expect("writes");
    drop(disk);
    qemu::check(&image);
    qcow2(&image).resize(8 << 20).expect("resizes");
    qemu::check(&image);
    assert!(content(&image) == vec![0; 8 << 20]);
}

fn a_failing_host_leaves_the_old_snapshot_or_the_new_one() {
    let folder = Folder::new("failing-machines");
    let image = folder.path("image.qcow2");
    let (old, new) = (state(1, 200 << 10), state(2, 200 << 10));
    let mut whole = 0;
    for writes in (0..).step_by(3) {
        make(&image, &CreateOptions { cluster_bytes: 4096, ..CreateOptions::new(1 << 20) });
        writable(&image).write(0, &[7; 100_000]).expect("writes");
        take(&qcow2(&image), "s", &old).expect("a snapshot");
        let (disk, left) = failing::open(&image, io::ErrorKind::StorageFull, writes);
        let done = take(&disk, "s", &new);
        // The program ends here, without a word.
        left.store(0, Ordering::Relaxed);
        drop(disk);
        let found = taken(&qcow2(&image), "s");
        // Whoever opens an image that was not closed computes its refcounts anew: no leak is left.
        qemu::check(&image);
        assert!(found == new || done.is_err() && found == old, "{writes} writes");
        let rest = &content(&image)[..100_000];
        assert!(rest == [7; 100_000], "{writes} writes");
        if done.is_ok() {
            whole += 1;
            if whole == 3 {
                assert!(writes > 20, "only {writes} writes");
                return;
            }
        }
    }
}

/// Takes snapshots, and says on standard output which.
pub fn take_until_killed(image: &Path) -> ! {
    let disk = qcow2(image);
    let mut out = io::stdout().lock();
    for number in 0.. {
        disk.write(number * 4096 % (1 << 20), &[number as u8; 4096]).expect("writes");
        take(&disk, "s", &state(number, 1 << 20)).expect("a snapshot");
        if writeln!(out, "{number}").and_then(|()| out.flush()).is_err() {
            break;
        }
    }
    std::process::exit(0);
}

fn a_killed_program_leaves_the_old_snapshot_or_the_new_one() {
    let mut random = Random(5);
    for kill in 0..8 {
        let folder = Folder::new("killed-machines");
        let image = folder.path("image.qcow2");
        make(
            &image,
            &CreateOptions { cluster_bytes: [4096, 65536][kill % 2], ..CreateOptions::new(1 << 20) },
        );
        let mut program = Command::new(std::env::current_exe().unwrap())
            .env(VARIABLE, &image)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program");
        let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
        let mut last = 0;
        for _ in 0..=random.below(4) {
            last = lines.next().expect("a line").expect("a line").parse().expect("a number");
        }
        // Somewhere in the next ones.
        for _ in 0..random.below(200_000) {
            std::hint::spin_loop();
        }
        program.kill().expect("kills");
        program.wait().expect("ends");
        for line in lines.map_while(Result::ok) {
            last = line.parse().unwrap_or(last);
        }
        let found = taken(&qcow2(&image), "s");
        assert!(
            found == state(last, 1 << 20) || found == state(last + 1, 1 << 20),
            "kill {kill} after {last}"
        );
        qemu::check(&image);
    }
}
