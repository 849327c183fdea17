//! The fabric as a PC uses it.

use super::*;
use trimotor_bus::{Port, Width};

const NOW: GuestTime = GuestTime::ZERO;

fn fabric(cpus: usize) -> (Arc<InterruptFabric>, Vec<Arc<VcpuSignals>>) {
    let signals: Vec<_> = (0..cpus).map(|_| VcpuSignals::new()).collect();
    (InterruptFabric::new(signals.clone(), LapicModel::full(1_000_000_000)), signals)
}
fn initialise_pics(fabric: &InterruptFabric) {
    for (port, words) in [(0x20, [0x11, 0x08, 0x04, 0x01]), (0xA0, [0x11, 0x70, 0x02, 0x01])] {
        fabric.pic_write(Port(port), words[0]);
        for word in &words[1..] {
            fabric.pic_write(Port(port + 1), *word);
        }
    }
}
fn apic_write(fabric: &InterruptFabric, cpu: usize, register: u64, value: u32) {
    fabric.apic_write(cpu, register << 4, Width::Dword, u64::from(value), NOW);
}
fn redirect(fabric: &InterruptFabric, pin: u64, low: u64, destination: u64) {
    for (register, value) in [(0x11 + 2 * pin, destination << 24), (0x10 + 2 * pin, low)] {
        fabric.ioapic_write(0, register);
        fabric.ioapic_write(0x10, value);
    }
}
fn intr(signals: &VcpuSignals) -> bool {
    signals.pending() & VcpuSignals::INTR != 0
}

#[test]
fn the_pic_reaches_the_bootstrap_processor_after_reset() {
    let (fabric, signals) = fabric(2);
    initialise_pics(&fabric);
    fabric.line(0).set(true);
    assert!(intr(&signals[0]) && !intr(&signals[1]));
    assert_eq!(fabric.acknowledge(0, NOW), Some(0x08));
    assert!(!intr(&signals[0]));
    fabric.line(8).set(true);
    assert!(!intr(&signals[0]));
    fabric.pic_write(Port(0x20), 0x20);
    assert_eq!(fabric.acknowledge(0, NOW), Some(0x70));
    assert_eq!(fabric.acknowledge(0, NOW), None);
}

#[test]
fn masking_lint0_cuts_the_pic_off() {
    let (fabric, signals) = fabric(1);
    initialise_pics(&fabric);
    apic_write(&fabric, 0, 0x0F, 0x1FF);
    apic_write(&fabric, 0, 0x35, 0x1_0700);
    fabric.line(1).set(true);
    assert!(!intr(&signals[0]));
    apic_write(&fabric, 0, 0x35, 0x700);
    assert!(intr(&signals[0]));
}

#[test]
fn extint_through_the_ioapic() {
    let (fabric, signals) = fabric(1);
    initialise_pics(&fabric);
    apic_write(&fabric, 0, 0x0F, 0x1FF);
    apic_write(&fabric, 0, 0x35, 0x1_0700);
    redirect(&fabric, 0, 0x700, 0);
    let wire = fabric.line(4);
    wire.set(true);
    assert!(intr(&signals[0]));
    assert_eq!(fabric.acknowledge(0, NOW), Some(0x0C));
    assert!(!intr(&signals[0]));
    wire.set(false);
    fabric.pic_write(Port(0x20), 0x20);
    wire.set(true);
    assert!(intr(&signals[0]));
}

#[test]
fn a_level_interrupt_lasts_until_device_and_eoi() {
    let (fabric, signals) = fabric(2);
    apic_write(&fabric, 1, 0x0F, 0x1FF);
    redirect(&fabric, 10, 0x8059, 1);
    let wire = fabric.line(10);
    wire.set(true);
    assert!(intr(&signals[1]) && !intr(&signals[0]));
    assert_eq!(fabric.acknowledge(1, NOW), Some(0x59));
    assert!(!intr(&signals[1]));
    apic_write(&fabric, 1, 0x0B, 0);
    assert!(intr(&signals[1]), "still asserted");
    fabric.acknowledge(1, NOW);
    wire.set(false);
    apic_write(&fabric, 1, 0x0B, 0);
    assert!(!intr(&signals[1]));
}

#[test]
fn application_processors_start_by_init_and_sipi() {
    let (fabric, signals) = fabric(4);
    apic_write(&fabric, 0, 0x30, 0xC_4500);
    apic_write(&fabric, 0, 0x30, 0xC_4609);
    assert_eq!(signals[0].pending(), 0);
    for signals in &signals[1..] {
        assert_eq!(
            signals.take(VcpuSignals::INIT | VcpuSignals::SIPI),
            VcpuSignals::INIT | VcpuSignals::SIPI
        );
        assert_eq!(signals.startup_vector(), 9);
    }
}

#[test]
fn nmi_passes_lint1_unless_masked() {
    let (fabric, signals) = fabric(2);
    fabric.line(lines::NMI).pulse();
    assert_eq!(signals[0].take(VcpuSignals::NMI), VcpuSignals::NMI);
    assert_eq!(signals[1].pending(), 0);
    fabric.line(lines::NMI_MASK).set(true);
    fabric.line(lines::NMI).pulse();
    assert_eq!(signals[0].pending(), 0);
}

#[test]
fn lowest_priority_takes_the_idlest() {
    let (fabric, signals) = fabric(2);
    for cpu in 0..2 {
        apic_write(&fabric, cpu, 0x0F, 0x1FF);
        apic_write(&fabric, cpu, 0x0D, 1 << (24 + cpu));
    }
    fabric.set_task_priority(0, 5);
    redirect(&fabric, 4, 0x961, 0x03);
    fabric.line(4).pulse();
    assert!(intr(&signals[1]) && !intr(&signals[0]));
}

#[test]
fn the_hpet_replaces_the_pit() {
    let (fabric, signals) = fabric(1);
    initialise_pics(&fabric);
    fabric.line(lines::HPET_LEGACY).set(true);
    fabric.line(0).pulse();
    assert!(!intr(&signals[0]));
    fabric.line(lines::HPET_TIMER_0).set(true);
    assert_eq!(fabric.acknowledge(0, NOW), Some(8));
}

#[test]
fn a_timer_event_raises_intr() {
    let (fabric, signals) = fabric(1);
    apic_write(&fabric, 0, 0x0F, 0x1FF);
    apic_write(&fabric, 0, 0x32, 0xEC);
    apic_write(&fabric, 0, 0x3E, 0xB);
    apic_write(&fabric, 0, 0x38, 5000);
    assert_eq!(fabric.next_event(), Some(GuestTime(5000)));
    fabric.advance(GuestTime(5000));
    assert!(intr(&signals[0]));
    assert_eq!(fabric.acknowledge(0, GuestTime(5000)), Some(0xEC));
    assert_eq!(fabric.next_event(), None);
}

#[test]
fn saved_state_comes_back() {
    let (from, _) = fabric(1);
    initialise_pics(&from);
    from.line(3).set(true);
    let (to, signals) = fabric(1);
    to.restore(from.save()).unwrap();
    assert!(intr(&signals[0]));
    assert_eq!(to.acknowledge(0, NOW), Some(0x0B));
    let (other, _) = fabric(2);
    assert!(other.restore(from.save()).is_err());
}

/// COM1 and COM3: the one that lets the wire go does not hide the other.
#[test]
fn a_wire_is_high_while_any_device_pulls_it() {
    for level_triggered in [false, true] {
        let (fabric, signals) = fabric(1);
        initialise_pics(&fabric);
        fabric.pic_write(Port(0x4D0), if level_triggered { 0x10 } else { 0 });
        let (com1, com3) = (fabric.line(4), fabric.line(4));
        com1.set(true);
        com3.set(true);
        com1.set(false);
        assert!(intr(&signals[0]));
        assert_eq!(fabric.acknowledge(0, NOW), Some(0x0C));
        fabric.pic_write(Port(0x20), 0x20);
        // A level asks again while it lasts; an edge is another one only after both have let go.
        assert_eq!(intr(&signals[0]), level_triggered);
        com1.set(true);
        assert_eq!(intr(&signals[0]), level_triggered);
        com1.set(false);
        com3.set(false);
        assert!(!intr(&signals[0]));
        com1.set(true);
        assert!(intr(&signals[0]));
    }
}

/// A PCI link that firmware routed to an ISA device's interrupt, and the SCI's.
#[test]
fn pci_links_share_with_isa_devices() {
    let (fabric, signals) = fabric(1);
    initialise_pics(&fabric);
    let router = crate::pci::PirqRouter::new(fabric.holder());
    for irq in [3, 9, 12] {
        router.set_route(0, irq);
        let (card, device) = (router.wire(1, 1), fabric.line(irq));
        card.set(true);
        device.set(true);
        card.set(false);
        assert!(intr(&signals[0]), "{irq}");
        card.set(true);
        device.set(false);
        assert!(intr(&signals[0]), "{irq}");
        card.set(false);
        assert!(!intr(&signals[0]), "{irq}");
    }
}

/// IPIs, and messages of the IOAPIC, find the id that software wrote.
#[test]
fn messages_go_to_the_id_that_was_written() {
    let (fabric, signals) = fabric(2);
    apic_write(&fabric, 1, 0x0F, 0x1FF);
    apic_write(&fabric, 1, 0x02, 0x4500_0000);
    redirect(&fabric, 4, 0x61, 1);
    fabric.line(4).set(true);
    assert!(!intr(&signals[1]), "nobody has id 1");
    redirect(&fabric, 5, 0x62, 0x45);
    fabric.line(5).set(true);
    assert!(intr(&signals[1]));
    assert_eq!(fabric.acknowledge(1, NOW), Some(0x62));
    apic_write(&fabric, 0, 0x31, 0x4500_0000);
    apic_write(&fabric, 0, 0x30, 0x0071);
    assert_eq!(fabric.acknowledge(1, NOW), Some(0x71));
    // An NMI by the shorthand for the sender goes nowhere.
    apic_write(&fabric, 0, 0x30, 0x4_4400);
    assert_eq!(signals[0].pending() & VcpuSignals::NMI, 0);
}
