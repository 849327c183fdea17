//! The demo guest on QEMU, as an oracle: what it says there must be right, so that what differs on
//! our own engines is theirs.
//!
//! QEMU's BIOS starts a boot sector written here, which loads the demo and its memory map from the
//! disk and enters it as [`trimotor_firmware::demo::plan`] would.

use crate::support::needs::{QEMU, Tests};
use iced_x86::code_asm::*;
use std::io::{BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use trimotor_bus::PhysAddr;
use trimotor_firmware::boot::{Content, EntryMode};
use trimotor_firmware::demo;
use trimotor_firmware::tables::{MemoryMap, Platform};

pub fn tests() -> Tests {
    Tests::new().test_needing(&[QEMU], the_demo_checks_itself_and_obeys_on_qemu)
}

const SECTOR: usize = 512;
/// Where the boot sector moves itself, out of the demo's way.
const MOVED_TO: u32 = 0x500;
const LOAD_AT: u32 = 0x7C00;
const MAP_AT: u32 = 0x1000;
/// The memory map's sector on the disk; the demo is in front of it.
const MAP_SECTOR: u64 = 400;
/// Sectors a read, 32 KiB, and how many reads.
const SECTORS: u16 = 64;
const READS: u32 = 5;
/// After this QEMU has surely hung: the demo needs a second.
const PATIENCE: Duration = Duration::from_secs(120);

/// A disk address packet of INT 13h function 42h.
fn packet(sectors: u16, segment: u16, first: u64) -> Vec<u8> {
    let mut p = vec![16, 0];
    for word in [sectors, 0, segment] {
        p.extend_from_slice(&word.to_le_bytes());
    }
    p.extend_from_slice(&first.to_le_bytes());
    p
}

fn boot_sector() -> Result<Vec<u8>, iced_x86::IcedError> {
    /// Bytes of the instructions before the far jump.
    const FAR_JUMP_AT: usize = 18;
    const PACKETS: u32 = MOVED_TO + 0x100;
    let mut a = CodeAssembler::new(16)?;
    a.cld()?;
    a.xor(ax, ax)?;
    a.mov(ds, ax)?;
    a.mov(es, ax)?;
    a.mov(si, LOAD_AT)?;
    a.mov(di, MOVED_TO)?;
    a.mov(cx, (SECTOR / 2) as u32)?;
    a.rep().movsw()?;
    let after_jump = MOVED_TO + FAR_JUMP_AT as u32 + 5;
    a.db(&[0xEA, after_jump as u8, (after_jump >> 8) as u8, 0, 0])?;
    a.mov(bp, READS)?;
    let mut next = a.create_label();
    a.set_label(&mut next)?;
    for address in [PACKETS, PACKETS + 16] {
        a.mov(ah, 0x42)?;
        a.mov(si, address)?;
        a.int(0x13)?;
    }
    a.add(word_ptr(PACKETS + 6), u32::from(SECTORS) * 32)?;
    a.add(word_ptr(PACKETS + 8), u32::from(SECTORS))?;
    a.dec(bp)?;
    a.jne(next)?;
    a.db(&[0xEA, 0x00, 0x7C, 0, 0])?;
    let mut sector = a.assemble(u64::from(MOVED_TO))?;
    assert_eq!(sector[FAR_JUMP_AT], 0xEA, "the far jump to what follows it");
    sector.resize(0x100, 0);
    sector.extend(packet(SECTORS, (LOAD_AT >> 4) as u16, 1));
    sector.extend(packet(1, (MAP_AT >> 4) as u16, MAP_SECTOR));
    sector.resize(SECTOR - 2, 0);
    sector.extend([0x55, 0xAA]);
    Ok(sector)
}

/// Boot sector, demo and memory map.
fn disk() -> Vec<u8> {
    let platform = Platform {
        memory: MemoryMap::new(64 << 20, 0),
        vcpus: 1,
        hpet: true,
        serial_ports: 1,
        pvpanic: false,
        vmgenid: false,
        pm_base: trimotor_bus::board::PM_BASE,
    };
    let plan = demo::plan(&platform).unwrap();
    let entry = plan.entry.as_ref().unwrap();
    assert_eq!((entry.mode, entry.rip), (EntryMode::Real, u64::from(LOAD_AT)));
    let written = |at: u32| {
        let write = plan.writes.iter().find(|w| w.addr == PhysAddr(u64::from(at))).unwrap();
        match &write.content {
            Content::Bytes(bytes) => bytes.clone(),
            Content::Zeros(_) => panic!("the demo consists of bytes"),
        }
    };
    let mut disk = boot_sector().unwrap();
    disk.extend(written(LOAD_AT));
    assert!(disk.len() <= MAP_SECTOR as usize * SECTOR);
    assert!(disk.len() <= (1 + READS as usize * usize::from(SECTORS)) * SECTOR);
    disk.resize(MAP_SECTOR as usize * SECTOR, 0);
    disk.extend(written(MAP_AT));
    disk.resize(1 << 20, 0);
    disk
}

/// QEMU with the serial port on its standard streams.
struct Qemu {
    child: Child,
    output: Receiver<u8>,
    text: String,
}

impl Qemu {
    fn start(disk: &std::path::Path) -> Self {
        let drive = format!("file={},format=raw,snapshot=on", disk.display());
        let mut child = Command::new("qemu-system-x86_64")
            .args(["-machine", "pc", "-cpu", "max", "-m", "64", "-display", "none", "-monitor", "none"])
            .args(["-serial", "stdio", "-no-reboot", "-net", "none", "-drive", &drive])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, output) = channel();
        std::thread::spawn(move || {
            BufReader::new(stdout).bytes().map_while(Result::ok).for_each(|byte| {
                let _ = sender.send(byte);
            });
        });
        Self { child, output, text: String::new() }
    }
    /// Reads until `end`, or until QEMU ends where `end` is empty.
    fn read_until(&mut self, end: &str) {
        while end.is_empty() || !self.text.ends_with(end) {
            match self.output.recv_timeout(PATIENCE) {
                Ok(byte) => self.text.push(char::from(byte)),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) if end.is_empty() => return,
                Err(_) => {
                    let _ = self.child.kill();
                    panic!("{end:?} did not come:\n{}", self.text);
                }
            }
        }
    }
    fn type_line(&mut self, line: &str) {
        self.child.stdin.as_mut().unwrap().write_all(format!("{line}\r").as_bytes()).unwrap();
    }
}

fn the_demo_checks_itself_and_obeys_on_qemu() {
    let path = std::env::temp_dir().join(format!("trimotor-demo-{}.img", std::process::id()));
    std::fs::write(&path, disk()).unwrap();
    let mut qemu = Qemu::start(&path);
    const PROMPT: &str = "\r\ntrimotor> ";
    qemu.read_until(PROMPT);
    for line in [
        "xyz\x08\x7F\x15fault",
        "divide",
        "cpuid 0",
        "mem 7C00",
        "mem 7FFFFFFFF000",
        "mem FFFFFFFFFFFF",
        "nonsense",
        "check",
    ] {
        qemu.type_line(line);
        qemu.read_until(PROMPT);
    }
    qemu.type_line("poweroff");
    qemu.read_until("");
    assert!(qemu.child.wait().unwrap().success());
    std::fs::remove_file(&path).unwrap();
    let text = &qemu.text;
    for wanted in [
        " 4 Long mode",
        "together 63 MiB usable",
        "8086:1237",
        "Intel PIIX3 ISA bridge",
        "CR2 000000000007B000",
        "error code 0003, CR2 000000000007A000",
        "#DE divide error",
        "0000007C00  FA FC 31 C0",
        "CR2 00007FFFFFFFF000",
        "#GP general protection",
        "There is no command \"nonsense\"",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is missing in:\n{text}");
    }
    assert_eq!(text.matches("all as it should be").count(), 2, "{text}");
    assert!(!text.contains("[fail]") && !text.contains("machine is still here"), "{text}");
}
