//! A writer that is killed at any moment leaves an image without errors, with all that was flushed.

use crate::host::{Folder, content, make, writable};
use crate::qemu;
use crate::random::Random;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use trimotor_storage::qcow2::CreateOptions;
use trimotor_test_needs::{QEMU_IMG, Tests};

/// Makes this program the writer: the image's path.
pub const VARIABLE: &str = "TRIMOTOR_WRITE_UNTIL_KILLED";
/// How often the writer is killed [default: 10].
const KILLS_VARIABLE: &str = "TRIMOTOR_KILLS";

const SIZE: u64 = 64 << 20;
const RECORD: u64 = 4096;

pub fn tests() -> Tests {
    Tests::needing(&[QEMU_IMG]).test(a_killed_writer_leaves_a_clean_image)
}

/// The content of record `number` in its `version`th edition.
fn record(number: u64, version: u64) -> Vec<u8> {
    let word = (number << 32 | version).to_le_bytes();
    word.repeat(RECORD as usize / word.len())
}
/// Where record `number` is: all over the disk, so that new tables are needed all the time.
fn place(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9) % (SIZE / RECORD) * RECORD
}

/// Writes records, gives some clusters back, flushes, and says on standard output up to which record all is flushed.
pub fn write_until_killed(image: &Path) -> ! {
    let disk = writable(image);
    let mut out = std::io::stdout().lock();
    let mut number = 0;
    loop {
        for _ in 0..number % 7 + 1 {
            number += 1;
            disk.write(place(number), &record(number, 1)).expect("writes");
        }
        if number % 5 == 0 {
            // The record before the last flush goes; its place is zero then.
            disk.write_zeroes(SIZE + (number % 64) * 65536, 65536, true).expect("writes zeroes");
            disk.write(SIZE + (number % 64) * 65536, &record(number, 2)).expect("writes");
        }
        disk.flush().expect("flushes");
        if writeln!(out, "{number}").and_then(|()| out.flush()).is_err() {
            std::process::exit(0);
        }
    }
}

fn a_killed_writer_leaves_a_clean_image() {
    let kills = std::env::var(KILLS_VARIABLE).ok().and_then(|count| count.parse().ok()).unwrap_or(10);
    let mut random = Random(77);
    let mut leaks = 0;
    for kill in 0..kills {
        let folder = Folder::new("killed");
        let image = folder.path("image.qcow2");
        let lazy_refcounts = kill % 4 == 3;
        let cluster_bytes = [65536, 4096, 65536, 512][kill as usize % 4];
        make(
            &image,
            &CreateOptions { lazy_refcounts, cluster_bytes, ..CreateOptions::new(SIZE + (64 << 16)) },
        );
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .env(VARIABLE, &image)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the writer");
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        let mut flushed: u64 = lines.next().expect("a line").expect("a line").parse().expect("a number");
        std::thread::sleep(Duration::from_micros(random.below(150_000)));
        writer.kill().expect("kills");
        writer.wait().expect("ends");
        for line in lines.map_while(Result::ok) {
            flushed = line.parse().unwrap_or(flushed);
        }
        leaks += u32::from(qemu::check_without_errors(&image));
        let found = content(&image);
        // A later record may lie at the same place.
        let last_at = |at: u64| (1..=flushed).rev().find(|number| place(*number) == at);
        for number in (1..=flushed).rev().take(500) {
            let at = place(number);
            let now = &found[at as usize..][..RECORD as usize];
            let is_later = now.chunks(8).all(|word| word[0..8] == now[0..8]) && {
                let later = u32::from_le_bytes(now[4..8].try_into().unwrap());
                u64::from(later) >= last_at(at).unwrap() && place(u64::from(later)) == at
            };
            assert!(is_later, "kill {kill}: record {number} of {flushed} is lost");
        }
        // It goes on from there, with the refcounts computed anew.
        let disk = writable(&image);
        disk.write(0, &record(1, 9)).expect("writes");
        drop(disk);
        qemu::check(&image);
    }
    // Between two writes that follow each other there is no third way.
    println!("killed {kills} times, {leaks} times between a refcount and its entry");
}
