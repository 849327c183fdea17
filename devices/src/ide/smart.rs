//! SMART: a drive's own view of its health (ATA/ATAPI-7, "SMART"; the attributes' form is SFF-8035's).
//!
//! The attributes are counts that this drive really has: errors of the host, power cycles.

use super::bus_master::Dma;
use super::registers::ABRT;
use super::unit::{SECTOR, Unit};
use trimotor_bus::{GuestTime, time::NS_PER_SECOND};

const READ_DATA: u8 = 0xD0;
const READ_THRESHOLDS: u8 = 0xD1;
const AUTOSAVE: u8 = 0xD2;
const SAVE_ATTRIBUTES: u8 = 0xD3;
const EXECUTE_OFFLINE: u8 = 0xD4;
const READ_LOG: u8 = 0xD5;
const ENABLE: u8 = 0xD8;
const DISABLE: u8 = 0xD9;
const RETURN_STATUS: u8 = 0xDA;
/// What LBA mid and high must be, and stay where all is well.
const KEY: (u8, u8) = (0x4F, 0xC2);

/// Logs: directory, errors, self-tests.
const LOG_DIRECTORY: u8 = 0;
const LOG_ERRORS: u8 = 1;
const LOG_SELF_TESTS: u8 = 6;

/// Number, flags (online collection; the first: failure is imminent below its threshold), threshold.
const ATTRIBUTES: [(u8, u16, u8); 4] = [(1, 3, 6), (9, 2, 0), (12, 2, 0), (200, 3, 6)];

impl Unit {
    pub(super) fn smart(&mut self, dma: &mut Dma<'_>, now: GuestTime) {
        let t = &self.task;
        let (function, count, log) = (t.feature[0], t.count[0], t.lba_low[0]);
        if (t.lba_mid[0], t.lba_high[0]) != KEY || !self.settings.smart && function != ENABLE {
            return self.finish(ABRT);
        }
        let reply = match function {
            READ_DATA => self.attributes(now),
            READ_THRESHOLDS => thresholds(),
            READ_LOG => match self.log(log) {
                Some(page) if count == 1 => page,
                _ => return self.finish(ABRT),
            },
            AUTOSAVE => {
                self.settings.smart_autosave = count != 0;
                return self.finish(0);
            }
            ENABLE | DISABLE => {
                self.settings.smart = function == ENABLE;
                return self.finish(0);
            }
            // Tests end at once: there is no surface to look at.
            EXECUTE_OFFLINE if matches!(log, 0..=2 | 0x7F) => return self.finish(0),
            // The key in the registers says that no threshold is reached.
            SAVE_ATTRIBUTES | RETURN_STATUS => return self.finish(0),
            _ => return self.finish(ABRT),
        };
        self.start_reply(reply, SECTOR as u32, false, dma, now);
    }

    fn attributes(&self, now: GuestTime) -> Vec<u8> {
        let s = &self.settings;
        let hours = now.ns() / NS_PER_SECOND / 3600;
        let mut page = vec![0; SECTOR as usize];
        page[0] = 0x10;
        for (i, (id, flags, _)) in ATTRIBUTES.iter().enumerate() {
            let raw = match id {
                1 => s.read_errors.into(),
                9 => hours,
                12 => 1,
                _ => s.write_errors.into(),
            };
            let entry = &mut page[2 + 12 * i..][..12];
            entry[0] = *id;
            entry[1..3].copy_from_slice(&flags.to_le_bytes());
            (entry[3], entry[4]) = (100, 100);
            entry[5..11].copy_from_slice(&raw.to_le_bytes()[..6]);
        }
        // Offline collection: done, takes no time; self-tests, immediate, aborted by the next command.
        page[362] = 0x82;
        page[367] = 0x19;
        page[368] = 3;
        page[370] = 1; // Error log.
        (page[372], page[373]) = (1, 1); // Minutes of the short and the long test.
        with_sum(page)
    }
    fn log(&self, log: u8) -> Option<Vec<u8>> {
        let mut page = vec![0; SECTOR as usize];
        page[0] = 1;
        match log {
            LOG_DIRECTORY => {
                page[2 * usize::from(LOG_ERRORS)] = 1;
                page[2 * usize::from(LOG_SELF_TESTS)] = 1;
                return Some(page);
            }
            LOG_ERRORS => {}
            LOG_SELF_TESTS => {}
            _ => return None,
        }
        Some(with_sum(page))
    }
}

fn thresholds() -> Vec<u8> {
    let mut page = vec![0; SECTOR as usize];
    page[0] = 0x10;
    for (i, (id, _, threshold)) in ATTRIBUTES.iter().enumerate() {
        (page[2 + 12 * i], page[3 + 12 * i]) = (*id, *threshold);
    }
    with_sum(page)
}

/// The last byte makes the sum of all zero.
fn with_sum(mut page: Vec<u8>) -> Vec<u8> {
    let sum = page.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    if let Some(last) = page.last_mut() {
        *last = last.wrapping_sub(sum);
    }
    page
}
