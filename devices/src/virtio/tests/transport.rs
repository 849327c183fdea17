//! Registers, negotiation and interrupts.

use super::super::registers::{NO_VECTOR, capability, common, feature, isr, legacy, modern, status};
use super::super::rng::Rng;
use super::*;
use trimotor_bus::SaveState;

fn bench() -> Bench<Rng> {
    Bench::new(|outside| Rng::new(outside, Arc::new(|_, into: &mut [u8]| into.fill(7)), None))
}
const SPLIT: Format = Format { packed: false, indirect: false };

#[test]
fn capabilities_say_where_the_structures_are() {
    let mut bench = bench();
    assert_eq!(bench.card.config_read(0, Width::Dword), 0x1005_1AF4);
    assert_eq!(bench.card.config_read(0x2C, Width::Dword), 0x0004_1AF4);
    assert_eq!(bench.card.config_read(8, Width::Byte), 0, "transitional devices have revision 0");
    let mut at = bench.card.config_read(0x34, Width::Byte) as u8;
    let mut found = Vec::new();
    while at != 0 {
        let byte = |bench: &mut Bench<Rng>, offset| bench.card.config_read(at + offset, Width::Byte);
        if byte(&mut bench, 0) == u32::from(capability::VENDOR_SPECIFIC) {
            let offset = bench.card.config_read(at + capability::OFFSET, Width::Dword);
            found.push((byte(&mut bench, 3), byte(&mut bench, 4), offset, byte(&mut bench, 2)));
        }
        at = byte(&mut bench, 1) as u8;
    }
    assert_eq!(
        found,
        [(1, 4, 0, 16), (3, 4, 0x1000, 16), (4, 4, 0x2000, 16), (2, 4, 0x3000, 20), (5, 0, 0, 20)]
    );
    let mut modern = Bench::with(Interfaces { legacy: false, modern: true }, |outside| {
        Rng::new(outside, Arc::new(|_, _: &mut [u8]| {}), None)
    });
    assert_eq!(modern.card.config_read(0, Width::Dword), 0x1044_1AF4);
    assert_eq!(modern.card.config_read(8, Width::Byte), 1);
    assert_eq!(modern.card.config_read(0x10, Width::Dword), 0, "no legacy registers");
}

#[test]
fn features_are_agreed_on_or_not() {
    let mut bench = bench();
    let offered = bench.offered();
    assert_eq!(offered & feature::ANY_LAYOUT, 0, "for legacy drivers only");
    assert!(!bench.choose(offered & !feature::VERSION_1), "without VERSION_1");
    assert!(!bench.choose(offered | 1 << 50), "not offered");
    assert!(bench.choose(offered));
    // What was agreed on stays.
    bench.set(common::DRIVER_FEATURE_SELECT, Width::Dword, 0);
    bench.set(common::DRIVER_FEATURE, Width::Dword, 0);
    assert_eq!(bench.get(common::DRIVER_FEATURE, Width::Dword), offered & 0xFFFF_FFFF);
    bench.set(common::DEVICE_FEATURE_SELECT, Width::Dword, 2);
    assert_eq!(bench.get(common::DEVICE_FEATURE, Width::Dword), 0);
    bench.set(common::STATUS, Width::Byte, 0);
    assert_eq!(bench.status(), 0);
    // A driver that is in a hurry.
    bench.set(common::STATUS, Width::Byte, status::DRIVER_OK.into());
    assert_eq!(bench.status(), 0, "not before FEATURES_OK");
}

#[test]
fn queues_that_are_not_there_have_size_zero() {
    let mut bench = bench();
    assert_eq!(bench.get(common::NUM_QUEUES, Width::Word), 1);
    assert_eq!(bench.get(common::QUEUE_SIZE, Width::Word), 64);
    for size in [0, 65, 0xFFFF] {
        bench.set(common::QUEUE_SIZE, Width::Word, size);
        assert_eq!(bench.get(common::QUEUE_SIZE, Width::Word), 64);
    }
    bench.set(common::QUEUE_VECTOR, Width::Word, 2);
    assert_eq!(
        bench.get(common::QUEUE_VECTOR, Width::Word),
        u64::from(NO_VECTOR),
        "there are vectors 0 and 1"
    );
    bench.set(common::QUEUE_SELECT, Width::Word, 1);
    bench.set(common::QUEUE_DESC, Width::Qword, 5);
    bench.set(common::QUEUE_ENABLE, Width::Word, 1);
    let image: Vec<u64> = [common::QUEUE_SIZE, common::QUEUE_ENABLE, common::QUEUE_DESC]
        .map(|register| bench.get(register, Width::Word))
        .to_vec();
    assert_eq!(image, [0, 0, 0]);
}

#[test]
fn nothing_is_looked_at_before_the_driver_is_ready_and_all_after() {
    let mut bench = bench();
    let offered = bench.offered() & !feature::RING_PACKED;
    bench.set(common::QUEUE_ENABLE, Width::Word, 1);
    assert_eq!(bench.get(common::QUEUE_ENABLE, Width::Word), 0, "features come first");
    assert!(bench.choose(offered));
    let mut ring = bench.queue(0, 8, SPLIT);
    ring.offer(&bench.memory, &[(0x5000, 16, true)]);
    bench.notify(0);
    assert_eq!(bench.jobs(), 0);
    bench.ready();
    assert_eq!(bench.jobs(), 1);
    bench.finish(0);
    assert_eq!(ring.take_used(&bench.memory), Some((0, 16)));
    assert_eq!(bench.bytes(0x5000, 17), [[7; 16].as_slice(), &[0]].concat());
}

#[test]
fn interrupts_by_pin_and_by_message() {
    let mut bench = bench();
    let mut ring = bench.start(8, SPLIT, feature::EVENT_IDX);
    let go = |bench: &mut Bench<Rng>, ring: &mut Ring| {
        ring.offer(&bench.memory, &[(0x5000, 16, true)]);
        bench.notify(0);
        bench.finish(0);
    };
    go(&mut bench, &mut ring);
    assert!(bench.pin());
    assert_eq!(bench.get(modern::ISR, Width::Byte), u64::from(isr::QUEUE));
    assert!(!bench.pin());
    assert_eq!(bench.get(modern::ISR, Width::Byte), 0, "reading clears");
    // The driver wants none.
    bench.memory.write(PhysAddr(ring.driver), &[1, 0]);
    go(&mut bench, &mut ring);
    assert!(!bench.pin());
    bench.memory.write(PhysAddr(ring.driver), &[0, 0]);
    // MSI-X: the capability is the first one.
    bench.card.config_write(0x42, Width::Word, 0x8000, NOW);
    for (offset, value) in [(16, 0xFEE0_0000), (24, 0x51), (28, 0)] {
        bench.card.bar_write(MSIX_BAR, offset, Width::Dword, value, NOW);
    }
    go(&mut bench, &mut ring);
    assert_eq!((bench.messages(), bench.pin()), (vec![0x51], false));
}

#[test]
fn event_indices_say_when_an_interrupt_is_wanted() {
    for format in ALL_RINGS {
        let mut bench = bench();
        let mut ring = bench.start(4, format, 0);
        for round in 0..40 {
            // One of three buffers, at a different place each round.
            let wanted = round % 3;
            ring.want_interrupt_after(&bench.memory, wanted);
            let mut interrupts = Vec::new();
            for _ in 0..3 {
                ring.offer(&bench.memory, &[(0x5000, 4, true)]);
                bench.notify(0);
                bench.finish(0);
                interrupts.push(bench.pin());
                bench.get(modern::ISR, Width::Byte);
            }
            let expected: Vec<_> = (0..3).map(|buffer| buffer == wanted).collect();
            assert_eq!(interrupts, expected, "{format:?} {round}");
            for _ in 0..3 {
                assert!(ring.take_used(&bench.memory).is_some(), "{format:?} {round}");
            }
        }
    }
}

#[test]
fn a_legacy_driver_finds_its_registers() {
    let mut bench = bench();
    let set =
        |bench: &mut Bench<Rng>, at, width, value| bench.card.bar_write(LEGACY_BAR, at, width, value, NOW);
    let get = |bench: &mut Bench<Rng>, at, width| bench.card.bar_read(LEGACY_BAR, at, width, NOW);
    let offered = get(&mut bench, legacy::DEVICE_FEATURES, Width::Dword);
    assert_eq!(offered, feature::ANY_LAYOUT | feature::INDIRECT_DESC | feature::EVENT_IDX);
    set(&mut bench, legacy::STATUS, Width::Byte, 3);
    set(&mut bench, legacy::DRIVER_FEATURES, Width::Dword, 0);
    assert_eq!(get(&mut bench, legacy::QUEUE_SIZE, Width::Word), 64);
    set(&mut bench, legacy::QUEUE_ADDRESS, Width::Dword, 0x100);
    assert_eq!(get(&mut bench, legacy::QUEUE_ADDRESS, Width::Dword), 0x100);
    // The layout of one piece, with 64 buffers.
    let mut ring = Ring::new(0x10_0000, 64, SPLIT);
    (ring.driver, ring.device) = (0x10_0400, 0x10_1000);
    ring.offer(&bench.memory, &[(0x5000, 16, true)]);
    // It may use the queue before it says that it is ready.
    set(&mut bench, legacy::QUEUE_NOTIFY, Width::Word, 0);
    bench.finish(0);
    assert_eq!(ring.take_used(&bench.memory), Some((0, 16)));
    assert_eq!(get(&mut bench, legacy::STATUS, Width::Word), 0x0103, "the ISR is behind the status");
    assert_eq!(get(&mut bench, legacy::ISR, Width::Byte), 0);
    set(&mut bench, legacy::STATUS, Width::Byte, 0);
    assert_eq!(get(&mut bench, legacy::QUEUE_ADDRESS, Width::Dword), 0);
    // Features of virtio 1 are none of its business.
    set(&mut bench, legacy::DRIVER_FEATURES, Width::Dword, u32::MAX.into());
    assert_eq!(get(&mut bench, legacy::DRIVER_FEATURES, Width::Dword), offered);
}

#[test]
fn the_window_in_configuration_space_reaches_the_registers() {
    let mut bench = bench();
    let mut at = 0x40;
    while bench.card.config_read(at + 3, Width::Byte) != 5 {
        at = bench.card.config_read(at + 1, Width::Byte) as u8;
    }
    let window = |bench: &mut Bench<Rng>, offset: u32, length: u32| {
        bench.card.config_write(at + capability::BAR, Width::Byte, MODERN_BAR.into(), NOW);
        bench.card.config_write(at + capability::OFFSET, Width::Dword, offset, NOW);
        bench.card.config_write(at + capability::LENGTH, Width::Dword, length, NOW);
    };
    window(&mut bench, common::QUEUE_SIZE as u32, 2);
    assert_eq!(bench.card.config_read(at + capability::DATA, Width::Dword), 64);
    bench.card.config_write(at + capability::DATA, Width::Word, 16, NOW);
    assert_eq!(bench.get(common::QUEUE_SIZE, Width::Word), 16);
    for (offset, length) in [(common::QUEUE_SIZE as u32, 3), (1, 2), (u32::MAX - 3, 4), (0x4000, 4)] {
        window(&mut bench, offset, length);
        bench.card.config_write(at + capability::DATA, Width::Dword, 1, NOW);
        _ = bench.card.config_read(at + capability::DATA, Width::Dword);
    }
    assert_eq!(bench.get(common::QUEUE_SIZE, Width::Word), 16);
}

#[test]
fn a_queue_is_reset_alone() {
    let mut bench = bench();
    let mut ring = bench.start(8, SPLIT, 0);
    ring.offer(&bench.memory, &[(0x5000, 16, true)]);
    bench.notify(0);
    bench.set(common::QUEUE_RESET, Width::Word, 1);
    assert_eq!(bench.get(common::QUEUE_RESET, Width::Word), 0);
    assert_eq!(bench.get(common::QUEUE_ENABLE, Width::Word), 0);
    bench.finish(0);
    assert_eq!(ring.take_used(&bench.memory), None, "the buffer is the driver's again");
    let mut ring = bench.queue(0, 16, SPLIT);
    ring.offer(&bench.memory, &[(0x5000, 16, true)]);
    bench.notify(0);
    bench.finish(0);
    assert_eq!(ring.take_used(&bench.memory), Some((0, 16)));
}

#[test]
fn a_saved_card_goes_on() {
    let mut bench = bench();
    let mut ring = bench.start(8, SPLIT, 0);
    ring.offer(&bench.memory, &[(0x5000, 16, true)]);
    bench.notify(0);
    let saved = bench.card.save();
    bench.waiting.0.lock().unwrap().clear();
    bench.set(common::STATUS, Width::Byte, 0);
    bench.card.restore(saved).unwrap();
    bench.finish(0);
    assert_eq!(ring.take_used(&bench.memory), Some((0, 16)));
    assert!(bench.pin());
}
