//! Random requests against a model, and `qemu-img` as the judge of the image and its content.

use crate::host::{Folder, content, make, writable};
use crate::qemu;
use std::fs;
use std::path::Path;
use trimotor_storage::BlockBackend;
use trimotor_storage::Format;
use trimotor_storage::qcow2::CreateOptions;
use trimotor_test_needs::{QEMU_IMG, Tests};

pub fn tests() -> Tests {
    Tests::needing(&[QEMU_IMG])
        .test(default_images)
        .test(the_smallest_clusters_and_counts)
        .test(the_largest_clusters)
        .test(images_of_version_2)
        .test(images_with_a_backing_file)
        .test(several_threads)
        .test(what_qemu_wrote_is_read_and_goes_on)
}

/// Random numbers that are the same each time.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 16) % n
    }
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let seed = self.next();
        (0..count as u64).map(|n| (seed.wrapping_mul(n / 7 + 1) >> 32) as u8 | 1).collect()
    }
}

/// A request in units of 512 bytes, some small, some over many clusters.
fn range(random: &mut Random, size: u64, cluster: u64) -> (u64, u64) {
    let most = [512, 4096, cluster, 4 * cluster][random.below(4) as usize].min(size);
    let bytes = (random.below(most / 512) + 1) * 512;
    let offset = random.below((size - bytes) / 512 + 1) * 512;
    // Often at a cluster's start.
    let offset = if random.below(2) == 0 { offset / cluster * cluster } else { offset };
    (offset, bytes.min(size - offset))
}

/// One random request on disk and model.
fn step(random: &mut Random, disk: &dyn BlockBackend, model: &mut [u8], cluster: u64) {
    let (offset, bytes) = range(random, model.len() as u64, cluster);
    let (start, end) = (offset as usize, (offset + bytes) as usize);
    match random.below(12) {
        0..=5 => {
            let data = random.bytes(end - start);
            disk.write(offset, &data).expect("writes");
            model[start..end].copy_from_slice(&data);
        }
        6 => {
            disk.write_zeroes(offset, bytes, random.below(2) == 0).expect("writes zeroes");
            model[start..end].fill(0);
        }
        7 => {
            disk.discard(offset, bytes).expect("discards");
            let mut now = vec![0; end - start];
            disk.read(offset, &mut now).expect("reads");
            assert!(now.iter().zip(&model[start..end]).all(|(now, was)| *now == 0 || now == was));
            model[start..end].copy_from_slice(&now);
        }
        8 => disk.flush().expect("flushes"),
        _ => {
            let mut now = vec![0xAA; end - start];
            disk.read(offset, &mut now).expect("reads");
            assert!(now == model[start..end], "{bytes} bytes at {offset:#x} differ");
        }
    }
}

fn check_random(name: &str, options: &CreateOptions, seed: u64, steps: u32) {
    let folder = Folder::new(name);
    let image = folder.path("image.qcow2");
    let mut random = Random(seed);
    let mut model = vec![0; options.size as usize];
    let mut options = options.clone();
    if let Some((backing, _)) = &options.backing {
        // Smaller than the disk, so that its end is in the middle.
        let below = random.bytes(options.size as usize * 2 / 3 / 512 * 512);
        fs::write(folder.path(backing), &below).unwrap();
        model[..below.len()].copy_from_slice(&below);
        options.backing = Some((backing.clone(), Format::Raw));
    }
    make(&image, &options);
    for round in 0..3 {
        let disk = writable(&image);
        for _ in 0..steps {
            step(&mut random, &*disk, &mut model, options.cluster_bytes);
        }
        drop(disk);
        qemu::check(&image);
        assert!(content(&image) == model, "round {round}: the content differs after it was opened anew");
    }
    let raw = folder.path("model.raw");
    fs::write(&raw, &model).unwrap();
    qemu::compare((&image, "qcow2"), (&raw, "raw"));
}

fn with_clusters(size: u64, cluster_bytes: u64) -> CreateOptions {
    CreateOptions { cluster_bytes, ..CreateOptions::new(size) }
}

fn default_images() {
    check_random("default", &CreateOptions::new((40 << 20) + 512), 1, 300);
}
fn the_smallest_clusters_and_counts() {
    for (seed, refcount_bits) in [(2, 1), (3, 2), (4, 8), (5, 64)] {
        let options = CreateOptions { refcount_bits, ..with_clusters(3 << 20, 512) };
        check_random("small", &options, seed, 400);
    }
}
fn the_largest_clusters() {
    check_random("large", &with_clusters(48 << 20, 2 << 20), 6, 40);
}
fn images_of_version_2() {
    check_random("v2", &CreateOptions { version: 2, ..with_clusters(8 << 20, 4096) }, 7, 400);
    let backing = Some(("base.raw".to_owned(), Format::Raw));
    check_random("v2", &CreateOptions { version: 2, backing, ..with_clusters(8 << 20, 4096) }, 8, 400);
}
fn images_with_a_backing_file() {
    let backing = Some(("base.raw".to_owned(), Format::Raw));
    for (seed, cluster) in [(9, 512), (10, 4096), (11, 65536)] {
        check_random(
            "backing",
            &CreateOptions { backing: backing.clone(), ..with_clusters(6 << 20, cluster) },
            seed,
            300,
        );
    }
}

/// Each thread has every eighth sector of the disk, so that they meet in all clusters.
fn several_threads() {
    const THREADS: u64 = 8;
    let folder = Folder::new("threads");
    let image = folder.path("image.qcow2");
    let size = 2 << 20;
    make(&image, &with_clusters(size, 16384));
    let disk = writable(&image);
    let mut model = vec![0; size as usize];
    let parts: Vec<Vec<(usize, Vec<u8>)>> = std::thread::scope(|scope| {
        let work = |thread: u64, disk: &dyn BlockBackend| {
            let mut random = Random(100 + thread);
            let mut last = Vec::new();
            for round in 0..400 {
                let sector = random.below(size / 512 / THREADS) * THREADS + thread;
                let data = random.bytes(512);
                disk.write(sector * 512, &data).expect("writes");
                let mut now = vec![0; 512];
                disk.read(sector * 512, &mut now).expect("reads");
                assert!(now == data, "thread {thread}, round {round}");
                if round % 50 == 0 {
                    disk.flush().expect("flushes");
                }
                last.push(((sector * 512) as usize, data));
            }
            last
        };
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn({
                    let disk = &disk;
                    move || work(thread, &**disk)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread")).collect()
    });
    for (at, data) in parts.into_iter().flatten() {
        model[at..at + 512].copy_from_slice(&data);
    }
    drop(disk);
    qemu::check(&image);
    assert!(content(&image) == model);
}

fn qemu_writes(image: &Path, random: &mut Random, model: &mut [u8], cluster: u64) {
    let commands = (0..30).map(|_| {
        let (offset, bytes) = range(random, model.len() as u64, cluster);
        let (start, end) = (offset as usize, (offset + bytes) as usize);
        let pattern = random.below(255) + 1;
        if random.below(5) == 0 {
            model[start..end].fill(0);
            return format!("write -z -u {offset} {bytes}");
        }
        model[start..end].fill(pattern as u8);
        format!("write -P {pattern} {offset} {bytes}")
    });
    qemu::io(image, "qcow2", &commands.collect::<Vec<_>>());
}

fn what_qemu_wrote_is_read_and_goes_on() {
    for (seed, creation) in
        [(20, "cluster_size=64k"), (21, "cluster_size=512,refcount_bits=1"), (22, "compat=0.10")]
    {
        let folder = Folder::new("qemu");
        let image = folder.path("image.qcow2");
        let size = 5 << 20;
        qemu::img(&["create", "-f", "qcow2", "-o", creation, image.to_str().unwrap(), &size.to_string()]);
        let mut random = Random(seed);
        let mut model = vec![0; size];
        for _ in 0..3 {
            qemu_writes(&image, &mut random, &mut model, 65536);
            assert!(content(&image) == model, "{creation}: what QEMU wrote");
            let disk = writable(&image);
            (0..100).for_each(|_| step(&mut random, &*disk, &mut model, 65536));
            drop(disk);
            qemu::check(&image);
        }
        let raw = folder.path("model.raw");
        fs::write(&raw, &model).unwrap();
        qemu::compare((&image, "qcow2"), (&raw, "raw"));
    }
}
