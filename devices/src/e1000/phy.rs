//! The PHY, Marvell's 88E1011, behind MDIC (8254x manual, "PHY Registers"; IEEE 802.3 clause 22).
//!
//! | register | what |
//! |---|---|
//! | 0 control, 1 status | reset, loopback, power down, autonegotiation; link |
//! | 2, 3 identifier | 01410C20h |
//! | 4 advertisement, 5 partner's ability, 6 expansion | 10 and 100 Mbit/s |
//! | 9 control, 10 status, 15 extended status | 1000BASE-T |
//! | 16 control, 17 status, 18 interrupt enable, 19 interrupt status | of this PHY |
//!
//! The partner can do all that a 1000BASE-T port can but pause, which this card does not do either. Autonegotiation takes
//! [`NEGOTIATION_NS`]; the speed is always 1000 Mbit/s in full duplex, as frames take no time on this cable. Left out:
//! cable tests, the pages behind register 29, and forcing another speed than 1000 Mbit/s, which drivers may set and
//! nothing follows.

use trimotor_bus::GuestTime;

/// Registers of the PHY.
pub const REGISTERS: usize = 32;
/// How long autonegotiation takes: short beside a second or two of a real one, long beside a driver's next look.
pub const NEGOTIATION_NS: u64 = 50_000_000;

const CONTROL: usize = 0;
const STATUS: usize = 1;
const PARTNER: usize = 5;
const EXPANSION: usize = 6;
const GIGABIT_STATUS: usize = 10;
const SPECIFIC_STATUS: usize = 17;
const INTERRUPT_ENABLE: usize = 18;
const INTERRUPT_STATUS: usize = 19;

/// Bits of the control register.
const RESET: u16 = 1 << 15;
const LOOPBACK: u16 = 1 << 14;
const NEGOTIATE: u16 = 1 << 12;
const POWER_DOWN: u16 = 1 << 11;
const ISOLATE: u16 = 1 << 10;
const RESTART: u16 = 1 << 9;
const FULL_DUPLEX: u16 = 1 << 8;
const SPEED_1000: u16 = 1 << 6;

/// Bits of the status register.
const NEGOTIATED: u16 = 1 << 5;
const LINK: u16 = 1 << 2;
const ABILITIES: u16 = 0x7949;

/// Bits of the interrupt registers.
const LINK_CHANGED: u16 = 1 << 10;
const NEGOTIATION_DONE: u16 = 1 << 11;

/// Bits of the specific status: 1000 Mbit/s, full duplex, page received, resolved, link.
const RESOLVED: u16 = 0xB800;
const REAL_TIME_LINK: u16 = 1 << 10;

/// Bits of MDIC.
const MDIC_READY: u32 = 1 << 28;
const MDIC_ERROR: u32 = 1 << 30;
/// The PHY's address.
const ADDRESS: u32 = 1;

/// For each register, which bits a driver may write; those of the others read as they are.
const WRITABLE: [u16; REGISTERS] = {
    let mut mask = [0; REGISTERS];
    mask[CONTROL] = !(RESET | RESTART) & 0xFFC0;
    mask[4] = 0xBFFF;
    mask[7] = 0xBFFF;
    mask[9] = 0xFF00;
    mask[16] = 0xFFFF;
    mask[INTERRUPT_ENABLE] = 0xFFFF;
    mask[20] = 0xFFFF;
    mask[24] = 0xFFFF;
    mask[25] = 0xFFFF;
    mask[26] = 0xFFFF;
    mask[29] = 0xFFFF;
    mask[30] = 0xFFFF;
    mask
};
const AFTER_RESET: [u16; REGISTERS] = {
    let mut registers = [0; REGISTERS];
    registers[CONTROL] = NEGOTIATE | FULL_DUPLEX | SPEED_1000;
    registers[STATUS] = ABILITIES;
    registers[2] = 0x0141;
    registers[3] = 0x0C20;
    registers[4] = 0x01E1;
    registers[EXPANSION] = 0x0004;
    registers[7] = 0x2001;
    registers[9] = 0x0300;
    registers[15] = 0x3000;
    registers[16] = 0x0360;
    registers[20] = 0x0D60;
    registers
};

/// The PHY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phy {
    pub(super) registers: [u16; REGISTERS],
    /// When autonegotiation is done, while it runs.
    pub(super) negotiates_until: Option<GuestTime>,
    /// The cable's other end is connected.
    pub(super) carrier: bool,
    /// The link was down since the status register was read last.
    pub(super) was_down: bool,
    pub(super) mdic: u32,
}

impl Phy {
    /// After power-on.
    pub fn new(carrier: bool, now: GuestTime) -> Self {
        let mut phy = Self {
            registers: AFTER_RESET,
            negotiates_until: None,
            carrier,
            was_down: true,
            mdic: MDIC_READY,
        };
        phy.negotiate(now);
        phy
    }
    /// Reset by its wire.
    pub fn reset(&mut self, now: GuestTime) {
        *self = Self::new(self.carrier, now);
    }
    /// Whether the registers are such as a driver can have made them.
    pub(super) fn is_possible(&self) -> bool {
        let fixed = |number: usize| match number {
            INTERRUPT_STATUS => !(LINK_CHANGED | NEGOTIATION_DONE),
            _ => !WRITABLE[number],
        };
        let same = |number: usize| (self.registers[number] ^ AFTER_RESET[number]) & fixed(number) == 0;
        (0..REGISTERS).all(same)
    }
    /// Whether there is a link.
    pub fn link(&self) -> bool {
        self.registers[CONTROL] & (POWER_DOWN | ISOLATE) == 0
            && (self.loops_back() || self.carrier && self.negotiates_until.is_none())
    }
    /// Whether frames that are sent come back.
    pub fn loops_back(&self) -> bool {
        self.registers[CONTROL] & LOOPBACK != 0
    }
    /// Whether it asks for an interrupt.
    pub fn interrupts(&self) -> bool {
        self.registers[INTERRUPT_STATUS] & self.registers[INTERRUPT_ENABLE] != 0
    }
    /// The cable's other end was connected or disconnected.
    pub fn set_carrier(&mut self, carrier: bool, now: GuestTime) {
        self.carrier = carrier;
        if carrier {
            self.negotiate(now);
        } else {
            self.negotiates_until = None;
            self.link_changed();
        }
    }
    /// When something happens by itself.
    pub fn next_event(&self) -> Option<GuestTime> {
        self.negotiates_until
    }
    /// Lets time pass.
    pub fn advance(&mut self, now: GuestTime) {
        if self.negotiates_until.is_some_and(|until| until <= now) {
            self.negotiates_until = None;
            self.registers[INTERRUPT_STATUS] |= LINK_CHANGED | NEGOTIATION_DONE;
        }
    }
    /// The link goes down, and up again when both ends agree.
    fn negotiate(&mut self, now: GuestTime) {
        let wanted = self.registers[CONTROL] & (NEGOTIATE | POWER_DOWN | ISOLATE | LOOPBACK) == NEGOTIATE;
        self.negotiates_until = (wanted && self.carrier).then_some(now + NEGOTIATION_NS);
        self.link_changed();
    }
    fn link_changed(&mut self) {
        if !self.link() {
            self.was_down = true;
        }
        self.registers[INTERRUPT_STATUS] |= LINK_CHANGED;
    }

    /// MDIC: what became of the last access.
    pub fn mdic(&self) -> u32 {
        self.mdic
    }
    /// Writes MDIC; the access is done at once.
    pub fn write_mdic(&mut self, value: u32, now: GuestTime) {
        let register = (value >> 16 & 0x1F) as usize;
        let request = value & !(MDIC_READY | MDIC_ERROR);
        self.mdic = match (value >> 21 & 0x1F, value >> 26 & 3) {
            (ADDRESS, 1) => {
                self.write(register, value as u16, now);
                request | MDIC_READY
            }
            (ADDRESS, 2) => request & !0xFFFF | u32::from(self.read(register)) | MDIC_READY,
            _ => request | MDIC_READY | MDIC_ERROR,
        };
    }
    fn read(&mut self, register: usize) -> u16 {
        let linked = self.link();
        let negotiated = self.carrier
            && self.negotiates_until.is_none()
            && self.registers[CONTROL] & (NEGOTIATE | POWER_DOWN) == NEGOTIATE;
        let if_set = |condition: bool, bits: u16| if condition { bits } else { 0 };
        match register {
            STATUS => {
                // A link that was down is told once, though it is up again.
                let was_down = std::mem::replace(&mut self.was_down, !linked);
                ABILITIES | if_set(negotiated, NEGOTIATED) | if_set(linked && !was_down, LINK)
            }
            // Acknowledged, 10 and 100 Mbit/s.
            PARTNER => if_set(negotiated, 0x41E1),
            EXPANSION => self.registers[EXPANSION] | if_set(negotiated, 3),
            // Both receivers fine, the partner can do 1000 Mbit/s.
            GIGABIT_STATUS => if_set(negotiated, 0x3C00),
            SPECIFIC_STATUS => if_set(linked, RESOLVED | REAL_TIME_LINK),
            INTERRUPT_STATUS => std::mem::take(&mut self.registers[INTERRUPT_STATUS]),
            _ => self.registers[register],
        }
    }
    fn write(&mut self, register: usize, value: u16, now: GuestTime) {
        let mask = WRITABLE[register];
        let before = self.registers[register];
        self.registers[register] = before & !mask | value & mask;
        if register == CONTROL {
            let changed = (before ^ value) & (NEGOTIATE | POWER_DOWN | ISOLATE | LOOPBACK) != 0;
            if value & (RESET | RESTART) != 0 || changed {
                self.negotiate(now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(phy: &mut Phy, register: u32) -> u16 {
        phy.write_mdic(2 << 26 | 1 << 21 | register << 16, GuestTime::ZERO);
        assert_eq!(phy.mdic() & (MDIC_READY | MDIC_ERROR), MDIC_READY);
        phy.mdic() as u16
    }
    fn write(phy: &mut Phy, register: u32, value: u16, now: u64) {
        phy.write_mdic(1 << 26 | 1 << 21 | register << 16 | u32::from(value), GuestTime(now));
    }

    #[test]
    fn a_link_comes_up_after_negotiation() {
        let mut phy = Phy::new(true, GuestTime::ZERO);
        assert_eq!((read(&mut phy, 2), read(&mut phy, 3)), (0x0141, 0x0C20));
        assert_eq!(read(&mut phy, 1), 0x7949);
        assert_eq!(phy.next_event(), Some(GuestTime(NEGOTIATION_NS)));
        phy.advance(GuestTime(NEGOTIATION_NS));
        assert!(phy.link());
        assert_eq!(read(&mut phy, 1), 0x7969, "it was down since");
        assert_eq!(read(&mut phy, 1), 0x796D);
        assert_eq!((read(&mut phy, 5), read(&mut phy, 10)), (0x41E1, 0x3C00));
        assert_eq!(read(&mut phy, 17), 0xBC00);
        write(&mut phy, 0, NEGOTIATE | RESTART, 1_000_000_000);
        assert!(!phy.link() && read(&mut phy, 5) == 0);
        phy.advance(GuestTime(1_000_000_000 + NEGOTIATION_NS));
        assert!(phy.link());
    }

    #[test]
    fn without_a_cable_there_is_no_link() {
        let mut phy = Phy::new(false, GuestTime::ZERO);
        assert_eq!(phy.next_event(), None);
        assert!(!phy.link());
        phy.set_carrier(true, GuestTime(5));
        phy.advance(GuestTime(5 + NEGOTIATION_NS));
        assert!(phy.link());
        phy.set_carrier(false, GuestTime(9));
        assert!(!phy.link());
        assert_eq!(read(&mut phy, 1) & LINK, 0);
        // A loopback needs none.
        write(&mut phy, 0, LOOPBACK | FULL_DUPLEX | SPEED_1000, 10);
        assert!(phy.link() && phy.loops_back());
    }

    #[test]
    fn another_address_is_an_error_and_interrupts_clear_when_read() {
        let mut phy = Phy::new(true, GuestTime::ZERO);
        phy.write_mdic(2 << 26 | 2 << 21, GuestTime::ZERO);
        assert_eq!(phy.mdic() & MDIC_ERROR, MDIC_ERROR);
        assert!(!phy.interrupts());
        write(&mut phy, 18, LINK_CHANGED, 0);
        assert!(phy.interrupts());
        assert_ne!(read(&mut phy, 19), 0);
        assert!(!phy.interrupts());
    }
}
