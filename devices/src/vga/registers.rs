//! The VGA's registers as stored state (IBM PS/2 Hardware Interface Technical Reference,
//! "Video Subsystem"): miscellaneous output, sequencer, CRT controller, graphics and attribute
//! controllers, and the DAC. No bus, no clock.

use super::dac::{Dac, DacStateV1};
use serde::{Deserialize, Serialize};
use trimotor_bus::RestoreError;

/// CRT controller registers.
pub const CRTC_REGISTERS: usize = 25;
/// Sequencer registers.
pub const SEQUENCER_REGISTERS: usize = 5;
/// Graphics controller registers.
pub const GRAPHICS_REGISTERS: usize = 9;
/// Attribute controller registers; the first 16 are the palette.
pub const ATTRIBUTE_REGISTERS: usize = 21;

const SEQUENCER_BITS: [u8; SEQUENCER_REGISTERS] = [0x03, 0x3D, 0x0F, 0x3F, 0x0E];
const GRAPHICS_BITS: [u8; GRAPHICS_REGISTERS] = [0x0F, 0x0F, 0x0F, 0x1F, 0x03, 0x7B, 0x0F, 0x0F, 0xFF];

/// CRTC: register 7 holds upper bits of others.
pub const CRTC_OVERFLOW: usize = 0x07;
/// CRTC: height of a character less one, and upper bits of line compare.
pub const CRTC_MAXIMUM_SCAN_LINE: usize = 0x09;
/// CRTC: the cursor's first line; bit 5 hides it.
pub const CRTC_CURSOR_START: usize = 0x0A;
/// CRTC: the cursor's last line.
pub const CRTC_CURSOR_END: usize = 0x0B;
/// CRTC: where the screen starts, high byte; the low byte follows.
pub const CRTC_START_ADDRESS: usize = 0x0C;
/// CRTC: where the cursor is, high byte; the low byte follows.
pub const CRTC_CURSOR_LOCATION: usize = 0x0E;
/// CRTC: last line of the vertical retrace; bit 7 protects registers 0 to 7.
pub const CRTC_VERTICAL_RETRACE_END: usize = 0x11;
const CRTC_PROTECT: u8 = 0x80;

/// A text mode that a video BIOS sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TextMode {
    /// Mode 3: 80 columns, 25 rows, 16 lines a character.
    Rows25,
    /// 80 columns, 50 rows, 8 lines a character.
    Rows50,
}

/// All registers.
#[derive(Clone, Debug)]
pub struct Registers {
    /// Miscellaneous output.
    pub misc: u8,
    /// Feature control.
    pub feature: u8,
    /// Video subsystem enable, port 3C3h.
    pub subsystem: u8,
    sequencer_index: u8,
    /// Sequencer.
    pub sequencer: [u8; SEQUENCER_REGISTERS],
    crtc_index: u8,
    /// CRT controller.
    pub crtc: [u8; CRTC_REGISTERS],
    graphics_index: u8,
    /// Graphics controller.
    pub graphics: [u8; GRAPHICS_REGISTERS],
    /// Index of the attribute controller; bit 5 gives the palette to the screen.
    attribute_index: u8,
    /// The next write of 3C0h is data.
    attribute_data_next: bool,
    /// Attribute controller.
    pub attribute: [u8; ATTRIBUTE_REGISTERS],
    /// Colours.
    pub dac: Dac,
}

/// The saved registers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RegistersStateV1 {
    misc: u8,
    feature: u8,
    subsystem: u8,
    /// Sequencer, CRTC, graphics, attribute.
    indices: [u8; 4],
    sequencer: Vec<u8>,
    crtc: Vec<u8>,
    graphics: Vec<u8>,
    attribute_data_next: bool,
    attribute: Vec<u8>,
    dac: DacStateV1,
}

impl Registers {
    /// Registers as the video BIOS leaves them in a text mode.
    pub fn text_mode(mode: TextMode) -> Self {
        let mut crtc = [
            0x5F, 0x4F, 0x50, 0x82, 0x55, 0x81, 0xBF, 0x1F, 0x00, 0x4F, 0x0D, 0x0E, 0x00, 0x00, 0x00, 0x00,
            0x9C, 0x8E, 0x8F, 0x28, 0x1F, 0x96, 0xB9, 0xA3, 0xFF,
        ];
        if mode == TextMode::Rows50 {
            crtc[CRTC_MAXIMUM_SCAN_LINE] = 0x47;
            crtc[CRTC_CURSOR_START] = 0x06;
            crtc[CRTC_CURSOR_END] = 0x07;
        }
        Self {
            misc: 0x67,
            feature: 0,
            subsystem: 1,
            sequencer_index: 0,
            sequencer: [0x03, 0x00, 0x03, 0x00, 0x02],
            crtc_index: 0,
            crtc,
            graphics_index: 0,
            graphics: [0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0E, 0x00, 0xFF],
            attribute_index: 0x20,
            attribute_data_next: false,
            attribute: [
                0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3A, 0x3B, 0x3C, 0x3D, 0x3E,
                0x3F, 0x0C, 0x00, 0x0F, 0x08, 0x00,
            ],
            dac: Dac::text_colours(),
        }
    }

    /// Whether the CRTC answers at 3D4h (colour) and not 3B4h (monochrome).
    pub fn colour_addresses(&self) -> bool {
        self.misc & 1 != 0
    }
    /// A CRTC register with its low byte in the register behind it.
    pub fn crtc_pair(&self, high: usize) -> u16 {
        u16::from_be_bytes([self.crtc[high], self.crtc[high + 1]])
    }
    /// A vertical CRTC value with bits 8 and 9 in the overflow register.
    pub fn crtc_vertical(&self, low: usize, bit_8: u32, bit_9: u32) -> u32 {
        let overflow = self.crtc[CRTC_OVERFLOW] as u32;
        self.crtc[low] as u32 | (overflow >> bit_8 & 1) << 8 | (overflow >> bit_9 & 1) << 9
    }
    /// Whether the screen shows anything: neither the sequencer nor the palette's owner blanks it.
    pub fn screen_on(&self) -> bool {
        self.sequencer[1] & 0x20 == 0 && self.attribute_index & 0x20 != 0
    }
    /// The DAC's index for an attribute code 0 to 15: plane enable, internal palette and colour select.
    pub fn palette(&self, code: u8) -> u8 {
        let palette = self.attribute[(code & self.attribute[0x12] & 15) as usize] & 0x3F;
        let select = self.attribute[0x14];
        if self.attribute[0x10] & 0x80 != 0 {
            palette & 0x0F | (select & 0x0F) << 4
        } else {
            palette | (select & 0x0C) << 4
        }
    }
    /// The colour, eight bits a component, of an attribute code 0 to 15.
    pub fn colour(&self, code: u8) -> [u8; 3] {
        self.dac.colour(self.palette(code))
    }
    /// Whether memory is shown as pixels, and not as characters.
    pub fn is_graphics(&self) -> bool {
        self.graphics[6] & 1 != 0
    }
    /// Dots of a character: 8 or 9.
    pub fn dots(&self) -> usize {
        if self.sequencer[1] & 1 != 0 { 8 } else { 9 }
    }
    /// Whether the dot clock is halved, so that each dot is two columns of the screen wide.
    pub fn half_clock(&self) -> bool {
        self.sequencer[1] & 8 != 0
    }
    /// Whether the sequencer chains all four planes: addresses 0 to 3 are bytes of planes 0 to 3.
    pub fn chained(&self) -> bool {
        self.sequencer[4] & 0x08 != 0
    }
    /// Whether the sequencer gives even addresses to planes 0 and 2, odd ones to planes 1 and 3.
    pub fn odd_even(&self) -> bool {
        self.sequencer[4] & 0x04 == 0
    }

    /// Reads a register port other than input status 1. `None`: nobody answers.
    pub fn read(&mut self, port: u16) -> Option<u8> {
        Some(match port {
            0x3C0 => self.attribute_index,
            0x3C1 => *self.attribute.get((self.attribute_index & 0x1F) as usize).unwrap_or(&0),
            0x3C2 => 0x10, // Input status 0: the monitor answers the sense line.
            0x3C3 => self.subsystem,
            0x3C4 => self.sequencer_index,
            0x3C5 => *self.sequencer.get(self.sequencer_index as usize).unwrap_or(&0),
            0x3C6..=0x3C9 => self.dac.read(port),
            0x3CA => self.feature,
            0x3CC => self.misc,
            0x3CE => self.graphics_index,
            0x3CF => *self.graphics.get(self.graphics_index as usize).unwrap_or(&0),
            0x3B4 | 0x3D4 if self.crtc_port(port) => self.crtc_index,
            0x3B5 | 0x3D5 if self.crtc_port(port) => *self.crtc.get(self.crtc_index as usize).unwrap_or(&0),
            _ => return None,
        })
    }

    /// Writes a register port. Returns whether what the screen shows may have changed.
    pub fn write(&mut self, port: u16, value: u8) -> bool {
        match port {
            0x3C0 => return self.write_attribute(value),
            0x3C2 => return std::mem::replace(&mut self.misc, value) != value,
            0x3C3 => self.subsystem = value & 1,
            0x3C4 => self.sequencer_index = value & 0x07,
            0x3C5 => return store(&mut self.sequencer, self.sequencer_index, value, &SEQUENCER_BITS),
            0x3C6..=0x3C9 => return self.dac.write(port, value),
            0x3BA | 0x3DA if self.crtc_port(port) => self.feature = value & 0x0B,
            0x3CE => self.graphics_index = value & 0x0F,
            0x3CF => return store(&mut self.graphics, self.graphics_index, value, &GRAPHICS_BITS),
            0x3B4 | 0x3D4 if self.crtc_port(port) => self.crtc_index = value & 0x3F,
            0x3B5 | 0x3D5 if self.crtc_port(port) => return self.write_crtc(value),
            _ => {}
        }
        false
    }

    /// A read of input status 1 makes the next write of 3C0h an index.
    pub fn reset_flip_flop(&mut self) {
        self.attribute_data_next = false;
    }
    /// Whether the ports 3Bxh or 3Dxh are those in use.
    pub fn crtc_port(&self, port: u16) -> bool {
        (port & 0x40 != 0) == self.colour_addresses()
    }

    fn write_attribute(&mut self, value: u8) -> bool {
        self.attribute_data_next = !self.attribute_data_next;
        if self.attribute_data_next {
            let on = self.attribute_index & 0x20;
            self.attribute_index = value & 0x3F;
            return on != value & 0x20;
        }
        let at = (self.attribute_index & 0x1F) as usize;
        let bits = match at {
            0..=15 => 0x3F,
            0x10 => 0xEF,
            0x11 => 0xFF,
            0x12 => 0x3F,
            _ => 0x0F,
        };
        match self.attribute.get_mut(at) {
            // The screen owns the palette while bit 5 of the index is set.
            Some(register) if at > 15 || self.attribute_index & 0x20 == 0 => {
                std::mem::replace(register, value & bits) != value & bits
            }
            _ => false,
        }
    }

    fn write_crtc(&mut self, value: u8) -> bool {
        let at = self.crtc_index as usize;
        let protected = self.crtc[CRTC_VERTICAL_RETRACE_END] & CRTC_PROTECT != 0;
        let Some(register) = self.crtc.get_mut(at) else { return false };
        let new = match at {
            CRTC_OVERFLOW if protected => *register & !0x10 | value & 0x10,
            0..CRTC_OVERFLOW if protected => *register,
            _ => value,
        };
        std::mem::replace(register, new) != new
    }

    /// The registers now.
    pub fn save(&self) -> RegistersStateV1 {
        let Self {
            misc,
            feature,
            subsystem,
            sequencer_index,
            sequencer,
            crtc_index,
            crtc,
            graphics_index,
            graphics,
            attribute_index,
            attribute_data_next,
            attribute,
            dac,
        } = self.clone();
        RegistersStateV1 {
            misc,
            feature,
            subsystem,
            indices: [sequencer_index, crtc_index, graphics_index, attribute_index],
            sequencer: sequencer.to_vec(),
            crtc: crtc.to_vec(),
            graphics: graphics.to_vec(),
            attribute_data_next,
            attribute: attribute.to_vec(),
            dac: dac.save(),
        }
    }

    /// Registers from a saved state.
    ///
    /// # Errors
    /// Lists of another length, or a DAC position outside it.
    pub fn restored(state: RegistersStateV1) -> Result<Self, RestoreError> {
        let RegistersStateV1 {
            misc,
            feature,
            subsystem,
            indices: [sequencer_index, crtc_index, graphics_index, attribute_index],
            sequencer,
            crtc,
            graphics,
            attribute_data_next,
            attribute,
            dac,
        } = state;
        let beyond =
            |values: &[u8], bits: &[u8]| values.iter().zip(bits).any(|(value, bits)| value & !bits != 0);
        for (field, impossible) in [
            ("sequencer", beyond(&sequencer, &SEQUENCER_BITS)),
            ("graphics", beyond(&graphics, &GRAPHICS_BITS)),
        ] {
            if impossible {
                return Err(RestoreError {
                    part: "VGA",
                    field,
                    value: "beyond the registers' bits".to_owned(),
                });
            }
        }
        Ok(Self {
            misc,
            feature,
            subsystem,
            sequencer_index,
            sequencer: exactly("sequencer", &sequencer)?,
            crtc_index,
            crtc: exactly("crtc", &crtc)?,
            graphics_index,
            graphics: exactly("graphics", &graphics)?,
            attribute_index,
            attribute_data_next,
            attribute: exactly("attribute", &attribute)?,
            dac: Dac::restored(dac)?,
        })
    }
}

fn exactly<const N: usize>(field: &'static str, bytes: &[u8]) -> Result<[u8; N], RestoreError> {
    bytes.try_into().map_err(|_| RestoreError { part: "VGA", field, value: format!("{} bytes", bytes.len()) })
}

/// Stores into the register that exists; returns whether it changed.
fn store(registers: &mut [u8], index: u8, value: u8, bits: &[u8]) -> bool {
    let at = index as usize;
    match (registers.get_mut(at), bits.get(at)) {
        (Some(register), Some(bits)) => std::mem::replace(register, value & bits) != value & bits,
        _ => false,
    }
}
