//! What led to a shutdown, in words.

use crate::core::Core;
use crate::insn::segment_descriptor::read_descriptor;
use trimotor_cpu::backend::ShutdownReport;
use trimotor_cpu::{Fault, SegReg};

/// One fault of a chain.
#[derive(Clone, Copy, Default)]
pub(crate) struct Link {
    fault: Option<Fault>,
    selector: u16,
    rip: u64,
    address: u64,
}

impl Link {
    /// `fault` as the CPU stands.
    pub(crate) fn of(core: &Core, fault: Fault) -> Link {
        Link {
            fault: Some(fault),
            selector: core.state.seg(SegReg::Cs).selector,
            rip: core.state.rip,
            address: core.state.fault_address,
        }
    }
    fn text(&self) -> Option<String> {
        let fault = self.fault?;
        let mut text = format!("{fault:?} at {:04x}:{:08x}", self.selector, self.rip);
        if fault.vector() == 14 {
            text += &format!(", address {:#x}", self.address);
        }
        Some(text)
    }
}

/// The report of a triple fault that `chain` led to.
pub(crate) fn report(core: &mut Core, chain: &[Link]) -> ShutdownReport {
    let mut details = Vec::new();
    for link in chain {
        let Some(fault) = link.fault else { continue };
        match (fault.vector(), fault.error_code()) {
            (14, Some(code)) => describe_page_fault(core, link.address, code, &mut details),
            (vector @ 10..=13, Some(code)) => {
                describe_selector(core, Fault::name(vector), code, &mut details);
            }
            _ => {}
        }
    }
    let idtr = core.state.idtr;
    details.push(format!("IDT at {:#x}, limit {:#x}", idtr.base, idtr.limit));
    let last = core.trace().map_or_else(Vec::new, |trace| trace.last());
    ShutdownReport { chain: chain.iter().filter_map(Link::text).collect(), details, last }
}

fn describe_page_fault(core: &mut Core, address: u64, code: u16, details: &mut Vec<String>) {
    let words = [
        (if code & 1 != 0 { "a right is missing" } else { "the page is not present" }, true),
        ("write", code & 2 != 0),
        ("user", code & 4 != 0),
        ("reserved bit set", code & 8 != 0),
        ("instruction fetch", code & 16 != 0),
        ("protection key", code & 32 != 0),
    ];
    let said: Vec<_> = words.iter().filter(|w| w.1).map(|w| w.0).collect();
    details.push(format!("page fault for {address:#x}: {}", said.join(", ")));
    let mut notes = Vec::new();
    let _ = core.mmu.inspect(&core.state, address, &mut notes);
    details.extend(notes.into_iter().map(|n| format!("  {n}")));
}

fn describe_selector(core: &mut Core, name: &str, code: u16, details: &mut Vec<String>) {
    if code & 2 != 0 {
        let vector = code >> 3;
        let size = if core.state.long_mode() { 16 } else { 8 };
        let idtr = core.state.idtr;
        let at = vector as u64 * size;
        if at + size - 1 > idtr.limit as u64 {
            details.push(format!("{name}: vector {vector:#x} is beyond the IDT's limit {:#x}", idtr.limit));
            return;
        }
        match core.read_system::<u64>(idtr.base.wrapping_add(at)) {
            Ok(gate) => details.push(format!("{name}: gate {vector:#x} of the IDT is {gate:#018x}")),
            Err(_) => details.push(format!("{name}: gate {vector:#x} of the IDT cannot be read")),
        }
        return;
    }
    if code & !3 == 0 {
        return;
    }
    let table = if code & 4 != 0 { "LDT" } else { "GDT" };
    let index = code >> 3;
    match read_descriptor(core, code & !3) {
        Ok(Some(d)) => details.push(format!("{name}: descriptor {index} of the {table} is {:#018x}", d.low)),
        Ok(None) => details.push(format!("{name}: descriptor {index} is beyond the {table}'s limit")),
        Err(_) => details.push(format!("{name}: descriptor {index} of the {table} cannot be read")),
    }
}
