//! The BIOS's services, on our BIOS, and on SeaBIOS here and under QEMU, as an oracle: a floppy makes the same calls on all
//! of them.

mod calls;
mod differences;
pub mod probe;

use super::oracle::{self, Answers, Difference, Floppy};
use crate::support::engines::{ENGINE_NAMES, JIT};
use crate::support::needs::{QEMU, Tests};
use crate::support::program::run_to_end;
use differences::{OURS, SEABIOS_HERE, VARYING};

pub fn tests() -> Tests {
    Tests::new()
        .test_needing(&[QEMU, JIT], services_answer_as_those_of_seabios_under_qemu)
        .each(&ENGINE_NAMES, without_a_drive_the_bios_says_so)
}

/// On this machine, with SeaBIOS and a video BIOS of its own where `seabios` says so.
fn here(engine: &str, seabios: bool) -> Answers {
    let more: &[&str] =
        if seabios { &["--bios", oracle::SEABIOS, "--vga-rom", oracle::VGA_ROM] } else { &[] };
    oracle::here(&Floppy::new(&calls::calls()), engine, more)
}

fn compare(what: &str, ours: &Answers, theirs: &Answers, allowed: &[Difference]) {
    let failed = oracle::compare(&calls::calls(), ours, theirs, allowed, VARYING);
    assert!(failed.is_empty(), "{what}:\n{}", failed.join("\n"));
}

fn services_answer_as_those_of_seabios_under_qemu() {
    let oracle = oracle::under_qemu(&Floppy::new(&calls::calls()), &[]);
    let ours = here("interp", false);
    compare("our BIOS, and SeaBIOS under QEMU", &ours, &oracle, OURS);
    assert_eq!(here("jit", false), ours, "translator and interpreter");
    compare("SeaBIOS here and under QEMU", &here("jit", true), &oracle, SEABIOS_HERE);
}

fn without_a_drive_the_bios_says_so(engine: &str) {
    let dump = std::env::temp_dir().join(format!("trimotor-bios-{engine}-{}.txt", std::process::id()));
    let path = dump.to_string_lossy().into_owned();
    let ended = run_to_end(&[
        "run",
        "--accel",
        engine,
        "--display",
        "none",
        "--serial",
        "null",
        "--timeout",
        "5s",
        "--screen-dump",
        &path,
    ]);
    let screen = std::fs::read_to_string(&dump).unwrap();
    std::fs::remove_file(&dump).unwrap();
    assert_eq!(ended.code, Some(124), "{ended:?}");
    for text in ["Trimotor BIOS", "256 MiB, 1 processor", "No bootable device. Press a key"] {
        assert!(screen.contains(text), "{text:?} is missing in:\n{screen}");
    }
}
