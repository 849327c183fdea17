//! MODE SENSE and MODE SELECT: pages of parameters.

use super::commands::{Answer, Packet, Result};
use super::{RECOVERY, Sense, sense};
use crate::ide::unit::Unit;

const ERROR_RECOVERY: u8 = 0x01;
const CAPABILITIES: u8 = 0x2A;
const ALL_PAGES: u8 = 0x3F;
/// Bytes of the header of the ten-byte commands.
const HEADER: usize = 8;
/// Speed in kilobytes a second: that of a drive that was called 48x.
const SPEED: u16 = 48 * 176;

/// Which values of a page are asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Values {
    Current,
    Changeable,
    Default,
}

impl Unit {
    pub(super) fn mode_sense(&self, packet: &Packet, long: bool) -> Result {
        let page = packet.byte(2) & 0x3F;
        let values = match packet.byte(2) >> 6 {
            0 => Values::Current,
            1 => Values::Changeable,
            2 => Values::Default,
            _ => return Err(sense::NOT_SAVED),
        };
        let pages: Vec<u8> = match page {
            ERROR_RECOVERY => self.recovery_page(values),
            CAPABILITIES => self.capabilities_page(values),
            ALL_PAGES => [self.recovery_page(values), self.capabilities_page(values)].concat(),
            _ => return Err(sense::FIELD),
        };
        let medium_type = match self.disc() {
            Ok(_) => 0x01,
            Err(sense::NO_DISC_OPEN) => 0x71,
            Err(_) => 0x70,
        };
        let mut data = if long {
            let [high, low] = (pages.len() as u16 + HEADER as u16 - 2).to_be_bytes();
            vec![high, low, medium_type, 0, 0, 0, 0, 0]
        } else {
            vec![pages.len() as u8 + 3, medium_type, 0, 0]
        };
        data.extend(pages);
        Ok(Answer::Data(data, if long { packet.length(7, 2) } else { packet.length(4, 1) }))
    }
    fn recovery_page(&self, values: Values) -> Vec<u8> {
        let parameters = match values {
            Values::Current => self.atapi.as_ref().map_or(RECOVERY, |atapi| atapi.recovery),
            Values::Changeable => [0xFF, 0xFF, 0, 0, 0, 0],
            Values::Default => RECOVERY,
        };
        [&[ERROR_RECOVERY, 6], &parameters[..]].concat()
    }
    fn capabilities_page(&self, values: Values) -> Vec<u8> {
        let mut page = vec![0; 20];
        (page[0], page[1]) = (CAPABILITIES, 18);
        if values != Values::Changeable {
            page[2] = 0x08; // Reads DVD-ROM.
            let locked = self.atapi.as_ref().is_some_and(|atapi| atapi.locked);
            page[6] = 0x29 | u8::from(locked) << 1; // A tray, that ejects and locks.
            page[8..10].copy_from_slice(&SPEED.to_be_bytes());
            page[12..14].copy_from_slice(&512u16.to_be_bytes()); // A buffer of 512 KiB.
            page[14..16].copy_from_slice(&SPEED.to_be_bytes());
        }
        page
    }
    /// Takes pages that MODE SELECT (10) sends.
    pub(super) fn mode_select(&mut self, parameters: &[u8]) -> std::result::Result<(), Sense> {
        let header = parameters.get(..HEADER).ok_or(sense::PARAMETERS)?;
        let descriptors = usize::from(u16::from_be_bytes([header[6], header[7]]));
        let mut rest = parameters.get(HEADER + descriptors..).ok_or(sense::PARAMETERS)?;
        while let [page, length, more @ ..] = rest {
            if (*page, *length) == (0, 0) {
                break; // The host filled up to a word.
            }
            let values = more.get(..usize::from(*length)).ok_or(sense::PARAMETERS)?;
            match (page & 0x3F, values) {
                (ERROR_RECOVERY, [flags, retries, _, _, _, _]) => {
                    if let Some(atapi) = &mut self.atapi {
                        (atapi.recovery[0], atapi.recovery[1]) = (*flags, *retries);
                    }
                }
                // Nothing of it can be changed.
                (CAPABILITIES, values) if values.len() == 18 => {}
                _ => return Err(sense::PARAMETER_FIELD),
            }
            rest = &more[values.len()..];
        }
        Ok(())
    }
}
