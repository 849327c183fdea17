//! The clock as a driver uses it.

use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use trimotor_bus::IrqSink;

#[derive(Default)]
struct Level(AtomicBool);
impl IrqSink for Level {
    fn set_level(&self, _line: u8, high: bool) {
        self.0.store(high, Ordering::Relaxed);
    }
}

const fn ms(ms: u64) -> GuestTime {
    GuestTime(ms * 1_000_000)
}
/// 2026-11-21 23:59:58, a Saturday.
const BASE: i64 = 1_795_305_598;

fn clock() -> (Rtc, Arc<Level>) {
    let level = Arc::new(Level::default());
    let sizes = CmosSizes { low_ram_bytes: 512 << 20, high_ram_bytes: 0, cpus: 2 };
    (Rtc::new(IrqLine::new(level.clone(), 8), IrqLine::unconnected(), BASE, sizes), level)
}
fn get(rtc: &mut Rtc, index: u8, now: GuestTime) -> u8 {
    rtc.port_write(Port(0x70), Width::Byte, u32::from(index), now);
    rtc.port_read(Port(0x71), Width::Byte, now) as u8
}
fn put(rtc: &mut Rtc, index: u8, value: u8, now: GuestTime) {
    rtc.port_write(Port(0x70), Width::Byte, u32::from(index), now);
    rtc.port_write(Port(0x71), Width::Byte, u32::from(value), now);
}

#[test]
fn time_passes_in_bcd() {
    let (mut rtc, _) = clock();
    let read = |rtc: &mut Rtc, now| {
        [HOURS, MINUTES, SECONDS, DAY, MONTH, YEAR, CENTURY, WEEKDAY].map(|r| get(rtc, r, now))
    };
    assert_eq!(read(&mut rtc, ms(500)), [0x23, 0x59, 0x58, 0x21, 0x11, 0x26, 0x20, 7]);
    assert_eq!(read(&mut rtc, ms(2500)), [0, 0, 0, 0x22, 0x11, 0x26, 0x20, 1]);
}

#[test]
fn formats() {
    let (mut rtc, _) = clock();
    put(&mut rtc, B, BINARY, ms(1));
    assert_eq!(get(&mut rtc, HOURS, ms(1)), 11 | PM);
    put(&mut rtc, B, BINARY | HOURS_24, ms(1));
    assert_eq!(get(&mut rtc, HOURS, ms(1)), 23);
    assert_eq!(get(&mut rtc, MINUTES, ms(1)), 59);
}

#[test]
fn setting_stops_and_starts_the_clock() {
    let (mut rtc, _) = clock();
    put(&mut rtc, B, SET | HOURS_24, ms(100));
    for (register, value) in
        [(SECONDS, 0x30), (MINUTES, 0), (HOURS, 0x12), (DAY, 1), (MONTH, 1), (YEAR, 0x30)]
    {
        put(&mut rtc, register, value, ms(100));
    }
    assert_eq!(get(&mut rtc, SECONDS, ms(5000)), 0x30);
    put(&mut rtc, B, HOURS_24, ms(5000));
    assert_eq!(get(&mut rtc, SECONDS, ms(5900)), 0x30);
    assert_eq!(get(&mut rtc, SECONDS, ms(6100)), 0x31);
    assert_eq!(get(&mut rtc, YEAR, ms(6100)), 0x30);
}

#[test]
fn update_in_progress_shows_before_each_second() {
    let (mut rtc, _) = clock();
    assert_eq!(get(&mut rtc, A, ms(500)) & UPDATE_IN_PROGRESS, 0);
    assert_ne!(get(&mut rtc, A, ms(999)) & UPDATE_IN_PROGRESS, 0);
    assert_eq!(get(&mut rtc, A, ms(1001)) & UPDATE_IN_PROGRESS, 0);
}

#[test]
fn periodic_interrupts() {
    let (mut rtc, level) = clock();
    put(&mut rtc, A, 0x26, ms(0));
    put(&mut rtc, B, PERIODIC | HOURS_24, ms(0));
    let mut interrupts = 0;
    while let Some(at) = rtc.next_event().filter(|at| *at <= ms(1000)) {
        rtc.advance(at);
        assert!(level.0.load(Ordering::Relaxed));
        assert_eq!(rtc.next_event(), None, "no further event before C is read");
        assert_eq!(get(&mut rtc, C, at) & (INTERRUPT | PERIODIC), INTERRUPT | PERIODIC);
        assert!(!level.0.load(Ordering::Relaxed));
        interrupts += 1;
    }
    assert_eq!(interrupts, 1024);
}

#[test]
fn the_alarm_and_the_update_interrupt() {
    let (mut rtc, level) = clock();
    for (register, value) in [(ALARM_HOURS, 0x00), (ALARM_MINUTES, 0x01), (ALARM_SECONDS, 0xFF)] {
        put(&mut rtc, register, value, ms(0));
    }
    put(&mut rtc, B, ALARM | HOURS_24, ms(0));
    assert_eq!(rtc.next_event(), Some(ms(62_000)));
    rtc.advance(ms(62_000));
    assert!(level.0.load(Ordering::Relaxed));
    assert_ne!(get(&mut rtc, C, ms(62_000)) & ALARM, 0);
    put(&mut rtc, B, UPDATE_ENDED | HOURS_24, ms(62_100));
    assert_eq!(rtc.next_event(), Some(ms(63_000)));
}

#[test]
fn memory_sizes() {
    let (mut rtc, _) = clock();
    let word = |rtc: &mut Rtc, at| u16::from(get(rtc, at, ms(0))) | u16::from(get(rtc, at + 1, ms(0))) << 8;
    assert_eq!(word(&mut rtc, 0x15), 640);
    assert_eq!(word(&mut rtc, 0x17), 0xFFFF);
    assert_eq!(word(&mut rtc, 0x34), (496 << 20 >> 16) as u16);
    assert_eq!(get(&mut rtc, 0x5F, ms(0)), 1);
}

#[test]
fn garbage_in_the_time_registers_is_survived() {
    let (mut rtc, _) = clock();
    put(&mut rtc, B, SET, ms(0));
    for register in (0..=9).chain([CENTURY]) {
        put(&mut rtc, register, 0xFF, ms(0));
    }
    put(&mut rtc, B, 0, ms(0));
    for register in 0..128 {
        get(&mut rtc, register, ms(100_000));
    }
}

#[test]
fn saved_state_comes_back() {
    let (mut rtc, _) = clock();
    put(&mut rtc, 0x40, 0x55, ms(0));
    let saved = rtc.save();
    let (mut other, _) = clock();
    other.restore(saved.clone()).unwrap();
    assert_eq!(get(&mut other, 0x40, ms(0)), 0x55);
    assert!(other.restore(RtcStateV1 { cmos: vec![0; 3], ..saved }).is_err());
}
