//! Master and slave as the PC wires them.

use super::{Pic8259, PicStateV1};
use serde::{Deserialize, Serialize};
use trimotor_bus::board::{ELCR, PIC_MASTER, PIC_SLAVE};
use trimotor_bus::{Port, RestoreError, SaveState};

/// The master's input that the slave drives.
const CASCADE: u8 = 2;
/// Inputs 0 to 2 of the master are edge triggered for ever.
const MASTER_ELCR_MASK: u8 = 0xF8;
/// Inputs 8 and 13 are edge triggered for ever.
const SLAVE_ELCR_MASK: u8 = 0xDE;

/// Saved state of both chips.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PicPairStateV1 {
    master: PicStateV1,
    slave: PicStateV1,
}

/// The two cascaded 8259A.
#[derive(Clone, Debug)]
pub struct PicPair {
    master: Pic8259,
    slave: Pic8259,
}

impl Default for PicPair {
    fn default() -> Self {
        Self::new()
    }
}

impl PicPair {
    /// Both chips at power-on.
    pub fn new() -> Self {
        Self { master: Pic8259::new(MASTER_ELCR_MASK), slave: Pic8259::new(SLAVE_ELCR_MASK) }
    }
    /// Both chips back to power-on; inputs keep their levels.
    pub fn reset(&mut self) {
        self.master.reset();
        self.slave.reset();
        self.cascade();
    }
    /// Drives ISA interrupt 0 to 15. Input 2 is the cascade and cannot be driven.
    pub fn set_line(&mut self, irq: u8, high: bool) {
        match irq {
            CASCADE => {}
            0..=7 => self.master.set_line(irq, high),
            8..=15 => {
                self.slave.set_line(irq - 8, high);
                self.cascade();
            }
            _ => {}
        }
    }
    /// The level of ISA interrupt 0 to 15; of input 2 that of the cascade.
    pub fn line(&self, irq: u8) -> bool {
        if irq < 8 { self.master.line(irq) } else { self.slave.line(irq) }
    }
    /// Whether ISA interrupt 0 to 15 is masked, at its own chip or at the cascade.
    pub fn is_masked(&self, irq: u8) -> bool {
        if irq < 8 {
            self.master.mask() >> irq & 1 != 0
        } else {
            self.slave.mask() >> (irq & 7) & 1 != 0 || self.master.mask() >> CASCADE & 1 != 0
        }
    }
    /// The vector of ISA interrupt 0 to 15.
    pub fn vector(&self, irq: u8) -> u8 {
        let chip = if irq < 8 { &self.master } else { &self.slave };
        chip.vector_base() | irq & 7
    }
    /// Both chips' registers, a line each.
    pub fn describe(&self) -> String {
        format!("pic0: {}\npic1: {}", self.master.describe(), self.slave.describe())
    }
    /// The master's INT pin.
    #[inline]
    pub fn output(&self) -> bool {
        self.master.output()
    }
    /// Both acknowledge cycles: the vector. A request that went away, of the slave too, gives the spurious
    /// vector 7 of the master, whose input 2 follows the slave's output at once.
    pub fn acknowledge(&mut self) -> u8 {
        let input = self.master.acknowledge();
        if input != CASCADE {
            return self.master.vector_base() | input;
        }
        let vector = self.slave.vector_base() | self.slave.acknowledge();
        // The slave's output drops during the acknowledge cycle, so that a request that
        // remains makes a new edge.
        self.master.set_line(CASCADE, false);
        self.cascade();
        vector
    }
    /// Whether the pair answers at `port`.
    pub fn has_port(port: Port) -> bool {
        matches!(port.0 & !1, p if p == PIC_MASTER.0 || p == PIC_SLAVE.0 || p == ELCR.0)
    }
    /// Reads a byte at one of the six ports.
    pub fn read(&mut self, port: Port) -> u8 {
        let odd = port.0 & 1 != 0;
        let value = match port.0 & !1 {
            p if p == PIC_MASTER.0 => self.master.read(odd),
            p if p == PIC_SLAVE.0 => self.slave.read(odd),
            p if p == ELCR.0 => return if odd { self.slave.elcr() } else { self.master.elcr() },
            _ => return 0xFF,
        };
        self.cascade();
        value
    }
    /// Writes a byte at one of the six ports.
    pub fn write(&mut self, port: Port, value: u8) {
        let odd = port.0 & 1 != 0;
        match port.0 & !1 {
            p if p == PIC_MASTER.0 => self.master.write(odd, value),
            p if p == PIC_SLAVE.0 => self.slave.write(odd, value),
            p if p == ELCR.0 && odd => self.slave.set_elcr(value),
            p if p == ELCR.0 => self.master.set_elcr(value),
            _ => {}
        }
        self.cascade();
    }
    fn cascade(&mut self) {
        self.master.set_line(CASCADE, self.slave.output());
    }
}

impl SaveState for PicPair {
    type State = PicPairStateV1;
    fn save(&self) -> PicPairStateV1 {
        let Self { master, slave } = self;
        PicPairStateV1 { master: master.save(), slave: slave.save() }
    }
    fn restore(&mut self, state: PicPairStateV1) -> Result<(), RestoreError> {
        let PicPairStateV1 { master, slave } = state;
        let mut new = self.clone();
        new.master.restore(master)?;
        new.slave.restore(slave)?;
        let output = new.slave.output();
        if new.master.line(CASCADE) != output {
            return Err(RestoreError { part: "PIC", field: "cascade", value: (!output).to_string() });
        }
        *self = new;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn initialised() -> PicPair {
        let mut pair = PicPair::new();
        for (port, words) in [(0x20, [0x11, 0x30, 0x04, 0x01]), (0xA0, [0x11, 0x38, 0x02, 0x01])] {
            pair.write(Port(port), words[0]);
            for word in &words[1..] {
                pair.write(Port(port + 1), *word);
            }
        }
        pair
    }

    #[test]
    fn the_slave_delivers_through_input_2() {
        let mut pair = initialised();
        pair.set_line(12, true);
        assert!(pair.output());
        assert_eq!(pair.acknowledge(), 0x3C);
        assert!(!pair.output());
        pair.set_line(8, true);
        assert!(!pair.output(), "the master still serves its input 2");
        pair.write(Port(0x20), 0x20);
        assert_eq!(pair.acknowledge(), 0x38);
        pair.write(Port(0xA0), 0x20);
        pair.write(Port(0xA0), 0x20);
        pair.write(Port(0x20), 0x20);
        assert!(!pair.output());
    }

    #[test]
    fn a_slave_request_that_goes_away_is_the_masters_spurious_7() {
        let withdraw: [fn(&mut PicPair); 2] =
            [|pair| pair.write(Port(0xA1), 0xFF), |pair| pair.set_line(9, false)];
        for withdraw in withdraw {
            let mut pair = initialised();
            pair.set_line(9, true);
            assert!(pair.output());
            withdraw(&mut pair);
            // The slave's output fell, and the master's input 2 with it.
            assert!(!pair.output());
            assert_eq!(pair.acknowledge(), 0x37);
            for port in [0x20, 0xA0] {
                pair.write(Port(port), 0x0B);
                assert_eq!(pair.read(Port(port)), 0, "nothing is in service");
            }
        }
    }

    #[test]
    fn elcr_keeps_the_fixed_inputs_edge_triggered() {
        let mut pair = initialised();
        pair.write(Port(0x4D0), 0xFF);
        pair.write(Port(0x4D1), 0xFF);
        assert_eq!((pair.read(Port(0x4D0)), pair.read(Port(0x4D1))), (0xF8, 0xDE));
    }

    #[test]
    fn save_and_restore_keep_requests() {
        let mut pair = initialised();
        pair.set_line(4, true);
        let saved = pair.save();
        let mut other = PicPair::new();
        other.restore(saved).unwrap();
        assert_eq!(other.acknowledge(), 0x34);
    }
}
