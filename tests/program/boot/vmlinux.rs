//! The kernel proper out of a bzImage, as `extract-vmlinux` of the Linux sources gets it.
//!
//! The payload is an LZ4 stream in the "legacy" frame that `lz4 -l` writes: a magic number, then blocks
//! with their compressed size before them. After it come four bytes of unpacked size. (Source: the LZ4
//! project's "LZ4 Block Format Description" and "LZ4 Frame Format Description".)

/// The first bytes of the legacy frame.
const LZ4_LEGACY: [u8; 4] = [0x02, 0x21, 0x4C, 0x18];
/// `payload_offset` and `payload_length` in the setup header.
const PAYLOAD: usize = 0x248;
/// Number of setup sectors behind the boot sector.
const SETUP_SECTORS: usize = 0x1F1;
/// The shortest match.
const MIN_MATCH: usize = 4;

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize
}

/// The ELF file in a bzImage; `None` where it is compressed in another way than LZ4.
pub fn unpack(image: &[u8]) -> Option<Vec<u8>> {
    let system = (usize::from(image[SETUP_SECTORS]) + 1) * 512;
    let start = system + u32_at(image, PAYLOAD);
    let payload = &image[start..start + u32_at(image, PAYLOAD + 4)];
    let (stream, size) = payload.split_at(payload.len() - 4);
    let mut blocks = stream.strip_prefix(&LZ4_LEGACY)?;
    let mut unpacked = Vec::with_capacity(u32_at(size, 0));
    while blocks.len() > 4 {
        let (block, rest) = blocks[4..].split_at(u32_at(blocks, 0));
        unpack_block(block, &mut unpacked);
        blocks = rest;
    }
    assert_eq!(unpacked.len(), u32_at(size, 0), "the payload's size");
    Some(unpacked)
}

/// A length: what is in the token and, where that is 15, bytes that are added until one is not 255.
fn length(token: u8, block: &[u8], at: &mut usize) -> usize {
    let mut length = usize::from(token);
    if token == 15 {
        loop {
            let more = block[*at];
            *at += 1;
            length += usize::from(more);
            if more != 255 {
                break;
            }
        }
    }
    length
}

fn unpack_block(block: &[u8], into: &mut Vec<u8>) {
    let mut at = 0;
    while at < block.len() {
        let token = block[at];
        at += 1;
        let literals = length(token >> 4, block, &mut at);
        into.extend_from_slice(&block[at..at + literals]);
        at += literals;
        if at == block.len() {
            break; // The last sequence has no match.
        }
        let distance = usize::from(u16::from_le_bytes([block[at], block[at + 1]]));
        at += 2;
        let count = length(token & 15, block, &mut at) + MIN_MATCH;
        let from = into.len() - distance;
        for n in 0..count {
            into.push(into[from + n]);
        }
    }
}
