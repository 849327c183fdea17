//! Status and features, as the specification says and as no driver should do it, at each device (virtio 1.2, 2.1, 2.2, 3.1, 4.1.4.3).

use super::super::registers::{NO_VECTOR, common, feature, legacy, modern, status};
use super::blk::SPLIT;
use super::probe::{DATA, Driver, Probe, SIZE, for_each_device};
use super::ring::WRITE;
use super::*;

const WIDTHS: [Width; 4] = [Width::Byte, Width::Word, Width::Dword, Width::Qword];
/// The steps of a driver, each a bit of the status.
const STEPS: [u8; 4] = [status::ACKNOWLEDGE, status::DRIVER, status::FEATURES_OK, status::DRIVER_OK];

/// All orders of some steps.
fn orders(steps: &[u8]) -> Vec<Vec<u8>> {
    if steps.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (index, first) in steps.iter().enumerate() {
        let rest = [&steps[..index], &steps[index + 1..]].concat();
        all.extend(orders(&rest).into_iter().map(|order| [&[*first][..], &order].concat()));
    }
    all
}

fn choose<D: Probe>(driver: &mut Driver<D>, features: u64) {
    for (select, half) in [(0, features & 0xFFFF_FFFF), (1, features >> 32)] {
        driver.bench.set(common::DRIVER_FEATURE_SELECT, Width::Dword, select);
        driver.bench.set(common::DRIVER_FEATURE, Width::Dword, half);
    }
}
fn write_status<D: Probe>(driver: &mut Driver<D>, bits: u8) -> u8 {
    driver.bench.set(common::STATUS, Width::Byte, bits.into());
    driver.bench.status()
}

#[test]
fn the_status_is_written_in_each_order() {
    fn check<D: Probe>() {
        for order in orders(&STEPS) {
            for chooses in [false, true] {
                let mut driver = Driver::<D>::without_driver();
                let offered = driver.bench.offered();
                assert_eq!(write_status(&mut driver, 0), 0);
                if chooses {
                    choose(&mut driver, offered);
                }
                let mut expected = 0;
                for bit in &order {
                    // No features: not agreed on. Without that the driver cannot be ready.
                    let refused = match *bit {
                        status::FEATURES_OK => !chooses,
                        status::DRIVER_OK => expected & status::FEATURES_OK == 0,
                        _ => false,
                    };
                    expected |= if refused { 0 } else { *bit };
                    assert_eq!(write_status(&mut driver, *bit | expected), expected, "{order:?} {chooses}");
                }
                driver.assert_works_after_reset("order");
            }
        }
        // All at once, and what only the device says.
        let mut driver = Driver::<D>::without_driver();
        let offered = driver.bench.offered();
        choose(&mut driver, offered);
        assert_eq!(write_status(&mut driver, 0x7F), 0x0F, "NEEDS_RESET is the device's");
        assert_eq!(write_status(&mut driver, status::FAILED), 0x8F, "bits stay until a reset");
        assert_eq!(write_status(&mut driver, 0), 0);
        driver.assert_works_after_reset("all at once");
    }
    for_each_device!(check);
}

#[test]
fn only_offered_features_are_agreed_on() {
    fn check<D: Probe>() {
        let mut driver = Driver::<D>::without_driver();
        let offered = driver.bench.offered();
        for bit in (0..64).map(|bit| 1_u64 << bit) {
            let name = driver.bench.card.device().kind().name;
            let agrees = driver.bench.choose(bit | feature::VERSION_1);
            assert_eq!(agrees, offered & bit != 0, "{name}: {bit:#x} alone");
            assert_eq!(driver.bench.choose(offered | bit), offered & bit != 0, "{name}: {bit:#x} too");
            let agrees = driver.bench.choose(offered & !bit);
            assert_eq!(agrees, bit != feature::VERSION_1, "{name}: all but {bit:#x}");
        }
        // Features above the 64 that there are.
        driver.bench.set(common::STATUS, Width::Byte, 0);
        for select in [2, 3, u32::MAX] {
            driver.bench.set(common::DEVICE_FEATURE_SELECT, Width::Dword, select.into());
            assert_eq!(driver.bench.get(common::DEVICE_FEATURE, Width::Dword), 0);
            driver.bench.set(common::DRIVER_FEATURE_SELECT, Width::Dword, select.into());
            driver.bench.set(common::DRIVER_FEATURE, Width::Dword, u32::MAX.into());
            assert_eq!(driver.bench.get(common::DRIVER_FEATURE, Width::Dword), 0);
        }
        // What was agreed on is not changed any more, and what was refused may be.
        assert!(driver.bench.choose(offered));
        choose(&mut driver, feature::VERSION_1);
        driver.bench.set(common::DRIVER_FEATURE_SELECT, Width::Dword, 0);
        assert_eq!(driver.bench.get(common::DRIVER_FEATURE, Width::Dword), offered & 0xFFFF_FFFF);
        assert!(!driver.bench.choose(offered & !feature::VERSION_1));
        choose(&mut driver, offered);
        assert_eq!(write_status(&mut driver, 0xB), 0xB, "another try");
        driver.assert_works_after_reset("features");
    }
    for_each_device!(check);
}

#[test]
fn queues_are_set_up_once_and_in_order() {
    fn check<D: Probe>() {
        let mut driver = Driver::<D>::without_driver();
        let offered = driver.bench.offered() & !feature::RING_PACKED;
        let enabled = |driver: &mut Driver<D>| driver.bench.get(common::QUEUE_ENABLE, Width::Word);
        // Before the features are agreed on, none is enabled.
        driver.bench.set(common::QUEUE_ENABLE, Width::Word, 1);
        assert_eq!(enabled(&mut driver), 0);
        assert!(driver.bench.choose(offered));
        // Enabled before it has a size and a place: it has the largest size, at address 0.
        let most = driver.bench.get(common::QUEUE_SIZE, Width::Word);
        for value in [0, 2, 0xFFFF] {
            driver.bench.set(common::QUEUE_ENABLE, Width::Word, value);
            assert_eq!(enabled(&mut driver), 0, "{value} enables nothing");
        }
        driver.bench.set(common::QUEUE_ENABLE, Width::Word, 1);
        assert_eq!(enabled(&mut driver), 1);
        // Now they stay.
        driver.bench.set(common::QUEUE_SIZE, Width::Word, 1);
        driver.bench.set(common::QUEUE_DESC, Width::Qword, 0x10_0000);
        driver.bench.set(common::QUEUE_ENABLE, Width::Word, 0);
        let registers = [common::QUEUE_SIZE, common::QUEUE_DESC, common::QUEUE_ENABLE];
        let read = registers.map(|register| driver.bench.get(register, Width::Word));
        assert_eq!(read, [most, 0, 1]);
        driver.bench.ready();
        (0..8).for_each(|queue| driver.bench.notify(queue));
        driver.assert_works_after_reset("address 0");
        // One that is not there.
        let queues = driver.rings.len() as u64;
        for queue in [queues, queues + 1, 0x7FFF, 0xFFFF] {
            driver.bench.set(common::QUEUE_SELECT, Width::Word, queue);
            for (register, width) in [
                (common::QUEUE_SIZE, Width::Word),
                (common::QUEUE_VECTOR, Width::Word),
                (common::QUEUE_DESC, Width::Qword),
                (common::QUEUE_ENABLE, Width::Word),
                (common::QUEUE_RESET, Width::Word),
            ] {
                driver.bench.set(register, width, 1);
                assert_eq!(driver.bench.get(register, width), 0, "queue {queue}");
            }
            driver.bench.notify(queue % 0x400);
        }
        assert!(!driver.bench.needs_reset());
        driver.assert_works_after_reset("queues that are not there");
    }
    for_each_device!(check);
}

#[test]
fn a_reset_brings_back_all_that_a_driver_changed() {
    fn check<D: Probe>() {
        let mut driver = Driver::<D>::new();
        driver.bench.memory.write(PhysAddr(DATA), &[0; 4096]);
        for queue in 0..driver.rings.len() {
            driver.offer(queue, &[(DATA, 16, 0), (DATA + 0x800, 513, WRITE)]);
            driver.bench.set(common::QUEUE_SELECT, Width::Word, queue as u64);
            driver.bench.set(common::QUEUE_VECTOR, Width::Word, 0);
        }
        driver.bench.set(common::CONFIG_VECTOR, Width::Word, 0);
        D::poke(&mut driver);
        // In the midst of it all.
        assert_eq!(write_status(&mut driver, 0), 0);
        assert!(!driver.bench.pin());
        let none = u64::from(NO_VECTOR);
        assert_eq!(driver.bench.get(modern::ISR, Width::Byte), 0);
        assert_eq!(driver.bench.get(common::CONFIG_VECTOR, Width::Word), none);
        assert_eq!(driver.bench.get(common::QUEUE_SELECT, Width::Word), 0);
        let mut fresh = Driver::<D>::without_driver();
        for queue in 0..driver.rings.len() as u64 {
            let registers = |driver: &mut Driver<D>| {
                driver.bench.set(common::QUEUE_SELECT, Width::Word, queue);
                (0..common::BYTES as u64 - common::QUEUE_SELECT)
                    .map(|at| driver.bench.get(common::QUEUE_SELECT + at, Width::Byte))
                    .collect::<Vec<_>>()
            };
            assert_eq!(registers(&mut driver), registers(&mut fresh), "queue {queue}");
        }
        driver.bench.finish_all();
        for queue in 0..driver.rings.len() {
            while driver.used(queue).is_some() {}
            driver.bench.notify(queue as u64);
            assert_eq!(driver.used(queue), None, "nothing moves without a driver");
        }
        driver.assert_works_after_reset("reset");
    }
    for_each_device!(check);
}

#[test]
fn registers_are_accessed_in_each_width_at_each_offset() {
    fn check<D: Probe>() {
        let mut driver = Driver::<D>::without_driver();
        let image: Vec<u64> =
            (0..0x48).map(|at| driver.bench.get(modern::COMMON + at, Width::Byte)).collect();
        for width in WIDTHS {
            for at in 0..0x40 {
                let bytes = (0..width.bytes() as u64).map(|i| image[(at + i) as usize] << (8 * i));
                let wide = driver.bench.get(modern::COMMON + at, width);
                assert_eq!(wide, bytes.fold(0, |all, byte| all | byte), "{width:?} at {at:#x}");
            }
        }
        for (part, length) in [
            (modern::COMMON, 0x48),
            (modern::ISR, 8),
            (modern::DEVICE, 0x80),
            (modern::NOTIFY, 0x100),
            (modern::BYTES - 8, 8),
        ] {
            for width in WIDTHS {
                for at in 0..length {
                    for value in [0, 1, 2, 0x55, 0xFF, 0xFFFF, u64::MAX] {
                        driver.bench.set(part + at, width, value);
                        _ = driver.bench.get(part + at, width);
                    }
                }
            }
        }
        driver.bench.finish_all();
        driver.assert_works_after_reset("widths");
        // And while it is in use: the driver breaks what it has set up, at most.
        for width in WIDTHS {
            for at in 0..0x80 {
                driver.bench.set(modern::DEVICE + at, width, u64::MAX);
            }
        }
        driver.bench.finish_all();
        driver.assert_works_after_reset("configuration");
    }
    for_each_device!(check);
}

#[test]
fn a_legacy_driver_writes_the_status_in_each_order() {
    fn check<D: Probe>() {
        let set = |driver: &mut Driver<D>, at, width, value| {
            driver.bench.card.bar_write(LEGACY_BAR, at, width, value, NOW);
        };
        let get = |driver: &mut Driver<D>, at, width| driver.bench.card.bar_read(LEGACY_BAR, at, width, NOW);
        for order in orders(&[status::ACKNOWLEDGE, status::DRIVER, status::DRIVER_OK]) {
            let mut driver = Driver::<D>::without_driver();
            let offered = get(&mut driver, legacy::DEVICE_FEATURES, Width::Dword);
            assert_eq!(offered & feature::ANY_LAYOUT, feature::ANY_LAYOUT);
            let mut expected = 0;
            for bit in order {
                expected |= bit;
                // FEATURES_OK and NEEDS_RESET are unknown to such drivers.
                set(&mut driver, legacy::STATUS, Width::Byte, u64::from(bit | 0x48));
                assert_eq!(get(&mut driver, legacy::STATUS, Width::Byte), u64::from(expected));
            }
            // What is not offered is not chosen.
            set(&mut driver, legacy::DRIVER_FEATURES, Width::Dword, u32::MAX.into());
            assert_eq!(get(&mut driver, legacy::DRIVER_FEATURES, Width::Dword), offered);
            set(&mut driver, legacy::DRIVER_FEATURES, Width::Dword, 0);
            assert_eq!(get(&mut driver, legacy::DRIVER_FEATURES, Width::Dword), 0);
            // Queues where there is no memory, and away again.
            for page in [1_u32, u32::MAX, 0] {
                set(&mut driver, legacy::QUEUE_ADDRESS, Width::Dword, u64::from(page));
                assert_eq!(get(&mut driver, legacy::QUEUE_ADDRESS, Width::Dword), u64::from(page));
                set(&mut driver, legacy::QUEUE_NOTIFY, Width::Word, 0);
            }
            set(&mut driver, legacy::QUEUE_SELECT, Width::Word, 0xFFFF);
            assert_eq!(get(&mut driver, legacy::QUEUE_SIZE, Width::Word), 0);
            set(&mut driver, legacy::QUEUE_ADDRESS, Width::Dword, 1);
            assert_eq!(get(&mut driver, legacy::QUEUE_ADDRESS, Width::Dword), 0);
            set(&mut driver, legacy::STATUS, Width::Byte, 0);
            let registers = [legacy::STATUS, legacy::ISR, legacy::QUEUE_SELECT, legacy::DRIVER_FEATURES];
            assert_eq!(registers.map(|at| get(&mut driver, at, Width::Byte)), [0; 4]);
            driver.bench.finish_all();
            // A driver of virtio 1 comes after it.
            driver.assert_works_after_reset("legacy");
        }
        let mut driver = Driver::<D>::without_driver();
        for width in WIDTHS {
            for at in 0..u64::from(legacy::BYTES) {
                for value in [0, 1, 0x55, 0xFF, 0xFFFF, u64::MAX] {
                    set(&mut driver, at, width, value);
                    _ = get(&mut driver, at, width);
                }
            }
        }
        driver.bench.finish_all();
        driver.assert_works_after_reset("legacy widths");
    }
    for_each_device!(check);
}

#[test]
fn both_kinds_of_registers_at_once() {
    fn check<D: Probe>() {
        // A queue that a legacy driver placed, and features of virtio 1: not agreed on.
        let mut driver = Driver::<D>::without_driver();
        let offered = driver.bench.offered() & !feature::RING_PACKED;
        driver.bench.set(common::STATUS, Width::Byte, 0);
        driver.bench.card.bar_write(LEGACY_BAR, legacy::QUEUE_ADDRESS, Width::Dword, 0x100, NOW);
        choose(&mut driver, offered);
        assert_eq!(write_status(&mut driver, 0xF), 3);
        driver.assert_works_after_reset("a legacy queue");
        // A legacy driver does not change what a driver of virtio 1 has set up.
        driver.begin();
        for (at, width, value) in [
            (legacy::DRIVER_FEATURES, Width::Dword, 0),
            (legacy::QUEUE_ADDRESS, Width::Dword, 0x300),
            (legacy::STATUS, Width::Byte, 4),
        ] {
            driver.bench.card.bar_write(LEGACY_BAR, at, width, value, NOW);
        }
        assert!(D::works(&mut driver));
        driver.bench.set(common::QUEUE_SELECT, Width::Word, 0);
        let desc = driver.bench.get(common::QUEUE_DESC, Width::Qword);
        assert_eq!(
            (desc, driver.bench.get(common::QUEUE_SIZE, Width::Word)),
            (driver.rings[0].desc, SIZE.into())
        );
        // A ring in both formats at once is none.
        let mut other = Driver::<D>::without_driver();
        let packed = other.bench.offered();
        assert!(other.bench.choose(packed));
        let mut ring = other.bench.queue(0, SIZE, SPLIT);
        other.bench.ready();
        ring.offer_direct(&other.bench.memory, &[(DATA, 64, WRITE)]);
        other.bench.notify(0);
        other.bench.finish_all();
        other.assert_works_after_reset("a split ring where a packed one was agreed on");
    }
    for_each_device!(check);
}
