//! The entropy device.

use super::super::rng::{MOST_BYTES, Rate, Rng};
use super::*;
use trimotor_bus::Timed;

#[test]
fn so_many_bytes_a_period() {
    let rate = Rate { bytes: 20, period_ns: 1000 };
    let mut bench = Bench::new(|outside| {
        Rng::new(outside, Arc::new(|n, into: &mut [u8]| into.fill(n as u8 + 1)), Some(rate))
    });
    let mut ring = bench.start(8, Format { packed: false, indirect: false }, 0);
    for at in [0x5000, 0x6000, 0x7000] {
        ring.offer(&bench.memory, &[(at, 16, true)]);
    }
    bench.notify(0);
    assert_eq!(bench.jobs(), 2);
    bench.finish_all();
    assert_eq!(ring.take_used(&bench.memory), Some((0, 16)));
    assert_eq!(ring.take_used(&bench.memory), Some((1, 4)), "what is left");
    assert_eq!(ring.take_used(&bench.memory), None);
    assert_eq!(bench.card.next_event(), Some(GuestTime(1000)));
    bench.card.advance(GuestTime(1000));
    bench.finish_all();
    assert_eq!(ring.take_used(&bench.memory), Some((2, 16)));
    assert_eq!(bench.bytes(0x7000, 2), [3, 3]);
}

#[test]
fn odd_buffers() {
    let mut bench =
        Bench::new(|outside| Rng::new(outside, Arc::new(|_, into: &mut [u8]| into.fill(9)), None));
    let mut ring = bench.start(8, Format { packed: false, indirect: false }, 0);
    ring.offer(&bench.memory, &[(0x5000, 16, false)]);
    ring.offer(&bench.memory, &[(0x1_0000, 1 << 20, true)]);
    ring.offer(&bench.memory, &[(0x5000, 0, true)]);
    bench.notify(0);
    bench.finish_all();
    let used: Vec<_> = std::iter::from_fn(|| ring.take_used(&bench.memory)).collect();
    assert_eq!(used, [(0, 0), (2, 0), (1, MOST_BYTES as u32)]);
    assert!(!bench.needs_reset());
}
