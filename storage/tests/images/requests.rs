//! Single requests: what policies, formats and guards do with them.

use crate::host::{self, Files, Folder, content, make};
use crate::random::Random;
use std::fs;
use std::os::unix::fs::MetadataExt;
use trimotor_storage::qcow2::CreateOptions;
use trimotor_storage::{BlockError, CacheMode, DetectZeroes, Discard, Format, ImageOptions, open};
use trimotor_test_needs::{Need, Tests};

pub fn tests() -> Tests {
    Tests::new()
        .test(a_snapshot_s_writes_are_gone)
        .test(a_guest_cannot_make_a_raw_image_look_like_another_format)
        .test(a_raw_name_with_another_content_is_asked_for)
        .test(discards_give_space_back)
        .test_needing(&[DIRECT], requests_past_the_page_cache_mix_with_others)
        .test(zeroes_are_detected)
        .test(chains_that_bite_their_tail_are_refused)
}

fn a_snapshot_s_writes_are_gone() {
    let folder = Folder::new("snapshot");
    let image = folder.path("disk.raw");
    fs::write(&image, vec![7; 1 << 20]).unwrap();
    let mut options = ImageOptions::new(&image);
    options.snapshot = true;
    let disk = open(&options, &Files).expect("opens");
    disk.write(5000, &[1; 10_000]).expect("writes");
    let mut now = vec![0; 15_000];
    disk.read(0, &mut now).expect("reads");
    assert!(now[..5000].iter().all(|byte| *byte == 7) && now[5000..].iter().all(|byte| *byte == 1));
    drop(disk);
    assert!(content(&image).iter().all(|byte| *byte == 7));
}

fn a_guest_cannot_make_a_raw_image_look_like_another_format() {
    let folder = Folder::new("guard");
    let image = folder.path("disk");
    fs::write(&image, vec![0; 1 << 20]).unwrap();
    let disk = open(&ImageOptions::new(&image), &Files).expect("opens");
    let header = b"QFI\xfb\0\0\0\x03";
    assert!(matches!(disk.write(0, header), Err(BlockError::WouldLookLike(Format::Qcow2))));
    // Neither in parts.
    disk.write(4, &header[4..]).expect("half of it is harmless");
    assert!(matches!(disk.write(0, &header[..4]), Err(BlockError::WouldLookLike(Format::Qcow2))));
    drop(disk);
    let disk = open(&ImageOptions::new(&image).format(Some(Format::Raw)), &Files).expect("opens");
    disk.write(0, header).expect("who says raw means it");
}

fn a_raw_name_with_another_content_is_asked_for() {
    let folder = Folder::new("name");
    let image = folder.path("disk.img");
    make(&image, &CreateOptions::new(1 << 20));
    let error = open(&ImageOptions::new(&image), &Files).err().expect("it is not guessed").to_string();
    for word in ["disk.img", "format=qcow2", "format=raw"] {
        assert!(error.contains(word), "{error}");
    }
    open(&ImageOptions::new(&image).format(Some(Format::Qcow2)), &Files).expect("it was said");
}

fn discards_give_space_back() {
    let folder = Folder::new("discard");
    let (raw, qcow2) = (folder.path("disk.raw"), folder.path("disk.qcow2"));
    fs::write(&raw, []).unwrap();
    fs::File::options().write(true).open(&raw).unwrap().set_len(8 << 20).unwrap();
    make(&qcow2, &CreateOptions::new(8 << 20));
    for image in [&raw, &qcow2] {
        let used = || fs::metadata(image).unwrap().blocks() * 512;
        let mut options = ImageOptions::new(image);
        options.discard = Discard::Unmap;
        let disk = open(&options, &Files).expect("opens");
        disk.write(0, &vec![9; 8 << 20]).expect("writes");
        disk.flush().expect("flushes");
        assert!(used() >= 8 << 20);
        disk.discard(1 << 20, 6 << 20).expect("discards");
        disk.flush().expect("flushes");
        assert!(used() < 3 << 20, "{}: {} bytes in use", image.display(), used());
        options.discard = Discard::Ignore;
    }
}

/// A file system that goes past the page cache where temporary files are.
const DIRECT: Need = Need {
    name: "direct",
    check: || {
        let folder = Folder::new("direct");
        fs::write(folder.path("file"), [0; 4096]).map_err(|error| error.to_string())?;
        let opened = host::open_direct(&folder.path("file"), true);
        opened.map(|_| ()).map_err(|error| format!("$TMPDIR has no O_DIRECT: {error}"))
    },
};

fn requests_past_the_page_cache_mix_with_others() {
    let folder = Folder::new("direct");
    let (raw, qcow2) = (folder.path("disk.raw"), folder.path("disk.qcow2"));
    fs::write(&raw, vec![0; 4 << 20]).unwrap();
    make(&qcow2, &CreateOptions::new(4 << 20));
    for image in [&raw, &qcow2] {
        let mut options = ImageOptions::new(image);
        options.cache = CacheMode::None;
        let disk = open(&options, &Files).expect("opens");
        let mut random = Random(12);
        let mut model = vec![0; 4 << 20];
        for _ in 0..200 {
            let unit = [512, 4096][random.below(2) as usize];
            let bytes = (random.below(40) + 1) as usize * unit;
            let at = random.below(((model.len() - bytes) / unit) as u64) as usize * unit;
            // At any address in memory.
            let shift = random.below(2) as usize * 8;
            let mut buffer = vec![0; bytes + shift];
            if random.below(2) == 0 {
                buffer[shift..].copy_from_slice(&random.bytes(bytes));
                disk.write(at as u64, &buffer[shift..]).expect("writes");
                model[at..at + bytes].copy_from_slice(&buffer[shift..]);
            } else {
                disk.read(at as u64, &mut buffer[shift..]).expect("reads");
                assert!(buffer[shift..] == model[at..at + bytes], "{bytes} bytes at {at:#x}");
            }
        }
        disk.flush().expect("flushes");
        drop(disk);
        assert!(content(image) == model);
    }
}

fn zeroes_are_detected() {
    let folder = Folder::new("zeroes");
    let image = folder.path("disk.qcow2");
    make(&image, &CreateOptions::new(8 << 20));
    let mut options = ImageOptions::new(&image);
    options.detect_zeroes = DetectZeroes::On;
    let disk = open(&options, &Files).expect("opens");
    disk.write(0, &vec![0; 4 << 20]).expect("writes");
    drop(disk);
    assert!(fs::metadata(&image).unwrap().len() < 1 << 20);
}

fn chains_that_bite_their_tail_are_refused() {
    let folder = Folder::new("loop");
    let (one, other) = (folder.path("one.qcow2"), folder.path("other.qcow2"));
    let on = |name: &str| CreateOptions {
        backing: Some((name.into(), Format::Qcow2)),
        ..CreateOptions::new(1 << 20)
    };
    make(&one, &on("other.qcow2"));
    make(&other, &on("one.qcow2"));
    let error = open(&ImageOptions::new(&one).read_only(), &Files).err().expect("a loop").to_string();
    assert!(error.contains("loop") && error.contains("other.qcow2"), "{error}");
}
