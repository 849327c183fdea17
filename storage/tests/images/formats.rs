//! Images that `qemu-img` made in other programs' formats are read, and compared with what they were made from.

use crate::host::{Files, Folder, content};
use crate::qemu;
use crate::random::Random;
use std::fs;
use std::path::Path;
use trimotor_storage::{Format, ImageOptions, format_of, open};
use trimotor_test_needs::{QEMU_IMG, Tests};

pub fn tests() -> Tests {
    Tests::needing(&[QEMU_IMG])
        .test(vmdk_of_each_kind)
        .test(vhd_fixed_and_dynamic)
        .test(vdi_dynamic_and_fixed)
        .test(compressed_qcow2_by_zlib_and_zstd)
        .test(other_formats_are_refused_for_writing)
}

/// A disk with data, zeroes and a hole.
fn disk(folder: &Folder) -> std::path::PathBuf {
    let raw = folder.path("disk.raw");
    let mut random = Random(5);
    let mut bytes = random.bytes(3 << 20);
    bytes.resize(5 << 20, 0);
    bytes.extend(random.bytes(70_000));
    bytes.resize(12 << 20, 0);
    fs::write(&raw, &bytes).unwrap();
    raw
}

/// Converts the disk with qemu-img, and reads it.
fn check(format: Format, options: &str, compressed: bool) {
    let folder = Folder::new(format.name());
    let raw = disk(&folder);
    let image = folder.path("image");
    let mut arguments = vec!["convert", "-f", "raw", "-O", format.name()];
    if !options.is_empty() {
        arguments.extend(["-o", options]);
    }
    if compressed {
        arguments.push("-c");
    }
    arguments.extend([raw.to_str().unwrap(), image.to_str().unwrap()]);
    qemu::img(&arguments);
    assert_eq!(format_of(&ImageOptions::new(&image), &Files).expect("a format"), format, "{options}");
    let found = content(&image);
    let mut wanted = fs::read(&raw).unwrap();
    // A VHD's geometry rounds up.
    wanted.resize(found.len().max(wanted.len()), 0);
    assert!(found == wanted, "{format} {options}");
    extents_cover_the_disk(&image, &wanted);
}

/// What is said to be zero is zero, and each byte is in one extent.
fn extents_cover_the_disk(image: &Path, wanted: &[u8]) {
    let disk = open(&ImageOptions::new(image).read_only(), &Files).expect("opens");
    let mut at = 0;
    while at < disk.size() {
        let extent = disk.extent(at, disk.size() - at).expect("an extent");
        assert!(extent.bytes > 0);
        let range = &wanted[at as usize..(at + extent.bytes) as usize];
        assert!(!extent.is_zero || range.iter().all(|byte| *byte == 0));
        at += extent.bytes;
    }
    assert_eq!(at, disk.size());
}

fn vmdk_of_each_kind() {
    for kind in ["monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"] {
        check(Format::Vmdk, &format!("subformat={kind}"), false);
    }
    check(Format::Vmdk, "subformat=streamOptimized", false);
}
fn vhd_fixed_and_dynamic() {
    check(Format::Vhd, "subformat=dynamic", false);
    check(Format::Vhd, "subformat=fixed", false);
    check(Format::Vhd, "subformat=dynamic,force_size=on", false);
}
fn vdi_dynamic_and_fixed() {
    check(Format::Vdi, "", false);
    check(Format::Vdi, "static=on", false);
}
fn compressed_qcow2_by_zlib_and_zstd() {
    check(Format::Qcow2, "", true);
    check(Format::Qcow2, "compression_type=zstd", true);
    check(Format::Qcow2, "cluster_size=2M,compression_type=zstd", true);
    check(Format::Qcow2, "cluster_size=512", true);
}

fn other_formats_are_refused_for_writing() {
    let folder = Folder::new("refused");
    let image = folder.path("image.vmdk");
    qemu::img(&["create", "-f", "vmdk", image.to_str().unwrap(), "1M"]);
    let error = open(&ImageOptions::new(&image), &Files).err().expect("read only").to_string();
    assert!(
        error.contains("image.vmdk") && error.contains("convert") && error.contains("snapshot=on"),
        "{error}"
    );
    let mut options = ImageOptions::new(&image);
    options.snapshot = true;
    let disk = open(&options, &Files).expect("opens");
    disk.write(0, &[1; 512]).expect("writes to the overlay");
}
