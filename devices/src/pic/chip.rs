//! One 8259A.

use serde::{Deserialize, Serialize};
use trimotor_bus::{RestoreError, SaveState};

/// ICW1: marks a write at A0 = 0 as ICW1.
const ICW1: u8 = 1 << 4;
/// ICW1: only one chip, so that ICW3 is left out.
const ICW1_SINGLE: u8 = 1 << 1;
/// ICW1: ICW4 follows.
const ICW1_ICW4: u8 = 1 << 0;
/// ICW4: automatic end of interrupt.
const ICW4_AUTO_EOI: u8 = 1 << 1;
/// ICW4: special fully nested mode.
const ICW4_SPECIAL_FULLY_NESTED: u8 = 1 << 4;
/// Marks a write at A0 = 0 as OCW3 (where bit 4 is clear).
const OCW3: u8 = 1 << 3;

/// Which initialisation word comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
enum Expect {
    /// None: OCW1 at A0 = 1.
    #[default]
    Operation,
    Icw2,
    Icw3,
    Icw4,
}

/// Everything that an 8259A remembers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PicStateV1 {
    lines: u8,
    irr: u8,
    imr: u8,
    isr: u8,
    elcr: u8,
    vector_base: u8,
    icw3: u8,
    expect: Expect,
    single: bool,
    icw4_follows: bool,
    auto_eoi: bool,
    special_fully_nested: bool,
    special_mask: bool,
    rotate_on_auto_eoi: bool,
    read_isr: bool,
    poll: bool,
    /// The input with the lowest priority, 0 to 7.
    lowest: u8,
}

/// The model of one 8259A: pure, no wires.
#[derive(Clone, Debug)]
pub struct Pic8259 {
    /// Inputs that the ELCR can make level triggered.
    elcr_mask: u8,
    state: PicStateV1,
}

impl Pic8259 {
    /// A chip at power-on. `elcr_mask` has a bit for each input that may be level triggered.
    pub fn new(elcr_mask: u8) -> Self {
        Self { elcr_mask, state: Self::power_on(0) }
    }
    /// Back to power-on; inputs keep their levels.
    pub fn reset(&mut self) {
        self.state = Self::power_on(self.state.lines);
    }
    /// The data sheet leaves the mask undefined at power-on; all inputs masked is what keeps a
    /// board quiet until software initialises the chip.
    fn power_on(lines: u8) -> PicStateV1 {
        PicStateV1 { lowest: 7, lines, imr: 0xFF, ..Default::default() }
    }

    /// Drives an input, 0 to 7. In either trigger mode the request goes with the line.
    pub fn set_line(&mut self, input: u8, high: bool) {
        let s = &mut self.state;
        let bit = 1u8 << (input & 7);
        if high {
            if s.elcr & bit != 0 || s.lines & bit == 0 {
                s.irr |= bit;
            }
            s.lines |= bit;
        } else {
            s.lines &= !bit;
            s.irr &= !bit;
        }
    }
    /// The level of an input, 0 to 7.
    pub fn line(&self, input: u8) -> bool {
        self.state.lines & 1 << (input & 7) != 0
    }
    /// Whether the chip asks for an interrupt.
    pub fn output(&self) -> bool {
        self.highest_request().is_some()
    }
    /// The interrupt mask register.
    pub fn mask(&self) -> u8 {
        self.state.imr
    }
    /// The registers, in a line as QEMU has it.
    pub fn describe(&self) -> String {
        let s = &self.state;
        format!(
            "irr={:02x} imr={:02x} isr={:02x} lines={:02x} hprio={} irq_base={:02x} rr_sel={} elcr={:02x} fnm={} int={}",
            s.irr,
            s.imr,
            s.isr,
            s.lines,
            s.lowest.wrapping_add(1) & 7,
            s.vector_base,
            u8::from(s.read_isr),
            s.elcr,
            u8::from(s.special_fully_nested),
            u8::from(self.output())
        )
    }
    /// The vectors' upper five bits.
    pub fn vector_base(&self) -> u8 {
        self.state.vector_base
    }

    /// The acknowledge cycle: takes the highest request. Where it went away the answer is input 7, without an
    /// in-service bit: the spurious interrupt.
    pub fn acknowledge(&mut self) -> u8 {
        let Some(input) = self.highest_request() else { return 7 };
        let s = &mut self.state;
        let bit = 1u8 << input;
        if s.elcr & bit == 0 {
            s.irr &= !bit;
        }
        if !s.auto_eoi {
            s.isr |= bit;
        } else if s.rotate_on_auto_eoi {
            s.lowest = input;
        }
        input
    }

    /// Reads the register at A0 = 0 (`false`) or A0 = 1 (`true`).
    pub fn read(&mut self, a0: bool) -> u8 {
        if std::mem::take(&mut self.state.poll) {
            return if self.output() { 0x80 | self.acknowledge() } else { 0 };
        }
        match (a0, self.state.read_isr) {
            (true, _) => self.state.imr,
            (false, true) => self.state.isr,
            (false, false) => self.state.irr,
        }
    }
    /// Writes the register at A0 = 0 (`false`) or A0 = 1 (`true`).
    pub fn write(&mut self, a0: bool, value: u8) {
        if a0 {
            self.write_high(value);
        } else if value & ICW1 != 0 {
            self.initialise(value);
        } else if value & OCW3 != 0 {
            self.operation_3(value);
        } else {
            self.operation_2(value);
        }
    }
    /// The edge/level control register: a 1 makes an input level triggered.
    pub fn elcr(&self) -> u8 {
        self.state.elcr
    }
    /// Writes the edge/level control register.
    pub fn set_elcr(&mut self, value: u8) {
        let s = &mut self.state;
        s.elcr = value & self.elcr_mask;
        s.irr = (s.irr & !s.elcr) | (s.lines & s.elcr);
    }

    fn initialise(&mut self, icw1: u8) {
        let old = &self.state;
        self.state = PicStateV1 {
            lines: old.lines,
            irr: old.lines & old.elcr,
            elcr: old.elcr,
            vector_base: old.vector_base,
            expect: Expect::Icw2,
            single: icw1 & ICW1_SINGLE != 0,
            icw4_follows: icw1 & ICW1_ICW4 != 0,
            lowest: 7,
            ..Default::default()
        };
    }
    fn write_high(&mut self, value: u8) {
        let s = &mut self.state;
        let after_icw3 = if s.icw4_follows { Expect::Icw4 } else { Expect::Operation };
        match s.expect {
            Expect::Operation => s.imr = value,
            Expect::Icw2 => {
                s.vector_base = value & 0xF8;
                s.expect = if s.single { after_icw3 } else { Expect::Icw3 };
            }
            Expect::Icw3 => {
                s.icw3 = value;
                s.expect = after_icw3;
            }
            Expect::Icw4 => {
                s.auto_eoi = value & ICW4_AUTO_EOI != 0;
                s.special_fully_nested = value & ICW4_SPECIAL_FULLY_NESTED != 0;
                s.expect = Expect::Operation;
            }
        }
    }
    /// OCW2: end of interrupt and rotation; bits 7 to 5 are R, SL, EOI.
    fn operation_2(&mut self, value: u8) {
        let level = value & 7;
        match value >> 5 {
            0b000 => self.state.rotate_on_auto_eoi = false,
            0b100 => self.state.rotate_on_auto_eoi = true,
            0b001 => _ = self.end_highest(),
            0b101 => {
                if let Some(ended) = self.end_highest() {
                    self.state.lowest = ended;
                }
            }
            0b011 => self.state.isr &= !(1 << level),
            0b111 => {
                self.state.isr &= !(1 << level);
                self.state.lowest = level;
            }
            0b110 => self.state.lowest = level,
            _ => {}
        }
    }
    /// OCW3: what reads return, polling, special mask mode.
    fn operation_3(&mut self, value: u8) {
        let s = &mut self.state;
        if value & 1 << 2 != 0 {
            s.poll = true;
        }
        if value & 1 << 1 != 0 {
            s.read_isr = value & 1 != 0;
        }
        if value & 1 << 6 != 0 {
            s.special_mask = value & 1 << 5 != 0;
        }
    }

    /// Ends the in-service interrupt of the highest priority.
    fn end_highest(&mut self) -> Option<u8> {
        let input = self.highest_of(self.blocking())?;
        self.state.isr &= !(1 << input);
        Some(input)
    }
    /// In-service bits that hold back others: special mask mode ignores masked ones.
    fn blocking(&self) -> u8 {
        if self.state.special_mask { self.state.isr & !self.state.imr } else { self.state.isr }
    }
    /// How far an input is from the highest priority.
    fn rank(&self, input: u8) -> u8 {
        input.wrapping_sub(self.state.lowest + 1) & 7
    }
    /// The set bit of the highest priority.
    fn highest_of(&self, bits: u8) -> Option<u8> {
        (0..8).map(|i| (self.state.lowest + 1 + i) & 7).find(|input| bits & 1 << input != 0)
    }
    /// The request to deliver next, if one is above everything in service.
    #[inline]
    fn highest_request(&self) -> Option<u8> {
        let requests = self.state.irr & !self.state.imr;
        if requests == 0 {
            return None;
        }
        let request = self.highest_of(requests)?;
        let Some(serving) = self.highest_of(self.blocking()) else { return Some(request) };
        let (request_rank, serving_rank) = (self.rank(request), self.rank(serving));
        // Special fully nested mode: a slave's further request passes its own level.
        let nested =
            self.state.special_fully_nested && request == serving && self.state.icw3 & 1 << request != 0;
        (request_rank < serving_rank || nested).then_some(request)
    }
}

impl SaveState for Pic8259 {
    type State = PicStateV1;
    fn save(&self) -> PicStateV1 {
        let Self { elcr_mask: _, state } = self;
        state.clone()
    }
    fn restore(&mut self, state: PicStateV1) -> Result<(), RestoreError> {
        let refuse =
            |field, value: u8| Err(RestoreError { part: "PIC", field, value: format!("{value:#x}") });
        if state.lowest > 7 {
            return refuse("lowest", state.lowest);
        }
        if state.elcr & !self.elcr_mask != 0 {
            return refuse("elcr", state.elcr);
        }
        if state.vector_base & 7 != 0 {
            return refuse("vector_base", state.vector_base);
        }
        // A request is there while its line is high, and a level always makes one.
        if state.irr & !state.lines != 0 || state.lines & state.elcr & !state.irr != 0 {
            return refuse("irr", state.irr);
        }
        let expected = match state.expect {
            Expect::Operation | Expect::Icw2 => true,
            Expect::Icw3 => !state.single,
            Expect::Icw4 => state.icw4_follows,
        };
        if !expected {
            return refuse("expect", state.expect as u8);
        }
        self.state = state;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn initialised(icw4: u8) -> Pic8259 {
        let mut pic = Pic8259::new(0xF8);
        pic.write(false, 0x11);
        pic.write(true, 0x20);
        pic.write(true, 0x04);
        pic.write(true, icw4);
        pic
    }

    #[test]
    fn priorities_nest_and_eoi_reopens() {
        let mut pic = initialised(1);
        pic.set_line(3, true);
        pic.set_line(5, true);
        assert_eq!(pic.acknowledge(), 3);
        assert!(!pic.output());
        pic.set_line(1, true);
        assert!(pic.output());
        assert_eq!(pic.acknowledge(), 1);
        pic.write(false, 0x20);
        assert!(!pic.output());
        pic.write(false, 0x20);
        assert_eq!(pic.acknowledge(), 5);
    }

    #[test]
    fn an_edge_counts_once_and_a_level_as_long_as_it_lasts() {
        let mut pic = initialised(3);
        pic.set_line(4, true);
        pic.set_line(4, true);
        assert_eq!(pic.acknowledge(), 4);
        assert!(!pic.output());
        pic.set_elcr(0x10);
        assert!(pic.output());
        assert_eq!(pic.acknowledge(), 4);
        assert!(pic.output());
        pic.set_line(4, false);
        assert!(!pic.output());
        assert_eq!(pic.acknowledge(), 7);
    }

    /// "If the IR input goes low before this time a DEFAULT IR7 will occur when the CPU acknowledges the
    /// interrupt" (data sheet, Edge and Level Triggered Modes).
    #[test]
    fn a_request_that_falls_before_the_acknowledge_is_spurious() {
        for elcr in [0, 0x10] {
            let mut pic = initialised(1);
            pic.set_elcr(elcr);
            pic.set_line(4, true);
            assert_eq!((pic.output(), pic.read(false)), (true, 0x10));
            pic.set_line(4, false);
            assert_eq!((pic.output(), pic.read(false)), (false, 0));
            assert_eq!(pic.acknowledge(), 7);
            pic.write(false, 0x0B);
            assert_eq!(pic.read(false), 0, "no in-service bit");
            // The next edge is a request as ever.
            pic.set_line(4, true);
            assert_eq!(pic.acknowledge(), 4);
            assert_eq!(pic.read(false), 0x10);
        }
    }

    #[test]
    fn rotation_makes_the_ended_level_the_lowest() {
        let mut pic = initialised(1);
        pic.set_line(0, true);
        assert_eq!(pic.acknowledge(), 0);
        pic.write(false, 0xA0);
        pic.set_line(0, false);
        pic.set_line(0, true);
        pic.set_line(7, true);
        assert_eq!(pic.acknowledge(), 7);
    }

    #[test]
    fn special_mask_mode_lets_lower_levels_through() {
        let mut pic = initialised(1);
        pic.set_line(1, true);
        pic.acknowledge();
        pic.set_line(6, true);
        assert!(!pic.output());
        pic.write(true, 0x02);
        pic.write(false, 0x68);
        assert_eq!(pic.acknowledge(), 6);
        pic.write(false, 0x48);
        pic.write(false, 0x0B);
        assert_eq!(pic.read(false), 0x42);
    }

    #[test]
    fn polling_acknowledges() {
        let mut pic = initialised(1);
        pic.write(false, 0x0C);
        assert_eq!(pic.read(false), 0);
        pic.set_line(2, true);
        pic.write(false, 0x0C);
        assert_eq!(pic.read(false), 0x82);
        assert!(!pic.output());
        pic.write(false, 0x0A);
        assert_eq!(pic.read(false), 0);
    }

    #[test]
    fn specific_eoi_and_mask() {
        let mut pic = initialised(1);
        pic.write(true, 0xFE);
        pic.set_line(4, true);
        assert!(!pic.output());
        pic.write(true, 0xEF);
        assert_eq!(pic.acknowledge(), 4);
        pic.write(false, 0x64);
        pic.write(false, 0x0B);
        assert_eq!(pic.read(false), 0);
        assert_eq!(pic.read(true), 0xEF);
    }

    #[test]
    fn an_impossible_state_is_refused() {
        let mut pic = initialised(1);
        let good = pic.save();
        assert!(pic.restore(PicStateV1 { lowest: 8, ..good.clone() }).is_err());
        assert!(pic.restore(PicStateV1 { elcr: 1, ..good.clone() }).is_err());
        assert!(pic.restore(PicStateV1 { irr: 1, ..good.clone() }).is_err());
        assert!(pic.restore(PicStateV1 { lines: 0x10, elcr: 0x10, ..good.clone() }).is_err());
        assert_eq!(pic.save(), good);
        assert!(pic.restore(good).is_ok());
    }
}
