//! Register numbers and bits of the MC146818.

/// Seconds.
pub const SECONDS: u8 = 0x00;
/// Seconds of the alarm.
pub const ALARM_SECONDS: u8 = 0x01;
/// Minutes.
pub const MINUTES: u8 = 0x02;
/// Minutes of the alarm.
pub const ALARM_MINUTES: u8 = 0x03;
/// Hours.
pub const HOURS: u8 = 0x04;
/// Hours of the alarm.
pub const ALARM_HOURS: u8 = 0x05;
/// Day of the week, 1 is Sunday.
pub const WEEKDAY: u8 = 0x06;
/// Day of the month.
pub const DAY: u8 = 0x07;
/// Month.
pub const MONTH: u8 = 0x08;
/// Year of the century.
pub const YEAR: u8 = 0x09;
/// Register A.
pub const A: u8 = 0x0A;
/// Register B.
pub const B: u8 = 0x0B;
/// Register C.
pub const C: u8 = 0x0C;
/// Register D.
pub const D: u8 = 0x0D;
/// Century.
pub const CENTURY: u8 = 0x32;

/// A: update in progress.
pub const UPDATE_IN_PROGRESS: u8 = 1 << 7;
/// B: the clock stands still and can be set.
pub const SET: u8 = 1 << 7;
/// B and C: periodic interrupt.
pub const PERIODIC: u8 = 1 << 6;
/// B and C: alarm interrupt.
pub const ALARM: u8 = 1 << 5;
/// B and C: update-ended interrupt.
pub const UPDATE_ENDED: u8 = 1 << 4;
/// B: binary instead of BCD.
pub const BINARY: u8 = 1 << 2;
/// B: 24 hours instead of 12.
pub const HOURS_24: u8 = 1 << 1;
/// C: an enabled flag is set; the wire is asserted.
pub const INTERRUPT: u8 = 1 << 7;
/// D: memory and time are valid.
pub const VALID: u8 = 1 << 7;
/// Hours in 12-hour mode: afternoon.
pub const PM: u8 = 1 << 7;
