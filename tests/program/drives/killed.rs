//! The program is killed amid a guest's writes, at any moment: the image has no errors, and what the guest had flushed is there.
//!
//! The guest writes sectors here and there, flushes after each, and says its number on COM1. The test kills the program (SIGKILL)
//! once some of them have been said, has QEMU's tools look at the image, and goes on with the same image.
//!
//! `TRIMOTOR_KILLS` says how often; 200 is a good number for one who changed the order of writes.

use super::guest::{Folder, host};
use super::writer::{SECTORS, STRIDE, writer};
use crate::support::needs::{QEMU_IMG, Tests};
use crate::support::program::executable;
use crate::support::small_guest::small_guest;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

/// How often, unless the environment says it.
const KILLS: u32 = 12;
/// Writes before a kill at most.
const MOST_WRITES: u32 = 300;

pub fn tests() -> Tests {
    Tests::needing(&[QEMU_IMG]).test(what_was_flushed_survives_kills)
}

/// Runs the guest until it has said `writes` numbers, and kills the program; how many it said until it was dead.
fn run_and_kill(kernel: &str, image: &str, writes: u32) -> u32 {
    let drive = format!("file={image},format=qcow2");
    let mut child = Command::new(executable())
        .args(["run", "--kernel", kernel, "--memory", "16M", "--nographic", "--serial", "stdio"])
        .args(["--drive", &drive])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("trimotor starts");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut said = 0;
    let mut check = |line: &str| {
        // The last one may be cut.
        if let Some(number) = line.strip_suffix('\n') {
            assert_eq!(u32::from_str_radix(number, 16), Ok(said), "{line:?}");
            said += 1;
        }
    };
    for _ in 0..writes {
        let mut line = String::new();
        output.read_line(&mut line).expect("the pipe can be read");
        assert!(line.ends_with('\n'), "the program ended by itself");
        check(&line);
    }
    child.kill().expect("it runs");
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("the pipe can be read");
    rest.split_inclusive('\n').for_each(check);
    child.wait().expect("it is a child");
    said
}

fn what_was_flushed_survives_kills() {
    let kills = std::env::var("TRIMOTOR_KILLS").map_or(KILLS, |text| text.parse().expect("a number"));
    let folder = Folder::new("killed");
    let base = folder.file("base.raw", &vec![0xB5; SECTORS as usize * 512]);
    // Small clusters, a disk on another one, refcounts that are written late, and the usual.
    let images: [&[&str]; 4] = [
        &["-o", "cluster_size=4k"],
        &["-b", &base, "-F", "raw"],
        &["-o", "lazy_refcounts=on"],
        &["-o", "compat=0.10"],
    ];
    let mut expected: Vec<(String, u32, BTreeMap<u32, u32>)> = Vec::new();
    for (number, options) in images.iter().enumerate() {
        let image = folder.path(&format!("{number}.qcow2"));
        host("qemu-img", &[&["create", "-q", "-f", "qcow2"], *options, &[&image, "32M"]].concat());
        expected.push((image, if number == 1 { 0xB5B5_B5B5 } else { 0 }, BTreeMap::new()));
    }
    let mut random = 0x2545_F491_4F6C_DD1Du64;
    for run in 0..kills {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let (image, blank, content) = &mut expected[run as usize % images.len()];
        let guest = small_guest("writer", &writer(run + 1).expect("a program"));
        let said = run_and_kill(&guest.path(), image, 1 + random as u32 % MOST_WRITES);
        // 3 is leaked clusters alone, which cost space and nothing else.
        let check = Command::new("qemu-img").args(["check", "-q", "-f", "qcow2", image]).output();
        let check = check.expect("qemu-img runs");
        let messages = String::from_utf8_lossy(&check.stderr);
        assert!(matches!(check.status.code(), Some(0 | 3)), "kill {run} of {image}: {messages}");
        let raw = folder.path("content.raw");
        host("qemu-img", &["convert", "-f", "qcow2", "-O", "raw", image, &raw]);
        let found = std::fs::read(&raw).expect("a raw image");
        content.extend((0..said).map(|n| (n * STRIDE % SECTORS, (run + 1) << 16 | n)));
        for (sector, bytes) in (0..).zip(found.chunks_exact(512)) {
            let first = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            let whole = bytes.chunks_exact(4).all(|dword| dword == first.to_le_bytes());
            let wanted = content.get(&sector).copied().unwrap_or(*blank);
            // Writes after the last that was said may have happened, or not. There may be several: what the guest says goes through
            // a queue of the program, which a kill empties.
            let number = first & 0xFFFF;
            let under_way = first >> 16 == run + 1 && number >= said && number * STRIDE % SECTORS == sector;
            if under_way {
                content.insert(sector, first);
            }
            assert!(
                whole && (first == wanted || under_way),
                "kill {run} of {image}: sector {sector} is {first:#x}, expected {wanted:#x}; {said} writes"
            );
        }
    }
}
