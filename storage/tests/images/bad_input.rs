//! Damaged and hostile images: one clear message each, and nothing is written.

use crate::host::{Files, Folder, make};
use crate::qemu;
use std::fs;
use trimotor_storage::qcow2::CreateOptions;
use trimotor_storage::{Format, ImageOptions, open};
use trimotor_test_needs::{QEMU_IMG, Tests};

pub fn tests() -> Tests {
    Tests::new()
        .test(qcow2_headers)
        .test(truncated_qcow2)
        .test(wrong_and_unknown_formats)
        .test(files_that_hold_no_image)
        .test(backing_files_that_cannot_be)
        .test(tables_that_point_to_tables)
        .test_needing(&[QEMU_IMG], vmdk_vhd_and_vdi)
}

/// Opens an image, which must be refused with all of these words, and must stay as it is.
#[track_caller]
fn check_refused(bytes: &[u8], format: Option<Format>, words: &[&str]) {
    let folder = Folder::new("bad");
    let image = folder.path("bad.image");
    fs::write(&image, bytes).unwrap();
    for options in [ImageOptions::new(&image), ImageOptions::new(&image).read_only()] {
        let error = match open(&options.format(format), &Files) {
            Err(error) => error.to_string(),
            Ok(disk) => disk.read(0, &mut [0; 512]).expect_err("it is refused").to_string() + "bad.image",
        };
        assert!(words.iter().chain(&["bad.image"]).all(|word| error.contains(word)), "{words:?} in: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
    assert!(fs::read(&image).unwrap() == bytes, "it was written to");
}

/// A small valid image.
fn qcow2() -> Vec<u8> {
    let folder = Folder::new("good");
    let image = folder.path("image.qcow2");
    make(&image, &CreateOptions { cluster_bytes: 4096, ..CreateOptions::new(4 << 20) });
    let disk = crate::host::writable(&image);
    disk.write(0, &[7; 100_000]).expect("writes");
    drop(disk);
    fs::read(&image).unwrap()
}
fn with(mut bytes: Vec<u8>, at: usize, patch: &[u8]) -> Vec<u8> {
    bytes[at..at + patch.len()].copy_from_slice(patch);
    bytes
}

fn qcow2_headers() {
    let absurd = u64::MAX.to_be_bytes();
    let cases: [(usize, &[u8], &[&str]); 16] = [
        (4, &9u32.to_be_bytes(), &["version 9"]),
        (20, &40u32.to_be_bytes(), &["2^40"]),
        (20, &8u32.to_be_bytes(), &["2^8"]),
        (24, &absurd, &["a disk of"]),
        (24, &(1u64 << 50).to_be_bytes(), &["L1 table", "needs"]),
        (32, &2u32.to_be_bytes(), &["encryption (LUKS)", "not supported"]),
        (36, &u32::MAX.to_be_bytes(), &["L1 table of 4294967295"]),
        (40, &0x1234u64.to_be_bytes(), &["L1 table at 0x1234"]),
        (40, &(1u64 << 40).to_be_bytes(), &["L1 table", "truncated"]),
        (48, &absurd, &["refcount table"]),
        (56, &u32::MAX.to_be_bytes(), &["refcount table of 4294967295 clusters"]),
        (60, &u32::MAX.to_be_bytes(), &["4294967295 snapshots"]),
        (72, &4u64.to_be_bytes(), &["external data file (bit 2)"]),
        (72, &(16u64 | 1 << 60).to_be_bytes(), &["extended L2 entries (bit 4)", "bit 60"]),
        (96, &7u32.to_be_bytes(), &["refcounts of 2^7 bits"]),
        (100, &0x7FFF_FFFFu32.to_be_bytes(), &["header of 2147483647 bytes"]),
    ];
    for (at, patch, words) in cases {
        check_refused(&with(qcow2(), at, patch), Some(Format::Qcow2), words);
    }
    // The image's own name of a feature is told.
    let unknown = with(qcow2(), 72, &(1u64 << 20).to_be_bytes());
    check_refused(
        &with(unknown, 120, b"\0\x14time machine\0"),
        Some(Format::Qcow2),
        &["time machine (bit 20)"],
    );
    check_refused(&with(qcow2(), 116, &[0xFF; 4]), Some(Format::Qcow2), &["header extension"]);
    check_refused(&with(qcow2(), 104, &[1]), Some(Format::Qcow2), &["compression type 1", "contradicts"]);
}

fn truncated_qcow2() {
    let whole = qcow2();
    check_refused(&whole[..40], Some(Format::Qcow2), &["too few"]);
    check_refused(&whole[..4096], Some(Format::Qcow2), &["truncated"]);
    // Its tables are there, its data is not.
    let folder = Folder::new("truncated");
    let image = folder.path("image.qcow2");
    fs::write(&image, &whole[..whole.len() - 60_000]).unwrap();
    let disk = open(&ImageOptions::new(&image), &Files).expect("opens");
    let error = disk.read(90_000, &mut [0; 512]).expect_err("it is not there").to_string();
    assert!(error.contains("truncated"), "{error}");
}

fn wrong_and_unknown_formats() {
    for format in [Format::Qcow2, Format::Vmdk, Format::Vhd, Format::Vdi] {
        for bytes in [&b""[..], b"no image", &[0x55; 70_000]] {
            let word = if format == Format::Qcow2 { "qcow2" } else { "" };
            check_refused(bytes, Some(format), &[word]);
        }
    }
}

fn files_that_hold_no_image() {
    let folder = Folder::new("kinds");
    let folder_as_image = ImageOptions::new(folder.path("")).read_only();
    let error = open(&folder_as_image, &Files).err().expect("a folder").to_string();
    assert!(error.contains("folder"), "{error}");
    let error = open(&ImageOptions::new(folder.path("gone")), &Files).err().expect("nothing").to_string();
    assert!(error.contains("gone") && error.contains("No such file"), "{error}");
}

fn backing_files_that_cannot_be() {
    let cases = [
        ("nbd:host:10809", Format::Raw, "nbd: is not supported"),
        ("json:{\"driver\":\"nbd\"}", Format::Raw, "json: is not supported"),
        ("gone.raw", Format::Raw, "gone.raw"),
        ("image.qcow2", Format::Qcow2, "loop"),
    ];
    for (name, format, word) in cases {
        let folder = Folder::new("backing");
        let image = folder.path("image.qcow2");
        make(&image, &CreateOptions { backing: Some((name.into(), format)), ..CreateOptions::new(1 << 20) });
        let error = open(&ImageOptions::new(&image).read_only(), &Files).err().expect("refused").to_string();
        assert!(error.contains(word), "{error}");
    }
}

/// A guest's data must not get over tables, whatever an L2 entry says.
fn tables_that_point_to_tables() {
    let bytes = qcow2();
    let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
    let l1 = number(40) as usize;
    let l2 = (number(l1) & 0xFF_FFFF_FFFF_FE00) as usize;
    let refcounts = number(48);
    for target in [0, l1 as u64, l2 as u64, refcounts] {
        let folder = Folder::new("overlap");
        let image = folder.path("image.qcow2");
        let entry = if target == 0 { 1 << 63 | 0x1000 } else { 1 << 63 | target };
        let spoilt = with(bytes.clone(), l2, &entry.to_be_bytes());
        fs::write(&image, &spoilt).unwrap();
        let disk = open(&ImageOptions::new(&image), &Files).expect("opens");
        let written = disk.write(0, &[0xFF; 512]);
        if target != 0 {
            assert!(written.expect_err("it would destroy a table").to_string().contains("tables"));
            drop(disk);
            assert!(fs::read(&image).unwrap() == spoilt);
        }
    }
}

fn vmdk_vhd_and_vdi() {
    let good = |format: &str, options: &str| {
        let folder = Folder::new("good");
        let (raw, image) = (folder.path("raw"), folder.path("image"));
        fs::write(&raw, vec![3; 1 << 20]).unwrap();
        let (raw, path) = (raw.to_str().unwrap(), image.to_str().unwrap());
        qemu::img(&["convert", "-f", "raw", "-O", format, "-o", options, raw, path]);
        fs::read(&image).unwrap()
    };
    let vmdk = good("vmdk", "subformat=monolithicSparse");
    let stream = good("vmdk", "subformat=streamOptimized");
    let cases: [(Vec<u8>, &[&str]); 6] = [
        (with(vmdk.clone(), 20, &[3]), &["grains of 3 sectors"]),
        (with(vmdk.clone(), 12, &[0xFF; 8]), &["sectors"]),
        (with(vmdk.clone(), 44, &[0xFF; 4]), &["tables of 4294967295 entries"]),
        (with(vmdk.clone(), 56, &[0xFE; 8]), &["grain directory", "truncated"]),
        (with(vmdk, 4, &[9]), &["version 9"]),
        (stream[..stream.len() / 2].to_vec(), &["truncated"]),
    ];
    for (bytes, words) in cases {
        check_refused_for_reading(&bytes, Format::Vmdk, words);
    }
    let clone = b"# Disk DescriptorFile\nversion=1\nparentCID=12345678\nRW 2048 FLAT \"f\" 0\n";
    check_refused_for_reading(clone, Format::Vmdk, &["parent"]);
    let gone = b"# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\nRW 2048 FLAT \"gone.vmdk\" 0\n";
    check_refused_for_reading(gone, Format::Vmdk, &["gone.vmdk"]);
    let vhd = good("vpc", "subformat=dynamic");
    let end = vhd.len();
    check_refused_for_reading(&with(vhd.clone(), end - 512 + 48, &[1]), Format::Vhd, &["checksum"]);
    check_refused_for_reading(&with(vhd, 512 + 28, &[0xFF; 4]), Format::Vhd, &["checksum"]);
    let vdi = good("vdi", "static=off");
    check_refused_for_reading(&with(vdi.clone(), 0x178, &[1, 2, 3, 4]), Format::Vdi, &["blocks of"]);
    check_refused_for_reading(&with(vdi.clone(), 0x170, &[0x7F; 8]), Format::Vdi, &["disk of"]);
    check_refused_for_reading(&with(vdi.clone(), 0x4C, &[4]), Format::Vdi, &["differencing"]);
    check_refused_for_reading(&vdi[..vdi.len() / 2], Format::Vdi, &["truncated"]);
}

#[track_caller]
fn check_refused_for_reading(bytes: &[u8], format: Format, words: &[&str]) {
    let folder = Folder::new("bad");
    let image = folder.path("bad.image");
    fs::write(&image, bytes).unwrap();
    let opened = open(&ImageOptions::new(&image).read_only().format(Some(format)), &Files);
    let error = match opened {
        Err(error) => error.to_string(),
        Ok(disk) => disk.read(disk.size() - 512, &mut [0; 512]).expect_err("it is refused").to_string(),
    };
    assert!(words.iter().all(|word| error.contains(word)), "{words:?} in: {error}");
}
