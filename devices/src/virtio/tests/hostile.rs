//! Drivers that misbehave at a disk, one mistake each: the device asks for a reset, does nothing else any more, and works after the reset. At the
//! other devices: `hostile_devices.rs`.

use super::super::registers::{common, feature};
use super::blk::{SPLIT, bench_of};
use super::ring::{INDIRECT, NEXT, WRITE, put};
use super::*;
use trimotor_bus::Timed;
use trimotor_storage::MemoryDisk;

pub(super) type Mistake = fn(&GuestMemory, &mut Ring);

const DATA: u64 = 0x20_0000;
const TABLE: u64 = 0x3000;

fn head(memory: &GuestMemory, ring: &Ring, index: u16, addr: u64, len: u32, flags: u16, next: u16) {
    put(memory, ring.desc + 16 * u64::from(index), addr, len, (flags, next));
}

/// What no ring of any device may have.
pub(super) const RING_MISTAKES: &[(&str, Mistake)] = &[
    ("a loop of one", |m, r| {
        head(m, r, 0, DATA, 16, NEXT, 0);
        r.make_available(m, 0);
    }),
    ("a loop of three", |m, r| {
        for index in 0..3 {
            head(m, r, index, DATA, 16, NEXT, (index + 1) % 3);
        }
        r.make_available(m, 0);
    }),
    ("a head that is not there", |m, r| r.make_available(m, 16)),
    ("a next that is not there", |m, r| {
        head(m, r, 0, DATA, 16, NEXT, 0xFFFF);
        r.make_available(m, 0);
    }),
    ("an index far ahead", |m, r| {
        m.write(PhysAddr(r.driver + 2), &17u16.to_le_bytes());
    }),
    ("an index that goes back", |m, r| {
        m.write(PhysAddr(r.driver + 2), &0xFFFFu16.to_le_bytes());
    }),
    ("reads behind writes", |m, r| {
        r.offer_direct(m, &[(DATA, 16, 0), (DATA, 16, WRITE), (DATA, 16, 0)]);
    }),
    ("a buffer past the address space", |m, r| {
        r.offer_direct(m, &[(u64::MAX - 8, 16, 0), (DATA, 1, WRITE)]);
    }),
    ("an empty table", |m, r| {
        r.offer_direct(m, &[(TABLE, 0, INDIRECT)]);
    }),
    ("a table of one and a half", |m, r| {
        r.offer_direct(m, &[(TABLE, 24, INDIRECT)]);
    }),
    ("a table of four gigabytes", |m, r| {
        r.offer_direct(m, &[(TABLE, 0xFFFF_FFF0, INDIRECT)]);
    }),
    ("a table where no memory is", |m, r| {
        r.offer_direct(m, &[(0xC000_0000, 32, INDIRECT)]);
    }),
    ("a chain that goes on behind a table", |m, r| {
        put(m, TABLE, DATA, 16, (0, 0));
        r.offer_direct(m, &[(TABLE, 16, INDIRECT), (DATA, 1, WRITE)]);
    }),
    ("a table within a table", |m, r| {
        put(m, TABLE, TABLE, 16, (INDIRECT, 0));
        r.offer_direct(m, &[(TABLE, 16, INDIRECT)]);
    }),
    ("a loop in a table", |m, r| {
        put(m, TABLE, DATA, 16, (NEXT, 1));
        put(m, TABLE + 16, DATA, 16, (NEXT, 0));
        r.offer_direct(m, &[(TABLE, 32, INDIRECT)]);
    }),
    ("a next that a table does not have", |m, r| {
        put(m, TABLE, DATA, 16, (NEXT, 2));
        r.offer_direct(m, &[(TABLE, 32, INDIRECT)]);
    }),
];

/// What no request of a disk may be.
const DISK_MISTAKES: &[(&str, Mistake)] = &[
    ("a header where no memory is", |m, r| {
        r.offer_direct(m, &[(0xC000_0000, 16, 0), (DATA, 1, WRITE)]);
    }),
    ("a status where no memory is", |m, r| {
        m.write(PhysAddr(DATA), &[99; 16]);
        r.offer_direct(m, &[(DATA, 16, 0), (0xFEE0_0000, 1, WRITE)]);
    }),
    ("data past the end of memory", |m, r| {
        m.write(PhysAddr(DATA), &[0; 16]);
        r.offer_direct(m, &[(DATA, 16, 0), ((4 << 20) - 256, 512, WRITE), (DATA, 1, WRITE)]);
    }),
    ("no status", |m, r| {
        r.offer_direct(m, &[(DATA, 16, 0)]);
    }),
    ("half a header", |m, r| {
        r.offer_direct(m, &[(DATA, 8, 0), (DATA, 1, WRITE)]);
    }),
];

const PACKED_MISTAKES: &[(&str, Mistake)] = &[
    ("a chain without end", |m, r| {
        // All descriptors of the ring, and the last one goes on.
        for index in 0..16 {
            put(m, r.desc + 16 * index, DATA, 16, (0, NEXT | 1 << 7));
        }
    }),
    ("reads behind writes", |m, r| {
        r.offer_direct(m, &[(DATA, 16, 0), (DATA, 16, WRITE), (DATA, 16, 0)]);
    }),
    ("a chain that goes on behind a table", |m, r| {
        r.offer_direct(m, &[(TABLE, 16, INDIRECT), (DATA, 1, WRITE)]);
    }),
    ("a table of four gigabytes", |m, r| {
        r.offer_direct(m, &[(TABLE, 0xFFFF_FFF0, INDIRECT)]);
    }),
    ("a header where no memory is", |m, r| {
        r.offer_direct(m, &[(0xC000_0000, 16, 0), (DATA, 1, WRITE)]);
    }),
    ("no status", |m, r| {
        r.offer_direct(m, &[(DATA, 16, 0)]);
    }),
    ("an event that the ring does not have", |m, r| {
        m.write(PhysAddr(r.driver), &[0x10, 0x80, 2, 0]);
        m.write(PhysAddr(DATA), &[99; 16]);
        r.offer_direct(m, &[(DATA, 16, 0), (DATA + 16, 1, WRITE)]);
    }),
];

#[test]
fn each_mistake_has_the_device_ask_for_a_reset() {
    for (packed, mistakes) in [(false, RING_MISTAKES), (false, DISK_MISTAKES), (true, PACKED_MISTAKES)] {
        for (name, mistake) in mistakes {
            let format = Format { packed, indirect: false };
            let (mut bench, _) = bench_of(Arc::new(MemoryDisk::new(vec![5; 4096])), 1, |_| {});
            let mut ring = bench.start(16, format, 0);
            mistake(&bench.memory, &mut ring);
            bench.notify(0);
            bench.finish_all();
            assert!(bench.needs_reset(), "{name}");
            assert!(bench.pin(), "{name}: the driver is told by a change of the configuration");
            // Nothing is carried out any more.
            bench.request(&mut ring, 0, 0, &[(DATA, 512, true)]);
            assert_eq!(bench.jobs(), 0, "{name}");
            let mut ring = bench.start(16, format, 0);
            bench.request(&mut ring, 0, 0, &[(DATA, 512, true)]);
            bench.finish_all();
            assert_eq!(ring.take_used(&bench.memory), Some((0, 513)), "{name}");
            assert!(!bench.needs_reset(), "{name}");
        }
    }
}

#[test]
fn tables_are_a_mistake_where_they_were_not_agreed_on() {
    let (mut bench, _) = bench_of(Arc::new(MemoryDisk::new(vec![5; 4096])), 1, |_| {});
    let mut ring = bench.start(16, Format { packed: false, indirect: true }, feature::INDIRECT_DESC);
    bench.request(&mut ring, 0, 0, &[(DATA, 512, true)]);
    assert!(bench.needs_reset());
}

#[test]
fn rings_in_strange_places() {
    for (size, desc, fails_at_once) in [
        (12, 0x10_0000, true),
        (16, u64::MAX - 64, true),
        (16, 0xC000_0000, false),
        (16, (4 << 20) - 8, false),
        (16, 0xA_0000, false),
    ] {
        let (mut bench, _) = bench_of(Arc::new(MemoryDisk::new(vec![5; 4096])), 1, |_| {});
        let offered = bench.offered() & !feature::RING_PACKED;
        assert!(bench.choose(offered));
        let mut ring = Ring::new(0x10_0000, size, SPLIT);
        ring.desc = desc;
        bench.place(0, &ring);
        assert_eq!(bench.needs_reset(), fails_at_once, "{size} {desc:#x}");
        bench.ready();
        bench.memory.write(PhysAddr(ring.driver), &[0; 16]);
        ring.make_available(&bench.memory, 0);
        bench.notify(0);
        assert!(bench.needs_reset(), "{size} {desc:#x}");
    }
}

#[test]
fn a_ring_that_is_all_of_memory_at_once_harms_nobody() {
    // Descriptors, driver's and device's area at one place.
    let (mut bench, _) = bench_of(Arc::new(MemoryDisk::new(vec![5; 4096])), 1, |_| {});
    let offered = bench.offered() & !feature::RING_PACKED;
    assert!(bench.choose(offered));
    let mut ring = Ring::new(0x10_0000, 128, SPLIT);
    (ring.driver, ring.device) = (ring.desc, ring.desc);
    bench.place(0, &ring);
    bench.ready();
    for value in 0..200u64 {
        bench.memory.write(PhysAddr(ring.desc), &(value * 0x1_0001).to_le_bytes());
        bench.notify(0);
    }
    bench.finish_all();
}

#[test]
fn a_driver_that_fills_its_ring_for_ever_is_served_in_turns() {
    // All entries of the ring are the same request, and the index is always ahead.
    let (mut bench, _) = bench_of(Arc::new(MemoryDisk::new(vec![5; 4096])), 4, |_| {});
    let mut ring = bench.start(128, SPLIT, feature::EVENT_IDX);
    let mut served = 0;
    for turn in 0..20u16 {
        for _ in 0..100 {
            bench.memory.write(PhysAddr(DATA), &[99; 16]);
            ring.offer_direct(&bench.memory, &[(DATA, 16, 0), (DATA + 16, 1, WRITE)]);
        }
        bench.notify(0);
        if let Some(at) = bench.card.next_event() {
            bench.card.advance(at);
        }
        served += std::iter::from_fn(|| ring.take_used(&bench.memory)).count();
        assert!(served <= 100 * (usize::from(turn) + 1));
    }
    assert_eq!(served, 2000);
    bench.set(common::STATUS, Width::Byte, 0);
}
