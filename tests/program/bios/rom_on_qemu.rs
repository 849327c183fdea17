//! Our ROM on another machine: QEMU's. Its POST runs to the end there, so that it counts on nothing that only our board has. Booting it
//! cannot: its disk calls are carried out by a device of ours.

use crate::support::needs::{QEMU, Tests};
use crate::support::small_guest::Scratch;
use std::io::{BufReader, Read};
use std::process::{Command, Stdio};
use trimotor_firmware::bios;
use trimotor_firmware::tables::{MemoryMap, Platform};

/// What POST writes to port 80h before it boots.
const BOOTS: u8 = 0x0D;

pub fn tests() -> Tests {
    Tests::needing(&[QEMU]).test(post_runs_to_its_end)
}

fn post_runs_to_its_end() {
    let platform = Platform {
        memory: MemoryMap::new(64 << 20, 0),
        vcpus: 1,
        hpet: true,
        serial_ports: 1,
        pvpanic: false,
        vmgenid: false,
        pm_base: trimotor_bus::board::PM_BASE,
    };
    let rom = Scratch::new("bios.bin");
    std::fs::write(&rom.0, bios::build(&platform).expect("the BIOS").image).expect("a temporary file");
    let mut qemu = Command::new("qemu-system-x86_64")
        .args(["-machine", "pc", "-m", "64", "-display", "none", "-monitor", "none", "-net", "none"])
        .args(["-serial", "none", "-no-reboot", "-bios", &rom.path()])
        // The codes come out of standard output.
        .args(["-chardev", "stdio,id=post", "-device", "isa-debugcon,iobase=0x80,chardev=post"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("QEMU starts");
    let mut codes = Vec::new();
    for byte in BufReader::new(qemu.stdout.take().expect("a pipe")).bytes() {
        codes.push(byte.expect("the pipe can be read"));
        // A ROM that starts over says so by its first code again.
        if codes.last() == Some(&BOOTS) || codes.len() > 100 {
            break;
        }
    }
    qemu.kill().expect("it runs");
    qemu.wait().expect("it is a child");
    assert_eq!(codes.last(), Some(&BOOTS), "POST came to {codes:x?}");
    assert!(codes.len() < 20, "POST went on as {codes:x?}");
}
