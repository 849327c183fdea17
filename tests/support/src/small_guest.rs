//! Guests of a few instructions, in files that go with the test.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where such guests are loaded: 1 MiB.
pub const LOAD: u32 = 0x10_0000;
/// Where their code begins, behind the header.
pub const CODE: u32 = LOAD + HEADER_BYTES;
const HEADER_BYTES: u32 = 32;

/// A file that goes with the test.
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// A name that nobody else has, not the other tests of this process either; the file is not made.
    pub fn new(name: &str) -> Scratch {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        Scratch(std::env::temp_dir().join(format!("trimotor-{process}-{number}-{name}")))
    }
    /// The name, for command lines.
    pub fn path(&self) -> String {
        self.0.to_string_lossy().into_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A guest with this 32-bit code: a Multiboot 1 image (Multiboot Specification, "The address fields of Multiboot
/// header").
pub fn small_guest(name: &str, code: &[u8]) -> Scratch {
    const MAGIC: u32 = 0x1bad_b002;
    const HAS_ADDRESSES: u32 = 1 << 16;
    let end = CODE + code.len() as u32;
    let checksum = 0u32.wrapping_sub(MAGIC).wrapping_sub(HAS_ADDRESSES);
    let header = [MAGIC, HAS_ADDRESSES, checksum, LOAD, LOAD, end, end, CODE];
    let mut image: Vec<u8> = header.iter().flat_map(|field| field.to_le_bytes()).collect();
    image.extend_from_slice(code);
    let file = Scratch::new(name);
    std::fs::write(&file.0, image).expect("a temporary file");
    file
}

/// Code that writes `text` to COM1, a byte at a time, and goes on with what `then` makes for the address that it
/// lies at.
pub fn prints(text: &[u8], then: impl FnOnce(u32) -> Vec<u8>) -> Vec<u8> {
    // mov dx, 3fbh; mov al, 3; out dx, al: eight data bits
    let mut code = vec![0x66, 0xba, 0xfb, 0x03, 0xb0, 3, 0xee];
    // mov dx, 3f8h; mov esi, text; lodsb; test al, al; jz over; out dx, al; jmp to the lodsb
    const LOOP: [u8; 8] = [0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8];
    code.extend([0x66, 0xba, 0xf8, 0x03, 0xbe]);
    let next = CODE + (code.len() + 4 + LOOP.len()) as u32;
    let then = then(next);
    code.extend((next + then.len() as u32).to_le_bytes());
    code.extend(LOOP);
    code.extend(then);
    code.extend(text);
    code.push(0);
    code
}

/// Runs until it is left: jmp $.
pub fn runs_on(_at: u32) -> Vec<u8> {
    vec![0xeb, 0xfe]
}

/// Ends the program with code 1 by isa-debug-exit: xor eax, eax; out 0f4h, al; hlt.
pub fn debug_exit(_at: u32) -> Vec<u8> {
    vec![0x31, 0xc0, 0xe6, 0xf4, 0xf4]
}

/// A triple fault: lidt [the zeros]; ud2; then six zeros, an IDT with room for nothing.
pub fn triple_fault(at: u32) -> Vec<u8> {
    let mut code = vec![0x0f, 0x01, 0x1d];
    code.extend((at + 9).to_le_bytes());
    code.extend([0x0f, 0x0b, 0, 0, 0, 0, 0, 0]);
    code
}
