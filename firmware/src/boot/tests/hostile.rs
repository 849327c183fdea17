//! Files that lie: loaders may refuse them; they may not panic, write outside RAM, or look at more than a few times the
//! file's bytes.

use super::*;
use crate::boot::bytes::counted;

/// A small generator of numbers: tests must not depend on chance.
struct Lcg(u64);
impl Lcg {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % n
    }
}

/// What loaders may look at beyond a few times the file: the search for headers, tables of their own.
const FIXED_WORK: u64 = 1 << 19;
/// How often loaders may look at each byte of the file.
const WORK_A_BYTE: u64 = 8;

/// Boots a hostile file as each of `kinds`: it may fail, it may not panic, what it writes lies in RAM, and neither
/// the work nor the copies grow faster than the file.
fn survives(bytes: &[u8], kinds: &[Option<KernelKind>]) {
    for &kind in kinds {
        let mut r = request(bytes.to_vec());
        r.kind = kind;
        survives_request(r, bytes.len() as u64);
    }
}

fn survives_request(request: BootRequest, bytes: u64) {
    let kind = request.kind;
    counted::take();
    let plan = load(request, &platform(64));
    let (done, limit) = (counted::take(), WORK_A_BYTE * bytes + FIXED_WORK);
    assert!(done <= limit, "{kind:?}: looked at {done} for a file of {bytes}");
    if let Ok(plan) = plan {
        assert!(plan.writes.iter().all(|w| w.addr.0 + w.len() <= 64 << 20));
        let copied =
            |w: &MemoryWrite| if let Content::Bytes(bytes) = &w.content { bytes.len() as u64 } else { 0 };
        let copies: u64 = plan.writes.iter().map(copied).sum();
        assert!(copies <= limit, "{kind:?}: {copies} copied of {bytes}");
    }
}

const ALL_KINDS: [Option<KernelKind>; 7] = [
    None,
    Some(KernelKind::BzImage),
    Some(KernelKind::Vmlinux),
    Some(KernelKind::Pvh),
    Some(KernelKind::Multiboot1),
    Some(KernelKind::Multiboot2),
    Some(KernelKind::Flat),
];

#[test]
fn truncated_images_do_not_panic() {
    for (_, bytes) in images() {
        for len in (0..bytes.len()).step_by(if bytes.len() > 2000 { 31 } else { 5 }) {
            survives(&bytes[..len], &ALL_KINDS);
        }
    }
}

/// Values that sizes, offsets and counts go wrong at.
const EXTREMES: [u64; 12] =
    [0, 1, 7, 8, 0x7F, 0xFF, 0x1000, 0x10_0000, 0x7FFF_FFFF, 0xFFFF_FFF0, 0x7FFF_FFFF_FFFF_FFFF, u64::MAX];

/// One change of a file: of a bit, of a field, of a stretch, of its length.
fn damage(bytes: &mut Vec<u8>, random: &mut Lcg) {
    let header = bytes.len().min(0x2A0);
    if header == 0 {
        return;
    }
    let at = random.below(header);
    match random.below(8) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = 0xFF,
        2..=4 => {
            let width = 1 << random.below(4);
            let at = at / width * width;
            let near = bytes.len() as u64 - at as u64;
            let value = match random.below(EXTREMES.len() + 2) {
                n if n < EXTREMES.len() => EXTREMES[n],
                n => near.wrapping_add(n as u64).wrapping_sub(EXTREMES.len() as u64 + 1),
            };
            let end = (at + width).min(bytes.len());
            bytes[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
        }
        5 => {
            let end = (at + 8).min(bytes.len());
            bytes[at..end].fill(if random.below(2) == 0 { 0xFF } else { 0 });
        }
        6 => {
            let (from, length) = (random.below(header), random.below(64));
            let length = length.min(bytes.len() - at.max(from));
            bytes.copy_within(from..from + length, at);
        }
        _ => bytes.truncate(bytes.len() - random.below(bytes.len() / 8 + 1)),
    }
}

#[test]
fn damaged_images_do_not_panic() {
    let mut random = Lcg(42);
    for (_, bytes) in images() {
        for _ in 0..1000 {
            let mut damaged = bytes.clone();
            for _ in 0..1 + random.below(4) {
                damage(&mut damaged, &mut random);
            }
            survives(&damaged, &ALL_KINDS[..1 + 6 * usize::from(random.below(8) == 0)]);
        }
    }
}

/// Two images laid over each other: headers of several kinds in one file.
#[test]
fn mixed_images_do_not_panic() {
    let mut random = Lcg(7);
    let images = images();
    for _ in 0..1000 {
        let mut mixed = images[random.below(images.len())].1.clone();
        let other = &images[random.below(images.len())].1;
        let (from, to) = (random.below(other.len()), random.below(mixed.len()));
        let length = random.below(0x200).min(other.len() - from).min(mixed.len() - to);
        mixed[to..to + length].copy_from_slice(&other[from..from + length]);
        damage(&mut mixed, &mut random);
        survives(&mixed, &ALL_KINDS);
    }
}

/// An ELF64 file with `count` program headers of `kind` behind the first, each of which leads to `range`.
fn many_program_headers(count: u16, kind: u32, range: std::ops::Range<u64>, total: usize) -> Vec<u8> {
    let mut r = Record::new(total);
    r.put(0, &elf64(0x200, b"", false)[..120]);
    r.u16(56, count + 1);
    for n in 1..=u64::from(count) {
        let at = 64 + 56 * n as usize;
        r.u32(at, kind);
        r.u64(at + 8, range.start);
        r.u64(at + 24, 0x20_0000 + n * 0x1000);
        r.u64(at + 32, range.end - range.start);
        r.u64(at + 40, range.end - range.start);
    }
    r.0
}

#[test]
fn notes_that_many_headers_lead_to_are_not_read_again_and_again() {
    const END: usize = 2 << 20;
    // One long note, and a run of empty ones.
    for description in [END as u32 - 20_016, 0] {
        let mut bytes = many_program_headers(255, 4, 20_000..END as u64, END);
        for (n, value) in [4u32, description, 6].into_iter().enumerate() {
            bytes[20_000 + 4 * n..][..4].copy_from_slice(&value.to_le_bytes());
        }
        bytes[20_012..20_016].copy_from_slice(b"Xen\0");
        survives(&bytes, &ALL_KINDS);
    }
}

#[test]
fn segments_that_many_headers_lead_to_are_not_copied_again_and_again() {
    survives(&many_program_headers(255, 1, 20_000..1 << 20, 1 << 20), &ALL_KINDS);
    survives(&many_program_headers(255, 1, 20_000..20_001, 1 << 20), &ALL_KINDS);
}

#[test]
fn sections_by_the_thousand_are_placed_together() {
    const COUNT: usize = 16_384;
    let kernel = elf64(0x200, &multiboot2_header(), false);
    for (step, size) in [(0, 0x400u64), (0, 1), (1, 1)] {
        let mut r = Record::new(0x400 + COUNT * 64);
        r.put(0, &kernel);
        r.u64(40, 0x400);
        r.u16(60, COUNT as u16);
        for n in 0..COUNT {
            let at = 0x400 + 64 * n;
            r.u32(at + 4, 3);
            r.u64(at + 24, (step * n) as u64);
            r.u64(at + 32, size);
        }
        survives(&r.0, &ALL_KINDS);
    }
}

#[test]
fn multiboot_2_tags_end_with_the_part_that_is_searched() {
    // As many tags as fit, an information request as long as the file, a header longer than that part.
    for (tag, size, length) in [(6u16, 8u32, 0x7FF0u32), (1, 1 << 20, 0x7FF0), (6, 8, 1 << 20)] {
        let mut r = Record::new(2 << 20);
        r.put(0, &elf64(0x200, b"", false));
        let sum = 0u32.wrapping_sub(0xE852_50D6).wrapping_sub(length);
        for (n, value) in [0xE852_50D6, 0, length, sum].into_iter().enumerate() {
            r.u32(8 + 0x200 + 4 * n, value);
        }
        for at in (0x218..0x1_0000).step_by(8) {
            r.u16(at, tag);
            r.u16(at + 2, 1);
            r.u32(at + 4, size);
        }
        survives(&r.0, &ALL_KINDS);
    }
}

#[test]
fn a_thousand_modules_are_placed_one_behind_the_other() {
    for bytes in [multiboot1_kludge(), elf64(0x200, &multiboot2_header(), false), elf64(0x200, b"", true)] {
        let mut r = request(bytes);
        let module =
            |n: usize| BootModule { file: file("m", vec![1; n % 7]), command_line: "x".repeat(n % 5) };
        r.modules = (0..1000).map(module).collect();
        survives_request(r, 1000 * 64);
    }
}
