//! PCI interrupts to ISA interrupts: the PIRQ routing of the PIIX3.
//!
//! The four pins of each slot are wired to four links, A to D, one slot shifted against the
//! next ([`trimotor_bus::board::pci_link`]). Registers 60h to 63h of the PIIX3 route each
//! link to one of the ISA interrupts; the interrupt is high while any pin of any link routed
//! to it is. Functions on several threads may pull pins, so the router has a lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use trimotor_bus::{IrqLine, IrqSink, board::pci_link};

/// The links A to D.
pub const LINKS: usize = 4;
/// ISA interrupts that a link can be routed to ("82371SB PIIX3", PIRQRC): not 0 to 2, 8, 13.
const ROUTABLE: u16 = 0xDEF8;
/// Bit 7 of a route register: the link goes nowhere.
pub const ROUTE_DISABLED: u8 = 0x80;

/// Collects the pins of all slots and drives ISA interrupts.
pub struct PirqRouter {
    isa: Arc<dyn IrqSink>,
    state: Mutex<Routing>,
}

struct Routing {
    /// For each link, the slots whose pin pulls it: bit `device` of word `pin - 1`.
    pins: [[u32; 4]; LINKS],
    routes: [u8; LINKS],
    driven: u16,
}

impl PirqRouter {
    /// A router in front of ISA interrupt inputs 0 to 15; all links go nowhere.
    pub fn new(isa: Arc<dyn IrqSink>) -> Arc<Self> {
        let routing = Routing { pins: [[0; 4]; LINKS], routes: [ROUTE_DISABLED; LINKS], driven: 0 };
        Arc::new(Self { isa, state: Mutex::new(routing) })
    }

    /// The wire for interrupt `pin` (INTA# is 1) of a function in slot `device` (0 to 31).
    pub fn wire(self: &Arc<Self>, device: u8, pin: u8) -> IrqLine {
        assert!(device < 32 && (1..=4).contains(&pin), "slot {device} pin {pin}");
        IrqLine::new(self.clone(), device << 2 | (pin - 1))
    }

    /// Routes a link: the value of its register.
    pub fn set_route(&self, link: usize, register: u8) {
        let mut routing = self.lock();
        if let Some(route) = routing.routes.get_mut(link) {
            *route = register;
        }
        self.drive(&mut routing, 0);
    }
    /// Drives all inputs anew: after a restore they may have levels that nobody here gave them.
    pub fn drive_all(&self) {
        self.drive(&mut self.lock(), ROUTABLE);
    }

    fn lock(&self) -> MutexGuard<'_, Routing> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drives the inputs whose level changed, and those of `also`.
    fn drive(&self, routing: &mut Routing, also: u16) {
        let mut level = 0u16;
        for (pins, route) in routing.pins.iter().zip(routing.routes) {
            let target = 1 << (route & 0x0F);
            if route & ROUTE_DISABLED == 0 && target & ROUTABLE != 0 && pins.iter().any(|p| *p != 0) {
                level |= target;
            }
        }
        let changed = level ^ routing.driven | also;
        routing.driven = level;
        for irq in (0..16).filter(|irq| changed >> irq & 1 != 0) {
            self.isa.set_level(irq, level >> irq & 1 != 0);
        }
    }
}

impl IrqSink for PirqRouter {
    fn set_level(&self, line: u8, high: bool) {
        let (device, pin) = (line >> 2 & 31, line & 3);
        let mut routing = self.lock();
        let word = &mut routing.pins[pci_link(device, pin + 1) as usize][pin as usize];
        let bit = 1u32 << device;
        *word = if high { *word | bit } else { *word & !bit };
        self.drive(&mut routing, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU16, Ordering};

    struct Isa(AtomicU16);
    impl IrqSink for Isa {
        fn set_level(&self, line: u8, high: bool) {
            if high {
                self.0.fetch_or(1 << line, Ordering::SeqCst);
            } else {
                self.0.fetch_and(!(1 << line), Ordering::SeqCst);
            }
        }
    }

    #[test]
    fn a_shared_interrupt_is_high_while_any_pin_is() {
        let isa = Arc::new(Isa(AtomicU16::new(0)));
        let router = PirqRouter::new(isa.clone());
        let level = || isa.0.load(Ordering::SeqCst);
        let (a, b) = (router.wire(1, 1), router.wire(3, 1));
        a.set(true);
        assert_eq!(level(), 0);
        router.set_route(0, 11); // Slot 1 INTA# is link A.
        assert_eq!(level(), 1 << 11);
        router.set_route(2, 11); // Slot 3 INTA# is link C.
        b.set(true);
        a.set(false);
        assert_eq!(level(), 1 << 11);
        router.set_route(2, 10);
        assert_eq!(level(), 1 << 10);
        router.set_route(2, 2); // IRQ 2 cannot be a target.
        assert_eq!(level(), 0);
        router.set_route(2, 10 | ROUTE_DISABLED);
        assert_eq!(level(), 0);
    }
}
