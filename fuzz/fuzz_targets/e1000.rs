//! The network card e1000: registers with any value, rings and descriptors anywhere, frames of all kinds, time, resets, and saved
//! states that were changed.
//!
//! No access panics; what the card sends is bounded and says nothing of itself that is not so; its work ends; a state comes back, and
//! one that is refused changes nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::Arc;
use trimotor_bus::{
    BusMaster, GuestMemory, GuestTime, IrqLine, PciBars, PciFunction, PhysAddr, Timed, Width,
};
use trimotor_devices::e1000::E1000;
use trimotor_devices::e1000::registers::*;
use trimotor_devices::network::{MacAddress, NetworkCard, TestCable};
use trimotor_devices::{Device, Doorbells, SavedBytes};
use trimotor_fuzz::Input;
use trimotor_net::{Checksum, Frame, Offloads, Segmentation, SegmentationKind};

const WIDTHS: [Width; 4] = [Width::Byte, Width::Word, Width::Dword, Width::Qword];
const RX: u64 = 0x1000;
const TX: u64 = 0x2000;
const PACKET: u64 = 0x8000;
/// The longest frame: what may be handed to a network whole, or cut from the longest packet.
const MAX_FRAME: usize = (1 << 16) + 64;
/// Registers whose values count most.
const REGISTERS: [u64; 24] = [
    CTRL, EECD, EERD, MDIC, VET, ICS, IMS, IMC, ITR, RCTL, RDLEN, RDH, RDT, RDTR, RADV, RSRPD, RXCSUM, TCTL,
    TDLEN, TDH, TDT, TIDV, TXDCTL, TADV,
];

fn card(memory: &Arc<GuestMemory>, cable: &TestCable) -> E1000 {
    let mac = MacAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    let master = BusMaster::new(memory.clone());
    let mut card = E1000::new(IrqLine::unconnected(), master, Arc::new(cable.clone()), mac, None);
    card.config_write(4, Width::Word, 7, GuestTime::ZERO);
    card
}
fn begin(card: &mut E1000, now: GuestTime) {
    for (register, value) in
        [(RDBAL, RX), (RDLEN, 256), (RDT, 15), (RCTL, 0x0400_801A), (TDBAL, TX), (TDLEN, 256), (TCTL, 0xA)]
    {
        card.bar_write(REGISTER_BAR, register, Width::Dword, value, now);
    }
}

/// What was saved comes back; what was changed is taken or refused whole.
fn restore(card: &mut E1000, input: &mut Input<'_>) {
    let saved = card.save_bytes().expect("it can be saved");
    card.restore_bytes(&saved).expect("its own state");
    assert_eq!(card.save_bytes().ok().as_ref(), Some(&saved));
    let mut changed = saved.clone();
    for _ in 0..=input.below(3) {
        let at = input.below(changed.len());
        changed[at] = input.number(1) as u8;
    }
    if card.restore_bytes(&changed).is_err() {
        assert_eq!(card.save_bytes().ok().as_ref(), Some(&saved), "changed by a state that it refused");
    }
}

fn check_sent(cable: &TestCable) {
    for frame in cable.take_sent() {
        let Frame { bytes, checksum, segmentation, .. } = frame;
        assert!(bytes.len() <= MAX_FRAME, "{} bytes", bytes.len());
        if let Some(Checksum { start, offset }) = checksum {
            assert!(cable.offloads.checksum && usize::from(start) + usize::from(offset) + 2 <= bytes.len());
        }
        if let Some(Segmentation { kind, payload, .. }) = segmentation {
            assert!(payload > 0 && checksum.is_some() && kind != SegmentationKind::Udp);
        }
    }
}

/// A descriptor of the transmit ring: of a kind that does something, mostly.
fn descriptor(input: &mut Input<'_>) -> [u64; 2] {
    let high = input.number(8);
    match input.below(6) {
        0 => [input.number(8), high],
        1 => [PACKET + input.number(1), high & 0xFFFF_FF00_DF00_07FF | 1 << 24],
        // A context as Linux writes it, more or less.
        2 => [
            14 | 24 << 8 | 33 << 16 | 34 << 32 | 50 << 40,
            high & 0x0FFF_0000_0000_FFFF | 54 << 40 | 0x2700_0000,
        ],
        3 => [input.number(8) & 0x3FFF_3F3F_3FFF_3F3F, high & !0x00F0_0000 | 0x2000_0000],
        _ => [PACKET + input.number(1), high & 0xFFFF_03FF_FF00_0FFF & !0x00F0_0000 | 0x2110_0000],
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let memory = GuestMemory::new(1 << 20, &[]).expect("memory");
    let all = input.below(2) == 1;
    let offloads = Offloads { checksum: all, tcp4: all, tcp6: all, ecn: all, udp: all };
    let cable = TestCable::new(offloads);
    let mut card = card(&memory, &cable);
    let mut now = GuestTime(1_000_000_000);
    card.advance(now);
    begin(&mut card, now);
    while !input.is_empty() {
        now = now + 1000;
        match input.below(14) {
            0 | 1 => {
                let register = REGISTERS[input.below(REGISTERS.len())];
                card.bar_write(REGISTER_BAR, register, Width::Dword, input.number(4), now);
            }
            2 => {
                let (offset, width) = (input.number(2), WIDTHS[input.below(4)]);
                card.bar_write(REGISTER_BAR, offset, width, input.number(8) & width.mask(), now);
                _ = card.bar_read(REGISTER_BAR, offset, width, now);
            }
            3 => {
                // The wires of the EEPROM.
                for bits in input.bytes(16) {
                    let value = u64::from(*bits & 7);
                    card.bar_write(REGISTER_BAR, EECD, Width::Dword, value, now);
                }
            }
            4..=6 => {
                // Descriptors, and the tail.
                let tail = card.bar_read(REGISTER_BAR, TDT, Width::Dword, now);
                let count = 1 + input.below(6) as u64;
                for n in 0..count {
                    let at = TX + 16 * ((tail + n) % 16);
                    for (part, value) in descriptor(&mut input).into_iter().enumerate() {
                        memory.write(PhysAddr(at + 8 * part as u64), &value.to_le_bytes());
                    }
                }
                card.bar_write(REGISTER_BAR, TDT, Width::Dword, (tail + count) % 16, now);
            }
            7 => _ = memory.write(PhysAddr(PACKET), input.bytes(128)),
            8 | 9 => {
                let length = input.below(20_000);
                let mut bytes = vec![input.number(1) as u8; length];
                let head = input.bytes(64);
                let head = &head[..head.len().min(length)];
                bytes[..head.len()].copy_from_slice(head);
                let open = Checksum { start: input.number(2) as u16, offset: input.number(1) as u16 };
                let checksum = (input.below(4) == 0).then_some(open);
                let frame = Frame { bytes, checksum, verified: input.below(4) == 0, ..Frame::default() };
                if card.has_room() {
                    _ = card.receive(&frame, now);
                }
            }
            10 => restore(&mut card, &mut input),
            11 => {
                now = now + input.number(4);
                card.advance(now);
                card.rung(input.number(1), now);
            }
            12 => match input.below(4) {
                0 => card.carrier(input.below(2) == 0, now),
                1 => card.reset(now),
                2 => {
                    _ = card.config_write(
                        input.number(1) as u8 & !3,
                        Width::Dword,
                        input.number(4) as u32,
                        now,
                    )
                }
                _ => begin(&mut card, now),
            },
            _ => _ = memory.write(PhysAddr(RX + 16 * input.below(16) as u64), &input.number(8).to_le_bytes()),
        }
        check_sent(&cable);
    }
    _ = card.info();
    // After a reset, and with its link, it sends and receives.
    card.reset(now);
    card.config_write(4, Width::Word, 7, now);
    card.carrier(true, now);
    now = now + 1_000_000_000;
    card.advance(now);
    begin(&mut card, now);
    let high: u64 = 0x0300_0040;
    memory.write(PhysAddr(TX), &PACKET.to_le_bytes());
    memory.write(PhysAddr(TX + 8), &high.to_le_bytes());
    _ = cable.take_sent();
    card.bar_write(REGISTER_BAR, TDT, Width::Dword, 1, now);
    assert_eq!(cable.take_sent().len(), 1);
    assert!(card.has_room() && card.receive(&vec![0xFF; 64].into(), now));
    assert_eq!(card.bar_read(REGISTER_BAR, RDH, Width::Dword, now), 1);
});
