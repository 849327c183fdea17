//! `save` in a monitor and `trimotor run --restore`.

pub mod clones;
pub mod commands;
pub mod disks;
pub mod document;
pub mod generation;
pub mod interrupted;
pub mod linux;
pub mod savevm;

use crate::monitor::client::Client;
use crate::support::program::{Ended, Program, run_to_end};
use crate::support::small_guest::{CODE, Scratch, small_guest};
use iced_x86::code_asm::*;
use std::fs;
use std::path::PathBuf;

/// A folder for saved machines, gone with the test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("trimotor-saved-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary folder");
        Folder(path)
    }
    /// A file in it, for command lines.
    pub fn file(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }
    /// The names that are there.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("a folder");
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A program whose guest has written this text and runs on, and a client at its monitor.
pub struct Saver {
    pub program: Program,
    pub client: Client,
    socket: Scratch,
}

impl Saver {
    pub fn start(text: &str, arguments: &[&str]) -> Saver {
        Self::start_by(Program::start, text, arguments)
    }
    /// The same, where `start` starts the program.
    pub fn start_by(start: impl FnOnce(&[&str]) -> Program, text: &str, arguments: &[&str]) -> Saver {
        let socket = Scratch::new("m.sock");
        let monitor = format!("unix:{},server", socket.path());
        let mut program = start(&[arguments, &["--nographic", "--monitor", &monitor]].concat());
        program.expect(text);
        let client = Client::connect(&socket.path());
        Saver { program, client, socket }
    }
    /// Where the monitor is.
    pub fn socket(&self) -> String {
        self.socket.path()
    }
    /// Saves, and ends the program.
    pub fn save(mut self, file: &str) {
        self.client.obeys(&format!("save {file}"));
        self.quit();
    }
    pub fn quit(mut self) -> Ended {
        self.client.send(b"quit\n");
        let ended = self.program.wait();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended
    }
}

/// A guest that fills so many bytes of memory with numbers that follow from each other, writes `before`, waits for a byte from COM1,
/// and ends with code 1 once it has written `after`; with code 3 where its memory has other numbers by then.
pub fn waits_for_a_byte(name: &str, filled_bytes: u32, before: &str, after: &str) -> Scratch {
    const DATA: u32 = 4 << 20;
    let mut a = CodeAssembler::new(32).unwrap();
    let (mut fill, mut wait, mut check, mut wrong, mut end) =
        (a.create_label(), a.create_label(), a.create_label(), a.create_label(), a.create_label());
    // eax is the next number.
    let next = |a: &mut CodeAssembler| {
        a.imul_3(eax, eax, 0x0019_660D).unwrap();
        a.add(eax, 0x3C6E_F35F).unwrap();
    };
    let start = |a: &mut CodeAssembler| {
        a.mov(edi, DATA).unwrap();
        a.mov(ecx, filled_bytes / 4).unwrap();
        a.mov(eax, 1u32).unwrap();
    };
    let write = |a: &mut CodeAssembler, text: &str| {
        a.mov(dx, 0x3F8).unwrap();
        for byte in text.bytes() {
            a.mov(al, u32::from(byte)).unwrap();
            a.out(dx, al).unwrap();
        }
    };
    a.mov(dx, 0x3FB).unwrap();
    a.mov(al, 3).unwrap();
    a.out(dx, al).unwrap();
    start(&mut a);
    a.set_label(&mut fill).unwrap();
    next(&mut a);
    a.stosd().unwrap();
    a.dec(ecx).unwrap();
    a.jnz(fill).unwrap();
    write(&mut a, before);
    a.mov(dx, 0x3FD).unwrap();
    a.set_label(&mut wait).unwrap();
    a.in_(al, dx).unwrap();
    a.test(al, 1).unwrap();
    a.jz(wait).unwrap();
    write(&mut a, after);
    start(&mut a);
    a.set_label(&mut check).unwrap();
    next(&mut a);
    a.cmp(eax, dword_ptr(edi)).unwrap();
    a.jne(wrong).unwrap();
    a.add(edi, 4).unwrap();
    a.dec(ecx).unwrap();
    a.jnz(check).unwrap();
    a.xor(eax, eax).unwrap();
    a.jmp(end).unwrap();
    a.set_label(&mut wrong).unwrap();
    a.mov(eax, 1u32).unwrap();
    a.set_label(&mut end).unwrap();
    a.out(0xF4, al).unwrap();
    a.hlt().unwrap();
    small_guest(name, &a.assemble(u64::from(CODE)).unwrap())
}

/// Runs a command line that must be refused with code 2 and a message that has all of `words`.
#[track_caller]
pub fn refused(arguments: &[&str], words: &[&str]) {
    let ended = run_to_end(arguments);
    assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
    assert!(!ended.errors.contains("panicked"), "{ended:?}");
    for word in words {
        assert!(ended.errors.contains(word), "{arguments:?}: no {word:?} in {}", ended.errors);
    }
}
