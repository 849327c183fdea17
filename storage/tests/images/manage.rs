//! Snapshots, sizes, backing files, checks and repairs, with `qemu-img` as the judge.

use crate::host::{Folder, content, make, qcow2, qcow2_for, writable};
use crate::qemu;
use crate::random::Random;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use trimotor_storage::qcow2::{CreateOptions, Findings, Mode, NewSnapshot, Preallocation, Repair};
use trimotor_test_needs::{QEMU_IMG, Tests};

pub fn tests() -> Tests {
    Tests::needing(&[QEMU_IMG])
        .test(snapshots_come_back)
        .test(qemu_s_snapshots_are_applied)
        .test(disks_grow_and_shrink)
        .test(preallocated_images_are_consistent)
        .test(leaks_and_lost_counts_are_repaired)
        .test(wild_entries_are_found_and_dropped)
        .test(a_destroyed_refcount_block_is_made_anew)
        .test(an_image_that_was_not_closed_is_repaired)
}

fn small_clusters(size: u64) -> CreateOptions {
    CreateOptions { cluster_bytes: 4096, ..CreateOptions::new(size) }
}
/// A snapshot of this name that is to be made.
pub fn named(name: &str) -> NewSnapshot {
    NewSnapshot { name: name.to_owned(), seconds: 1_800_000_000, ..NewSnapshot::default() }
}
fn fill(image: &Path, seed: u64) -> Vec<u8> {
    let disk = writable(image);
    let mut random = Random(seed);
    for _ in 0..40 {
        let bytes = ((random.below(20) + 1) * 512).min(disk.size());
        let offset = random.below((disk.size() - bytes) / 512 + 1) * 512;
        disk.write(offset, &random.bytes(bytes as usize)).expect("writes");
    }
    drop(disk);
    content(image)
}

fn snapshots_come_back() {
    let folder = Folder::new("snapshots");
    let image = folder.path("image.qcow2");
    for options in [small_clusters(2 << 20), CreateOptions { version: 2, ..small_clusters(2 << 20) }] {
        make(&image, &options);
        let mut contents = Vec::new();
        for n in 0..4 {
            contents.push(fill(&image, 50 + n));
            qcow2(&image).create_snapshot(&named(&format!("s{n}"))).expect("a snapshot");
            qemu::check(&image);
        }
        let last = fill(&image, 99);
        qemu::check(&image);
        let list = qemu::img(&["snapshot", "-l", image.to_str().unwrap()]);
        assert!((0..4).all(|n| list.contains(&format!("s{n}"))), "{list}");
        assert!(content(&image) == last);
        for n in [1, 3, 0, 2] {
            qcow2(&image).apply_snapshot(&format!("s{n}")).expect("applies");
            qemu::check(&image);
            assert!(content(&image) == contents[n], "snapshot {n}");
            fill(&image, 200 + n as u64);
            qemu::check(&image);
        }
        for name in ["s2", "s0", "s3"] {
            qcow2(&image).delete_snapshot(name).expect("deletes");
            qemu::check(&image);
        }
        // QEMU reads the one that is left.
        qemu::img(&["snapshot", "-a", "s1", image.to_str().unwrap()]);
        assert!(content(&image) == contents[1]);
        qcow2(&image).delete_snapshot("s1").expect("deletes");
        qemu::check(&image);
    }
    assert!(qcow2(&image).apply_snapshot("gone").is_err());
}

fn qemu_s_snapshots_are_applied() {
    let folder = Folder::new("snapshots");
    let image = folder.path("image.qcow2");
    let path = image.to_str().unwrap();
    qemu::img(&["create", "-f", "qcow2", path, "3M"]);
    let first = fill(&image, 1);
    qemu::img(&["snapshot", "-c", "first", path]);
    qemu::img(&["resize", path, "5M"]);
    fill(&image, 2);
    qcow2(&image).apply_snapshot("first").expect("applies");
    assert!(content(&image) == first);
    qemu::check(&image);
    qemu::img(&["snapshot", "-d", "first", path]);
    qemu::check(&image);
}

fn disks_grow_and_shrink() {
    let folder = Folder::new("sizes");
    let image = folder.path("image.qcow2");
    make(&image, &CreateOptions { cluster_bytes: 512, ..CreateOptions::new(100 << 10) });
    let mut wanted = fill(&image, 3);
    for size in [100 << 10, 3 << 20, (1 << 20) + 512, 900, 8 << 20] {
        qcow2(&image).resize(size).expect("resizes");
        qemu::check(&image);
        wanted.resize((size as usize).next_multiple_of(512), 0);
        assert!(content(&image) == wanted, "{size} bytes");
        wanted = fill(&image, size);
        qemu::check(&image);
    }
}

fn preallocated_images_are_consistent() {
    let folder = Folder::new("preallocated");
    let image = folder.path("image.qcow2");
    for preallocation in [Preallocation::Metadata, Preallocation::Full] {
        for (cluster_bytes, refcount_bits) in [(65536, 16), (512, 1), (4096, 64)] {
            let options =
                CreateOptions { preallocation, cluster_bytes, refcount_bits, ..CreateOptions::new(5 << 20) };
            make(&image, &options);
            qemu::check(&image);
            assert!(content(&image).iter().all(|byte| *byte == 0));
            let before = fs::metadata(&image).unwrap().len();
            fill(&image, 4);
            assert_eq!(fs::metadata(&image).unwrap().len(), before, "nothing new was needed");
            qemu::check(&image);
        }
    }
}

/// Changes eight bytes of a file.
fn spoil(image: &Path, at: u64, with: u64) {
    let file = File::options().write(true).open(image).unwrap();
    file.write_all_at(&with.to_be_bytes(), at).unwrap();
}
fn word(image: &Path, at: u64) -> u64 {
    let mut bytes = [0; 8];
    File::open(image).unwrap().read_exact_at(&mut bytes, at).unwrap();
    u64::from_be_bytes(bytes)
}
fn check(image: &Path, repair: Repair) -> Findings {
    let mode = if repair == Repair::Nothing { Mode::Check } else { Mode::Repair };
    let image = qcow2_for(image, mode);
    let found = image.check(repair).expect("a check");
    image.close().expect("closes");
    found
}

const L1_AT: u64 = 40;
const REFCOUNT_TABLE_AT: u64 = 48;
const OFFSET: u64 = 0x00FF_FFFF_FFFF_FE00;

fn leaks_and_lost_counts_are_repaired() {
    let folder = Folder::new("repair");
    let image = folder.path("image.qcow2");
    make(&image, &small_clusters(1 << 20));
    let wanted = fill(&image, 6);
    assert_eq!(check(&image, Repair::Nothing).errors, 0);
    let block = word(&image, word(&image, REFCOUNT_TABLE_AT)) & OFFSET;
    // Counts of 16 bits: four clusters lose theirs, and four far behind get some.
    spoil(&image, block + 8, 0);
    spoil(&image, block + 2 * 2000, 0x0001_0001_0001_0001);
    let found = check(&image, Repair::Nothing);
    assert_eq!((found.errors, found.leaks), (4, 4), "{found:?}");
    let found = check(&image, Repair::Leaks);
    assert_eq!((found.errors_repaired, found.leaks_repaired), (0, 4), "{found:?}");
    let found = check(&image, Repair::All);
    assert_eq!((found.errors_repaired, found.leaks), (4, 0), "{found:?}");
    qemu::check(&image);
    assert!(content(&image) == wanted);
}

fn wild_entries_are_found_and_dropped() {
    let folder = Folder::new("repair");
    let image = folder.path("image.qcow2");
    make(&image, &small_clusters(1 << 20));
    fill(&image, 7);
    let l2 = word(&image, word(&image, L1_AT)) & OFFSET;
    for (entry, with) in [(0, 1 << 63 | 0x1_0000_0000_0000), (1, 1 << 63 | 0x1_0200)] {
        spoil(&image, l2 + entry * 8, with);
    }
    let found = check(&image, Repair::Nothing);
    assert!(found.errors >= 2, "{found:?}");
    let found = check(&image, Repair::All);
    assert_eq!(found.errors, found.errors_repaired, "{found:?}");
    qemu::check(&image);
    content(&image);
}

fn a_destroyed_refcount_block_is_made_anew() {
    let folder = Folder::new("repair");
    let image = folder.path("image.qcow2");
    for with in [0, 0x1_0000_0000_0000, 0x200] {
        make(&image, &small_clusters(1 << 20));
        let wanted = fill(&image, 8);
        spoil(&image, word(&image, REFCOUNT_TABLE_AT), with);
        assert!(check(&image, Repair::Nothing).errors > 0);
        let found = check(&image, Repair::All);
        assert_eq!(found.errors, found.errors_repaired, "{found:?}");
        qemu::check(&image);
        assert!(content(&image) == wanted);
    }
}

fn an_image_that_was_not_closed_is_repaired() {
    let folder = Folder::new("repair");
    let image = folder.path("image.qcow2");
    make(&image, &small_clusters(1 << 20));
    let wanted = fill(&image, 9);
    let block = word(&image, word(&image, REFCOUNT_TABLE_AT)) & OFFSET;
    spoil(&image, block + 8, 0);
    // The dirty bit.
    spoil(&image, 72, 1);
    let disk = writable(&image);
    disk.write(0, &[1; 512]).expect("writes");
    drop(disk);
    qemu::check(&image);
    assert!(content(&image)[512..] == wanted[512..]);
    assert_eq!(word(&image, 72), 0);
}
