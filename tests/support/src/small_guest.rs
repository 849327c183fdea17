//! Guests of a few instructions, in files that go with the test.

use std::path::PathBuf;

/// Where such guests are loaded: 1 MiB.
pub const LOAD: u32 = 0x10_0000;
/// Where their code begins, behind the header.
pub const CODE: u32 = LOAD + HEADER_BYTES;
const HEADER_BYTES: u32 = 32;

/// A file that goes with the test.
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// A name of this process's own; the file is not made.
    pub fn new(name: &str) -> Scratch {
        Scratch(std::env::temp_dir().join(format!("trimotor-{name}-{}", std::process::id())))
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
