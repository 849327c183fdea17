//! A local APIC as text, for a monitor's `info`.

use super::LocalApic;
use super::registers::{Lvt, LvtEntry};
use super::vectors::VectorSet;
use std::fmt::Write;

impl LocalApic {
    /// Its registers, in lines.
    pub fn describe(&self) -> String {
        let state = &self.state;
        let mode = match (self.enabled(), self.x2apic()) {
            (false, _) => "disabled",
            (true, false) => "xAPIC",
            (true, true) => "x2APIC",
        };
        let software = if self.software_enabled() { "on" } else { "off" };
        let mut out = format!(
            "local APIC {}: base {:08x}, {mode}, by software {software}{}\n",
            self.id(),
            state.base,
            if self.is_bsp() { ", bootstrap processor" } else { "" }
        );
        _ = writeln!(
            out,
            "  TPR={:02x} PPR={:02x} SVR={:08x} LDR={:08x} DFR={:08x} ICR={:016x} ESR={:02x}",
            state.tpr,
            self.ppr(),
            state.svr,
            state.ldr,
            state.dfr,
            state.icr,
            state.esr
        );
        for (name, entry) in [
            ("timer", LvtEntry::Timer),
            ("thermal", LvtEntry::Thermal),
            ("performance", LvtEntry::Performance),
            ("LINT0", LvtEntry::Lint0),
            ("LINT1", LvtEntry::Lint1),
            ("error", LvtEntry::Error),
        ] {
            let lvt = self.lvt(entry);
            let masked = if lvt.contains(Lvt::MASKED) { " masked" } else { "" };
            _ = writeln!(out, "  LVT {name:<11} {:08x} vector {:02x}{masked}", lvt.bits(), lvt.vector());
        }
        let timer = &state.timer;
        let kind = match self.lvt(LvtEntry::Timer) {
            lvt if lvt.contains(Lvt::TSC_DEADLINE) => "TSC deadline",
            lvt if lvt.contains(Lvt::PERIODIC) => "periodic",
            _ => "one shot",
        };
        let expires =
            timer.expires.map_or("stopped".to_owned(), |when| format!("expires at {} ns", when.ns()));
        _ = writeln!(
            out,
            "  timer: {kind}, initial count {}, divide {:#x}, {expires}",
            timer.initial, timer.divide
        );
        for (name, set) in [("IRR", &state.irr), ("ISR", &state.isr), ("TMR", &state.tmr)] {
            _ = writeln!(out, "  {name} {}", vectors(set));
        }
        out.truncate(out.trim_end().len());
        out
    }
}

fn vectors(set: &VectorSet) -> String {
    let list: Vec<_> =
        (0..=u8::MAX).filter(|vector| set.contains(*vector)).map(|vector| format!("{vector:02x}")).collect();
    if list.is_empty() { "(none)".to_owned() } else { list.join(" ") }
}
