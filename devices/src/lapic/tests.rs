//! The local APIC as a driver uses it.

use super::registers::*;
use super::*;
use crate::interrupts::message::{DeliveryMode, Destination};
use trimotor_bus::Width;

const NOW: GuestTime = GuestTime::ZERO;

fn write(apic: &mut LocalApic, register: u8, value: u32, now: GuestTime) -> Effect {
    apic.page_write(u64::from(register) << 4, Width::Dword, u64::from(value), now)
}
fn read(apic: &mut LocalApic, register: u8, now: GuestTime) -> u32 {
    apic.page_read(u64::from(register) << 4, Width::Dword, now) as u32
}
fn enabled(id: u8) -> LocalApic {
    let mut apic = LocalApic::new(id, LapicModel::full(2_000_000_000));
    write(&mut apic, SVR, 0x1FF, NOW);
    apic
}
fn x2apic(id: u8) -> LocalApic {
    let mut apic = enabled(id);
    let base = apic.base();
    apic.msr_write(MSR_APIC_BASE, base | 1 << 10, NOW).unwrap();
    apic
}

#[test]
fn after_reset_the_bootstrap_processor_is_a_virtual_wire() {
    let apic = LocalApic::new(0, LapicModel::full(1));
    assert!(apic.passes_external() && apic.is_bsp());
    assert!(!LocalApic::new(1, LapicModel::full(1)).passes_external());
    assert_eq!(apic.page(), Some(PhysAddr(0xFEE0_0000)));
}

#[test]
fn priorities_decide_what_is_delivered() {
    let mut apic = enabled(0);
    apic.accept(0x31, false);
    apic.accept(0x52, false);
    assert_eq!(apic.acknowledge(), Some(0x52));
    assert_eq!(read(&mut apic, PPR, NOW), 0x50);
    assert_eq!(apic.acknowledge(), None);
    assert_eq!(write(&mut apic, EOI, 0, NOW), Effect::None);
    apic.set_task_priority(3);
    assert_eq!(apic.acknowledge(), None);
    write(&mut apic, TPR, 0x20, NOW);
    assert_eq!(apic.task_priority(), 2);
    assert_eq!(apic.acknowledge(), Some(0x31));
}

#[test]
fn the_end_of_a_level_interrupt_is_broadcast() {
    let mut apic = enabled(0);
    apic.accept(0x61, true);
    apic.acknowledge();
    assert_eq!(write(&mut apic, EOI, 0, NOW), Effect::EndOfInterrupt(0x61));
    assert_eq!(write(&mut apic, EOI, 0, NOW), Effect::None);
}

#[test]
fn one_shot_and_periodic_timer() {
    let mut apic = enabled(0);
    write(&mut apic, LVT_TIMER, 0x40, NOW);
    write(&mut apic, DIVIDE, 0x3, NOW);
    write(&mut apic, INITIAL_COUNT, 1000, NOW);
    assert_eq!(apic.next_event(), Some(GuestTime(16_000)));
    assert_eq!(read(&mut apic, CURRENT_COUNT, GuestTime(8_000)), 500);
    assert!(!apic.advance(GuestTime(15_999)));
    assert!(apic.advance(GuestTime(16_000)));
    assert_eq!(apic.acknowledge(), Some(0x40));
    assert_eq!(apic.next_event(), None);
    assert_eq!(read(&mut apic, CURRENT_COUNT, GuestTime(17_000)), 0);
    write(&mut apic, LVT_TIMER, 0x40 | 1 << 17, GuestTime(20_000));
    write(&mut apic, INITIAL_COUNT, 1000, GuestTime(20_000));
    assert!(apic.advance(GuestTime(53_000)));
    assert_eq!(apic.next_event(), Some(GuestTime(68_000)));
}

#[test]
fn a_tiny_period_cannot_storm() {
    let mut apic = enabled(0);
    write(&mut apic, LVT_TIMER, 0x40 | 1 << 17, NOW);
    write(&mut apic, DIVIDE, 0xB, NOW);
    write(&mut apic, INITIAL_COUNT, 1, NOW);
    assert!(apic.advance(GuestTime(1)));
    assert!(apic.next_event().unwrap() >= GuestTime(2000));
}

#[test]
fn tsc_deadline() {
    let mut apic = enabled(0);
    apic.msr_write(MSR_TSC_DEADLINE, 4000, NOW).unwrap();
    assert_eq!(apic.msr_read(MSR_TSC_DEADLINE, NOW), Ok(0), "ignored in one-shot mode");
    write(&mut apic, LVT_TIMER, 0x41 | 1 << 18, NOW);
    apic.msr_write(MSR_TSC_DEADLINE, 4000, NOW).unwrap();
    assert_eq!(apic.next_event(), Some(GuestTime(2000)));
    apic.set_tsc_offset(1000, NOW);
    assert_eq!(apic.next_event(), Some(GuestTime(1500)));
    assert!(apic.advance(GuestTime(1500)));
    assert_eq!(apic.acknowledge(), Some(0x41));
    assert_eq!(apic.msr_read(MSR_TSC_DEADLINE, GuestTime(1500)), Ok(0));
    // A deadline in the past fires at once.
    write(&mut apic, EOI, 0, GuestTime(1500));
    apic.msr_write(MSR_TSC_DEADLINE, 1, GuestTime(1500)).unwrap();
    assert_eq!(apic.acknowledge(), Some(0x41));
}

#[test]
fn software_disable_masks_the_lvt() {
    let mut apic = enabled(0);
    write(&mut apic, LVT_TIMER, 0x40, NOW);
    write(&mut apic, SVR, 0xFF, NOW);
    assert_ne!(read(&mut apic, LVT_TIMER, NOW) & 1 << 16, 0);
    write(&mut apic, LVT_TIMER, 0x40, NOW);
    assert_ne!(read(&mut apic, LVT_TIMER, NOW) & 1 << 16, 0);
}

#[test]
fn interrupt_commands() {
    let mut apic = enabled(1);
    write(&mut apic, ICR_HIGH, 3 << 24, NOW);
    let Effect::Send(message) = write(&mut apic, ICR_LOW, 0x4500, NOW) else { panic!("INIT is sent") };
    assert_eq!((message.mode, message.destination), (DeliveryMode::Init, Destination::Physical(3)));
    assert_eq!(write(&mut apic, ICR_LOW, 0x8500, NOW), Effect::None, "INIT de-assert");
    let Effect::Send(message) = write(&mut apic, ICR_LOW, 0xC_46_9A, NOW) else { panic!("SIPI is sent") };
    assert_eq!(
        (message.mode, message.destination, message.vector),
        (DeliveryMode::StartUp, Destination::AllBut(1), 0x9A)
    );
    assert_eq!(write(&mut apic, ICR_LOW, 0x05, NOW), Effect::None);
    write(&mut apic, ESR, 0, NOW);
    assert_eq!(read(&mut apic, ESR, NOW), ERROR_SENT_VECTOR);
}

#[test]
fn logical_destinations() {
    let mut apic = enabled(2);
    write(&mut apic, LDR, 0x04 << 24, NOW);
    assert!(apic.is_destination(Destination::Logical8(0x0C)));
    assert!(!apic.is_destination(Destination::Logical8(0x03)));
    write(&mut apic, DFR, 0x0FFF_FFFF, NOW);
    write(&mut apic, LDR, 0x24 << 24, NOW);
    assert!(apic.is_destination(Destination::Logical8(0x25 | 0x04)));
    assert!(!apic.is_destination(Destination::Logical8(0x14)));
    assert!(apic.is_destination(Destination::Logical8(0xF4)));
    let apic = x2apic(2);
    assert!(apic.is_destination(Destination::Logical32(0x6)));
    assert!(!apic.is_destination(Destination::Logical32(0x1_0004)));
}

#[test]
fn x2apic_registers_and_transitions() {
    let mut apic = x2apic(3);
    assert_eq!(apic.page(), None);
    assert_eq!(apic.msr_read(0x802, NOW), Ok(3));
    assert_eq!(apic.msr_read(0x80D, NOW), Ok(8));
    assert!(apic.msr_read(0x80E, NOW).is_err());
    assert!(apic.msr_write(0x80B, 1, NOW).is_err());
    assert!(apic.msr_write(0x808, 0x100, NOW).is_err());
    assert!(apic.msr_write(0x802, 0, NOW).is_err());
    let Ok(Effect::Send(message)) = apic.msr_write(0x830, 5 << 32 | 0x44, NOW) else { panic!("sent") };
    assert_eq!(message.destination, Destination::Physical(5));
    let Ok(Effect::Send(message)) = apic.msr_write(0x83F, 0x55, NOW) else { panic!("sent") };
    assert_eq!(message.destination, Destination::Only(3));
    assert!(apic.msr_write(MSR_APIC_BASE, 0xFEE0_0800, NOW).is_err(), "x2APIC to xAPIC");
    assert!(apic.msr_write(MSR_APIC_BASE, 0xFEE0_0000, NOW).is_ok());
    assert!(apic.msr_write(MSR_APIC_BASE, 0xFEE0_0C00, NOW).is_err(), "disabled to x2APIC");
    assert!(apic.msr_read(0x802, NOW).is_err());
}

#[test]
fn base_address_bits_and_x2apic_mode_are_the_models() {
    let full = LapicModel::full(1_000_000_000);
    let cases = [
        (full, 0xFEE0_0C00, true),
        (LapicModel { x2apic: false, ..full }, 0xFEE0_0C00, false),
        (LapicModel { x2apic: false, ..full }, 0xFEE0_0800, true),
        (full, 1 << 51 | 0x800, true),
        (full, 1 << 52 | 0x800, false),
        (LapicModel { phys_bits: 36, ..full }, 1 << 35 | 0x800, true),
        (LapicModel { phys_bits: 36, ..full }, 1 << 36 | 0x800, false),
        // Reserved bits.
        (full, 0xFEE0_0801, false),
        (full, 0xFEE0_0A00, false),
        // x2APIC mode while disabled.
        (full, 0xFEE0_0400, false),
    ];
    for (model, value, taken) in cases {
        let mut apic = LocalApic::new(1, model);
        let before = apic.base();
        assert_eq!(apic.msr_write(MSR_APIC_BASE, value, NOW).is_ok(), taken, "{model:?} {value:#x}");
        assert_eq!(apic.base(), if taken { value } else { before });
        let saved = LapicStateV1 { base: value, ..apic.save() };
        assert_eq!(LocalApic::new(1, model).restore(saved).is_ok(), taken, "{model:?} {value:#x}");
    }
}

#[test]
fn without_tsc_deadline_its_mode_is_reserved() {
    let model = LapicModel { tsc_deadline: false, ..LapicModel::full(1_000_000_000) };
    let mut apic = LocalApic::new(0, model);
    write(&mut apic, SVR, 0x1FF, NOW);
    write(&mut apic, LVT_TIMER, 0x41 | 1 << 18, NOW);
    assert_eq!(read(&mut apic, LVT_TIMER, NOW), 0x41);
    apic.msr_write(MSR_APIC_BASE, apic.base() | 1 << 10, NOW).unwrap();
    assert!(apic.msr_write(0x832, 0x41 | 1 << 18, NOW).is_err());
}

#[test]
fn physical_destinations_name_the_id_that_was_written() {
    let mut apic = enabled(2);
    write(&mut apic, ID, 0x4500_0000, NOW);
    assert_eq!(read(&mut apic, ID, NOW), 0x4500_0000);
    let has = |apic: &LocalApic, id| apic.is_destination(Destination::from_8_bits(id, false));
    assert!(has(&apic, 0x45) && !has(&apic, 2) && has(&apic, 0xFF));
    // What goes by index stays with the vCPU.
    assert!(apic.is_destination(Destination::Only(2)) && !apic.is_destination(Destination::AllBut(2)));
    // INIT keeps it; a reset, and being disabled, do not. x2APIC mode has the hardware's.
    apic.init();
    assert!(has(&apic, 0x45));
    let base = apic.base();
    apic.msr_write(MSR_APIC_BASE, base | 1 << 10, NOW).unwrap();
    assert_eq!(apic.msr_read(0x802, NOW), Ok(2));
    assert!(has(&apic, 2) && !has(&apic, 0x45));
    apic.msr_write(MSR_APIC_BASE, base & !(1 << 11), NOW).unwrap();
    apic.msr_write(MSR_APIC_BASE, base, NOW).unwrap();
    assert!(has(&apic, 2) && !has(&apic, 0x45));
    write(&mut apic, ID, 0x4500_0000, NOW);
    apic.reset();
    assert!(has(&apic, 2) && !has(&apic, 0x45));
}

/// SDM Vol. 3A, Valid Combinations for the Pentium 4 and Intel Xeon Processors' Local xAPIC Interrupt Command
/// Register; by page and by MSR.
#[test]
fn interrupt_commands_in_all_combinations() {
    const FIXED: u32 = 0;
    for x2 in [false, true] {
        for (shorthand, mode, level, vector) in (0..4u32).flat_map(|shorthand| {
            (0..8u32).flat_map(move |mode| {
                [false, true]
                    .into_iter()
                    .flat_map(move |l| [0x10, 0x0F].map(|vector| (shorthand, mode, l, vector)))
            })
        }) {
            let mut apic = if x2 { x2apic(1) } else { enabled(1) };
            let low = shorthand << 18 | u32::from(level) << 15 | 1 << 14 | mode << 8 | vector;
            let effect = if x2 {
                apic.msr_write(0x830, u64::from(low), NOW).unwrap()
            } else {
                write(&mut apic, ICR_LOW, low, NOW)
            };
            let exists = !matches!(mode, 3 | 7);
            let combines = !matches!(shorthand, 1 | 2) || mode == FIXED;
            let illegal_vector = vector < 16 && mode <= 1;
            let what = format!("x2APIC {x2}, command {low:#x}");
            match effect {
                Effect::Send(message) => assert!(!message.level, "{what}: always an edge"),
                Effect::None => {}
                Effect::EndOfInterrupt(_) => panic!("{what}"),
            }
            assert_eq!(effect != Effect::None, exists && combines && !illegal_vector, "{what}");
            let errors = apic.save().errors;
            let expected = if exists && combines && illegal_vector { ERROR_SENT_VECTOR } else { 0 };
            assert_eq!(errors, expected, "{what}");
        }
        // SELF IPI, which x2APIC mode alone has.
        if x2 {
            let mut apic = x2apic(1);
            assert_eq!(apic.msr_write(0x83F, 0x0F, NOW), Ok(Effect::None));
            assert_eq!(apic.save().errors, ERROR_SENT_VECTOR);
        }
    }
}

/// The version register counts six LVT entries: there is no CMCI entry, by page or by MSR.
#[test]
fn there_is_no_cmci_entry() {
    let mut apic = enabled(0);
    assert_eq!(read(&mut apic, VERSION, NOW) >> 16 & 0xFF, 5);
    for access in [0, 1] {
        write(&mut apic, ESR, 0, NOW);
        write(&mut apic, ESR, 0, NOW);
        if access == 0 {
            _ = read(&mut apic, 0x2F, NOW)
        } else {
            _ = write(&mut apic, 0x2F, 0x1_0000, NOW)
        }
        write(&mut apic, ESR, 0, NOW);
        assert_eq!(read(&mut apic, ESR, NOW), ERROR_REGISTER);
    }
    let mut apic = x2apic(0);
    assert!(apic.msr_read(0x82F, NOW).is_err() && apic.msr_write(0x82F, 0x1_0000, NOW).is_err());
}

#[test]
fn a_saved_state_comes_back_and_an_impossible_one_does_not() {
    let mut apic = enabled(0);
    apic.accept(0x77, false);
    let saved = apic.save();
    let mut other = LocalApic::new(0, LapicModel::full(1));
    other.restore(saved.clone()).unwrap();
    assert_eq!(other.acknowledge(), Some(0x77));
    assert!(other.restore(LapicStateV1 { base: 1 << 10, ..saved }).is_err());
}
