//! Frames, packets and buffers where none should be.

use super::*;
use crate::requests::A20Source;

/// Numbers that repeat (SplitMix64).
struct Random(u64);
impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z ^ (z >> 27)
    }
}

/// Addresses at edges: vectors, the BIOS data area, VGA memory, ROM, the first megabyte's end, that of RAM, and of
/// 32 bits.
const EDGES: [u32; 9] = [0, 0x3F0, 0x4_FFF0, 0x9_FFF0, 0xA_0000, 0xF_FFE0, 0xF_FFFF, 0x3F_FFF0, 0xFFFF_FFF0];

#[test]
fn frames_anywhere_do_no_harm() {
    let mut random = Random(1);
    for edge in EDGES {
        for offset in 0..46 {
            let mut bios = Bios::new();
            let at = edge.wrapping_add(offset);
            for byte in 0..64 {
                bios.put(u64::from(at) + byte, &[random.next() as u8]);
            }
            bios.put(at.into(), &[0x13, 0]);
            bios.put(u64::from(at) + 35 - 2, &[[2, 3, 8, 0x42, 0x48][random.next() as usize % 5]]);
            bios.services.port_write(Port(0x520), Width::Dword, at, GuestTime::ZERO);
            bios.work();
            assert!(bios.done());
        }
    }
}

#[test]
fn any_registers_on_any_memory_are_answered() {
    let mut random = Random(2);
    let mut bios = Bios::new();
    for round in 0..20_000 {
        if round % 500 == 0 {
            bios = Bios::new();
            for page in 0..256 {
                bios.put(page << 12, &random.next().to_le_bytes());
            }
            bios.put(0x40E, &EBDA.to_le_bytes());
        }
        let drives = [0, 1, 0x80, 0x81, 0xE0, 0x7F, 0xFF];
        let service = [0x13, 0x13, 0x13, 0x40, 0x100, 0x101, 0x102, 0x103][random.next() as usize % 8];
        let values: [u64; 8] = std::array::from_fn(|_| random.next());
        bios.call(service, |frame| {
            frame.eax = values[0] as u32 & if service == 0x13 { 0x4FFF } else { 3 };
            frame.ebx = values[1] as u32;
            frame.ecx = values[2] as u32 & if values[2] >> 60 & 1 == 0 { 0x1FFF } else { u32::MAX };
            frame.edx = values[3] as u32 & 0x0F00 | drives[values[4] as usize % 7];
            frame.esi = values[5] as u32;
            frame.es = values[6] as u16;
            frame.ds = values[7] as u16;
        });
        // A request is bounded, whatever was asked for.
        assert!(bios.jobs.0.lock().unwrap().is_empty());
    }
}

#[test]
fn a_buffer_at_the_end_of_the_first_megabyte_follows_the_a20_gate() {
    let mut bios = Bios::new();
    let read = |bios: &mut Bios| {
        bios.call(0x13, |frame| {
            frame.set_ax(0x0201);
            frame.set_cx(6);
            frame.set_dx(0x80);
            (frame.es, frame.ebx) = (0xFFFF, 0x1010);
        })
    };
    bios.put(0x1000, &[0xEE; 4]);
    assert_eq!(status(&read(&mut bios)), 0);
    assert_eq!((bios.number_at(0x10_1000), bios.number_at(0x1000)), (5, 0xEEEE_EEEE));
    bios.machine.set_a20(A20Source::SystemControlA, false);
    bios.put(0x10_1000, &[0xEE; 4]);
    assert_eq!(status(&read(&mut bios)), 0);
    assert_eq!((bios.number_at(0x10_1000), bios.number_at(0x1000)), (0xEEEE_EEEE, 5));
}

#[test]
fn a_buffer_over_the_frame_itself_is_overwritten_by_the_registers() {
    let mut bios = Bios::new();
    let frame = bios.call(0x13, |frame| {
        frame.set_ax(0x0201);
        frame.set_cx(1);
        frame.set_dx(0x80);
        (frame.es, frame.ebx) = (0, FRAME as u32 - 16);
    });
    assert_eq!((status(&frame), frame.al()), (0, 1));
}
