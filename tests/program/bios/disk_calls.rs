//! INT 13h beside SeaBIOS: one program makes the same calls on our BIOS and on QEMU's, with the same drives.
//!
//! The program stands on a hard disk, is booted from there, makes each call of [`calls`], and prints all registers that it
//! got, a sum of its buffer and the beginning of its packet on COM1. [`DIFFERENCES`] lists where SeaBIOS answers otherwise, with the
//! reason; a difference that is not listed fails, and so does a listed one that is none.

use crate::support::engines::ENGINE_NAMES;
use crate::support::needs::{QEMU, Tests};
use crate::support::program::run_to_end;
use crate::support::small_guest::Scratch;
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use std::process::{Command, Stdio};

pub fn tests() -> Tests {
    Tests::needing(&[QEMU]).each(&ENGINE_NAMES, disk_calls_answer_as_seabios_does)
}

/// Where the program's second part is loaded, and how many sectors it may have.
const PROGRAM: u32 = 0x8000;
const PROGRAM_SECTORS: u8 = 48;
/// Where the calls stand in it.
const TABLE: u32 = PROGRAM + 0x200;
/// Where packets are; the buffer is at 3000:0.
const PACKET: u32 = 0x7000;
const PACKET_BYTES: u32 = 66;
const BUFFER_SEGMENT: u16 = 0x3000;
/// Bytes of the buffer that are summed up.
const SUMMED: u32 = 4096;
/// The disk: 30 cylinders of 16 heads and 63 sectors.
const DISK_SECTORS: usize = 30 * 16 * 63;
const FLOPPY_SECTORS: usize = 2880;
const CD_SECTORS: usize = 300;

/// A call: its name, AX, BX, CX, DX, and the packet at DS:SI.
struct Call {
    name: String,
    registers: [u16; 4],
    packet: Vec<u8>,
}

fn packet(count: u16, first: u64) -> Vec<u8> {
    let mut packet = vec![16, 0];
    for word in [count, 0, BUFFER_SEGMENT] {
        packet.extend(word.to_le_bytes());
    }
    packet.extend(first.to_le_bytes());
    packet
}

fn calls() -> Vec<Call> {
    let mut calls = Vec::new();
    // AX, BX, CX, DX.
    let mut call = |name: &str, a: u16, b: u16, c: u16, d: u16, packet: Vec<u8>| {
        calls.push(Call { name: name.to_owned(), registers: [a, b, c, d], packet });
    };
    for (drive, name) in [(0x80, "disk"), (0x81, "no disk"), (0, "floppy"), (1, "no floppy")] {
        let none = Vec::new;
        call(&format!("{name}: reset"), 0x0000, 0, 0, drive, none());
        call(&format!("{name}: read"), 0x0201, 0, 0x0002, drive, none());
        call(&format!("{name}: status"), 0x0100, 0, 0, drive, none());
        call(&format!("{name}: parameters"), 0x0800, 0, 0, drive, none());
        call(&format!("{name}: type"), 0x1500, 0, 0, drive, none());
    }
    let none = Vec::new;
    call("disk: read three at 1/3/5", 0x0203, 0, 0x0105, 0x0380, none());
    call("disk: read none", 0x0200, 0, 0x0001, 0x0080, none());
    call("disk: read sector 0", 0x0201, 0, 0x0000, 0x0080, none());
    call("disk: read behind the last head", 0x0201, 0, 0x0001, 0x1080, none());
    call("disk: read behind the last cylinder", 0x0201, 0, 0x2001, 0x0080, none());
    call("disk: status after that", 0x0100, 0, 0, 0x0080, none());
    call("disk: write two", 0x0302, 0, 0x0401, 0x0080, none());
    call("disk: read them", 0x0202, 0, 0x0401, 0x0080, none());
    call("disk: verify", 0x0405, 0, 0x0001, 0x0080, none());
    call("disk: format", 0x0501, 0, 0x0001, 0x0080, none());
    call("disk: initialise", 0x0900, 0, 0x0001, 0x0080, none());
    call("disk: seek", 0x0C00, 0, 0x0301, 0x0080, none());
    call("disk: other reset", 0x0D00, 0, 0, 0x0080, none());
    call("disk: ready", 0x1000, 0, 0, 0x0080, none());
    call("disk: recalibrate", 0x1100, 0, 0, 0x0080, none());
    call("disk: diagnose", 0x1400, 0, 0, 0x0080, none());
    call("disk: no such function", 0x2500, 0, 0, 0x0080, none());
    for (drive, name, sectors) in [(0x80, "disk", DISK_SECTORS as u64), (0xE0, "CD", CD_SECTORS as u64)] {
        call(&format!("{name}: extensions"), 0x4100, 0x55AA, 0, drive, none());
        call(&format!("{name}: read by packet"), 0x4200, 0, 0, drive, packet(2, 7));
        call(&format!("{name}: read the last"), 0x4200, 0, 0, drive, packet(1, sectors - 1));
        call(&format!("{name}: read behind it"), 0x4200, 0, 0, drive, packet(1, sectors));
        call(&format!("{name}: read none by packet"), 0x4200, 0, 0, drive, packet(0, 7));
        call(&format!("{name}: a packet too short"), 0x4200, 0, 0, drive, vec![15; 16]);
        call(&format!("{name}: verify by packet"), 0x4400, 0, 0, drive, packet(2, 7));
        call(&format!("{name}: write by packet"), 0x4300, 0, 0, drive, packet(1, 100));
        call(&format!("{name}: is it locked"), 0x4502, 0, 0, drive, none());
        call(&format!("{name}: seek by packet"), 0x4700, 0, 0, drive, packet(1, 7));
        call(&format!("{name}: changed"), 0x4900, 0, 0, drive, none());
        for size in [0x19u8, 0x1A, 0x1E, 0x42] {
            call(&format!("{name}: parameters in {size:X}h bytes"), 0x4800, 0, 0, drive, vec![size, 0]);
        }
    }
    call("disk: prefetch off", 0x4E01, 0, 0, 0x80, none());
    call("CD: status of the emulation", 0x4B01, 0, 0, 0xE0, vec![0x13]);
    call("CD: lock", 0x4500, 0, 0, 0xE0, none());
    call("CD: eject", 0x4600, 0, 0, 0xE0, none());
    call("CD: unlock", 0x4501, 0, 0, 0xE0, none());
    call("floppy: read a track", 0x0212, 0, 0x0301, 0x0100, none());
    call("floppy: read sector 19", 0x0201, 0, 0x0013, 0x0000, none());
    call("floppy: write", 0x0301, 0, 0x0402, 0x0000, none());
    call("floppy: verify", 0x0404, 0, 0x0001, 0x0000, none());
    call("floppy: over a 64K border", 0x0202, 0xFE00, 0x0001, 0x0000, none());
    call("floppy: changed", 0x1600, 0, 0, 0x0000, none());
    call("no disk: extensions", 0x4100, 0x55AA, 0, 0x81, none());
    call("no CD: extensions", 0x4100, 0x55AA, 0, 0xE1, none());
    calls
}

/// Writes the low 16 bits of EAX in hexadecimal to COM1, and a blank.
fn routines(a: &mut CodeAssembler, word: &mut CodeLabel, byte: &mut CodeLabel) -> Result<(), IcedError> {
    let (mut digit, mut letter, mut wait) = (a.create_label(), a.create_label(), a.create_label());
    a.set_label(word)?;
    a.xchg(al, ah)?;
    a.call(*byte)?;
    a.xchg(al, ah)?;
    a.set_label(byte)?;
    a.push(ax)?;
    a.shr(al, 4u32)?;
    a.call(digit)?;
    a.pop(ax)?;
    a.push(ax)?;
    a.and(al, 15)?;
    a.call(digit)?;
    a.pop(ax)?;
    a.ret()?;
    a.set_label(&mut digit)?;
    a.push(dx)?;
    a.push(ax)?;
    a.cmp(al, 10)?;
    a.jb(letter)?;
    a.add(al, 7)?;
    a.set_label(&mut letter)?;
    a.add(al, 0x30)?;
    a.mov(ah, al)?;
    a.mov(dx, 0x3FDu32)?;
    a.set_label(&mut wait)?;
    a.in_(al, dx)?;
    a.test(al, 0x20)?;
    a.jz(wait)?;
    a.mov(al, ah)?;
    a.mov(dx, 0x3F8u32)?;
    a.out(dx, al)?;
    a.pop(ax)?;
    a.pop(dx)?;
    a.ret()
}

/// Loads the rest of the program and goes there.
fn boot_sector() -> Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(16)?;
    a.cli()?;
    a.xor(ax, ax)?;
    a.mov(ds, ax)?;
    a.mov(es, ax)?;
    a.mov(ss, ax)?;
    a.mov(sp, 0x6000u32)?;
    a.sti()?;
    a.mov(ax, 0x200 | u32::from(PROGRAM_SECTORS))?;
    a.mov(bx, PROGRAM)?;
    a.mov(cx, 2u32)?;
    a.mov(dx, 0x80u32)?;
    a.int(0x13)?;
    let mut code = a.assemble(0x7C00)?;
    // A far jump to the program.
    code.extend([0xEA, PROGRAM as u8, (PROGRAM >> 8) as u8, 0, 0]);
    code.resize(510, 0);
    code.extend([0x55, 0xAA]);
    Ok(code)
}

/// Makes all calls, a line for each: AX BX CX DX DI, ES where the call sets it, carry, the sum, the packet.
fn program(calls: &[Call]) -> Result<Vec<u8>, IcedError> {
    const RECORD: u32 = 8 + PACKET_BYTES;
    let mut a = CodeAssembler::new(16)?;
    let (mut word, mut byte, mut start, mut next, mut sum, mut dump, mut end) = (
        a.create_label(),
        a.create_label(),
        a.create_label(),
        a.create_label(),
        a.create_label(),
        a.create_label(),
        a.create_label(),
    );
    let (saved, record) = (0x6800u32, 0x6900u32);
    a.jmp(start)?;
    routines(&mut a, &mut word, &mut byte)?;
    a.set_label(&mut start)?;
    a.mov(dx, 0x3FBu32)?;
    a.mov(al, 3u32)?;
    a.out(dx, al)?;
    a.mov(word_ptr(record), TABLE)?;
    a.set_label(&mut next)?;
    a.xor(ax, ax)?;
    a.mov(ds, ax)?;
    a.mov(es, ax)?;
    a.cld()?;
    a.mov(si, word_ptr(record))?;
    a.cmp(word_ptr(si), 0xFFFFu32)?;
    a.je(end)?;
    // The packet, and a buffer of ones.
    a.push(si)?;
    a.add(si, 8)?;
    a.mov(di, PACKET)?;
    a.mov(cx, PACKET_BYTES)?;
    a.rep().movsb()?;
    a.mov(ax, u32::from(BUFFER_SEGMENT))?;
    a.mov(es, ax)?;
    a.xor(di, di)?;
    a.mov(cx, SUMMED / 2)?;
    a.mov(ax, 0x0101u32)?;
    a.rep().stosw()?;
    a.pop(si)?;
    a.mov(ax, word_ptr(si))?;
    a.mov(bx, word_ptr(si + 2))?;
    a.mov(cx, word_ptr(si + 4))?;
    a.mov(dx, word_ptr(si + 6))?;
    a.mov(si, PACKET)?;
    a.xor(di, di)?;
    a.stc()?;
    a.int(0x13)?;
    a.mov(word_ptr(saved), ax)?;
    a.mov(word_ptr(saved + 2), bx)?;
    a.mov(word_ptr(saved + 4), cx)?;
    a.mov(word_ptr(saved + 6), dx)?;
    a.mov(ax, 0u32)?;
    a.adc(ax, ax)?;
    a.mov(word_ptr(saved + 8), ax)?;
    // The sum of the buffer.
    a.mov(ax, u32::from(BUFFER_SEGMENT))?;
    a.mov(es, ax)?;
    a.xor(di, di)?;
    a.xor(ax, ax)?;
    a.mov(cx, SUMMED / 2)?;
    a.set_label(&mut sum)?;
    a.add(ax, word_ptr(di).es())?;
    a.rol(ax, 1u32)?;
    a.add(di, 2)?;
    a.loop_(sum)?;
    a.mov(word_ptr(saved + 10), ax)?;
    for field in 0..6 {
        a.mov(ax, word_ptr(saved + 2 * field))?;
        a.call(word)?;
    }
    a.mov(si, PACKET)?;
    a.mov(cx, PACKET_BYTES)?;
    a.set_label(&mut dump)?;
    a.lodsb()?;
    a.call(byte)?;
    a.loop_(dump)?;
    for letter in *b"\r\n" {
        a.mov(dx, 0x3F8u32)?;
        a.mov(al, u32::from(letter))?;
        a.out(dx, al)?;
    }
    a.add(word_ptr(record), RECORD as i32)?;
    a.jmp(next)?;
    a.set_label(&mut end)?;
    a.mov(al, 1u32)?;
    a.mov(dx, 0xF4u32)?;
    a.out(dx, al)?;
    a.hlt()?;
    let mut bytes = a.assemble(PROGRAM.into())?;
    assert!(bytes.len() <= (TABLE - PROGRAM) as usize);
    bytes.resize((TABLE - PROGRAM) as usize, 0);
    for call in calls {
        call.registers.iter().for_each(|register| bytes.extend(register.to_le_bytes()));
        let mut packet = call.packet.clone();
        packet.resize(PACKET_BYTES as usize, 0xEE);
        bytes.extend(packet);
    }
    bytes.extend([0xFF, 0xFF]);
    Ok(bytes)
}

/// Sectors with their number in each word.
fn numbered(sectors: usize, bytes: usize) -> Vec<u8> {
    (0..sectors).flat_map(|number| (number as u16).to_le_bytes().repeat(bytes / 2)).collect()
}

/// The images of a hard disk with the program, a floppy and a CD.
struct Images {
    disk: Scratch,
    floppy: Scratch,
    cd: Scratch,
}

impl Images {
    fn new(calls: &[Call]) -> Self {
        let mut disk = numbered(DISK_SECTORS, 512);
        let program = program(calls).expect("a program");
        assert!(program.len() <= usize::from(PROGRAM_SECTORS) * 512, "{} bytes", program.len());
        disk[..512].copy_from_slice(&boot_sector().expect("a boot sector"));
        disk[512..512 + program.len()].copy_from_slice(&program);
        let file = |name: &str, content: Vec<u8>| {
            let file = Scratch::new(name);
            std::fs::write(&file.0, content).expect("a temporary file");
            file
        };
        Self {
            disk: file("bios-disk.img", disk),
            floppy: file("bios-floppy.img", numbered(FLOPPY_SECTORS, 512)),
            cd: file("bios-cd.iso", numbered(CD_SECTORS, 2048)),
        }
    }
    fn on_ours(&self, engine: &str) -> String {
        let disk = format!("file={},format=raw,snapshot=on", self.disk.path());
        let floppy = format!("file={},format=raw,snapshot=on,if=floppy", self.floppy.path());
        let cd = self.cd.path();
        let arguments = ["run", "--accel", engine, "--drive", &disk, "--drive", &floppy, "--cdrom", &cd];
        let more = ["--boot", "order=c", "--debug-exit", "--nographic", "--serial", "stdio"];
        let ended = run_to_end(&[&arguments[..], &more].concat());
        assert_eq!(ended.code, Some(3), "{}{}", ended.output, ended.errors);
        ended.output
    }
    fn on_qemu(&self) -> String {
        let drive = |file: &Scratch, more: &str| format!("file={},format=raw,{more}", file.path());
        let output = Command::new("qemu-system-x86_64")
            .args(["-machine", "pc", "-m", "64", "-display", "none", "-monitor", "none", "-net", "none"])
            .args(["-serial", "stdio", "-no-reboot", "-boot", "c"])
            .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"])
            .args(["-drive", &drive(&self.disk, "snapshot=on,if=ide,index=0")])
            .args(["-drive", &drive(&self.floppy, "snapshot=on,if=floppy")])
            .args(["-drive", &drive(&self.cd, "if=ide,index=2,media=cdrom")])
            .stdin(Stdio::null())
            .output()
            .expect("QEMU starts");
        assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// What a line says of a call.
#[derive(PartialEq, Eq, Debug)]
struct Answer {
    /// AX, BX, CX, DX, carry, sum of the buffer.
    words: Vec<String>,
    packet: String,
}

fn answers(output: &str) -> Vec<Answer> {
    let is_line = |line: &&str| line.len() == 24 + 2 * PACKET_BYTES as usize;
    let lines = output.lines().map(str::trim).filter(is_line);
    let answer = |line: &str| {
        let (words, packet) = line.split_at(24);
        let words = (0..6).map(|n| words[4 * n..4 * n + 4].to_owned()).collect();
        Answer { words, packet: packet.to_owned() }
    };
    lines.map(answer).collect()
}

const AT_HAS_NO_DRIVE: &str = "a PC AT answers 08h and 15h for a drive that is missing without an error";
const AL_IS_ZERO: &str = "no sector was moved, so ours says none in AL; SeaBIOS leaves AL";
const FLAGS: &str = "ours says that it crosses 64 KiB borders and verifies what it writes";
const CD_IS_MEASURED: &str =
    "ours tells the size of the CD that is in the drive, which SeaBIOS does not look at";
const EDD_3: &str =
    "ours has EDD 3.0's result of 42h bytes; SeaBIOS has that of the later standard, 4Ah bytes";
const CHANGE_LINE: &str = "ours knows whether the medium was changed; SeaBIOS says so each time";

/// Calls that SeaBIOS answers otherwise, and why.
const DIFFERENCES: [(&str, &str); 24] = [
    ("no disk: parameters", "ours says 07h, as a PC AT; SeaBIOS 01h"),
    ("no disk: type", AT_HAS_NO_DRIVE),
    ("floppy: type", "ours has a change line; SeaBIOS says that it has none"),
    ("no floppy: parameters", AT_HAS_NO_DRIVE),
    ("no floppy: type", AT_HAS_NO_DRIVE),
    ("disk: read sector 0", AL_IS_ZERO),
    ("disk: read behind the last head", AL_IS_ZERO),
    ("disk: read behind the last cylinder", AL_IS_ZERO),
    (
        "disk: format",
        "IDE disks are not formatted: ours refuses it, SeaBIOS does nothing and says that it is done",
    ),
    (
        "disk: read behind it",
        "ours writes the number of sectors that were moved into the packet of a refused call too",
    ),
    ("disk: is it locked", "ours says that the medium is not removable"),
    ("disk: parameters in 1Ah bytes", FLAGS),
    ("disk: parameters in 1Eh bytes", FLAGS),
    ("disk: parameters in 42h bytes", EDD_3),
    ("disk: prefetch off", "EDD 3.0 has AL = 0 where no other drive is concerned; SeaBIOS leaves AL"),
    ("CD: read behind it", CD_IS_MEASURED),
    ("CD: a packet too short", "SeaBIOS does not look at the size of a CD's packet"),
    ("CD: changed", CHANGE_LINE),
    ("CD: parameters in 1Ah bytes", CD_IS_MEASURED),
    ("CD: parameters in 1Eh bytes", CD_IS_MEASURED),
    ("CD: parameters in 42h bytes", EDD_3),
    (
        "CD: status of the emulation",
        "El Torito has an error where no CD was booted; SeaBIOS gives an empty packet",
    ),
    ("floppy: read sector 19", "the controller finds no such sector: 04h on ours, 01h on SeaBIOS"),
    ("floppy: changed", CHANGE_LINE),
];

fn disk_calls_answer_as_seabios_does(engine: &str) {
    let calls = calls();
    let images = Images::new(&calls);
    let (ours, theirs) = (answers(&images.on_ours(engine)), answers(&images.on_qemu()));
    assert_eq!((ours.len(), theirs.len()), (calls.len(), calls.len()));
    let mut wrong = Vec::new();
    for ((call, ours), theirs) in calls.iter().zip(&ours).zip(&theirs) {
        let listed = DIFFERENCES.iter().any(|(name, _)| *name == call.name);
        if listed == (ours == theirs) {
            let said = if listed { "listed, and the same" } else { "differs" };
            wrong.push(format!("{}: {said}\n  ours   {ours:?}\n  theirs {theirs:?}", call.name));
        }
    }
    assert!(wrong.is_empty(), "AX, BX, CX, DX, carry, sum, packet:\n{}", wrong.join("\n"));
}
