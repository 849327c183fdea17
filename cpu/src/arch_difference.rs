//! Where two architectural states differ, in words: for lockstep of two engines.

use crate::arch_state::{ArchState, X87Arch};
use crate::segment::Segment;
use crate::state::Msrs;

/// General registers by number.
const GPRS: [&str; 16] = [
    "RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI", "R8", "R9", "R10", "R11", "R12", "R13", "R14",
    "R15",
];
const SEGMENTS: [&str; 6] = ["ES", "CS", "SS", "DS", "FS", "GS"];

/// A field that two states have different values of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The register or the part of one.
    pub name: String,
    /// Its value in the first state.
    pub first: String,
    /// Its value in the second state.
    pub second: String,
}

#[derive(Default)]
struct Differences(Vec<Difference>);

impl Differences {
    fn number(&mut self, name: &str, first: impl Into<u64>, second: impl Into<u64>) {
        let (first, second) = (first.into(), second.into());
        if first != second {
            let (first, second) = (format!("{first:#x}"), format!("{second:#x}"));
            self.0.push(Difference { name: name.to_owned(), first, second });
        }
    }
    /// What has a text form only.
    fn text(&mut self, name: &str, first: impl std::fmt::Debug, second: impl std::fmt::Debug) {
        let (first, second) = (format!("{first:x?}"), format!("{second:x?}"));
        if first != second {
            self.0.push(Difference { name: name.to_owned(), first, second });
        }
    }
    fn segment(&mut self, name: &str, first: &Segment, second: &Segment) {
        let Segment { base, limit, attributes, selector } = *first;
        self.number(name, selector, second.selector);
        self.number(&format!("{name}.base"), base, second.base);
        self.number(&format!("{name}.limit"), limit, second.limit);
        self.number(&format!("{name}.attributes"), attributes, second.attributes);
    }
    fn x87(&mut self, first: &X87Arch, second: &X87Arch) {
        let X87Arch { regs, control, status, empty, last_opcode, last_cs, last_ds, last_ip, last_dp } = first;
        for (n, (a, b)) in regs.iter().zip(&second.regs).enumerate() {
            self.text(&format!("R{n} (x87)"), Hex(a), Hex(b));
        }
        self.number("FCW", *control, second.control);
        self.number("FSW", *status, second.status);
        self.number("empty x87 registers", *empty, second.empty);
        self.number("FOP", *last_opcode, second.last_opcode);
        self.number("FCS", *last_cs, second.last_cs);
        self.number("FDS", *last_ds, second.last_ds);
        self.number("FIP", *last_ip, second.last_ip);
        self.number("FDP", *last_dp, second.last_dp);
    }
    fn msrs(&mut self, first: &Msrs, second: &Msrs) {
        if first != second {
            // Line by line: each MSR is one.
            let (first, second) = (format!("{first:#x?}"), format!("{second:#x?}"));
            for (a, b) in first.lines().zip(second.lines()).filter(|(a, b)| a != b) {
                self.0.push(Difference {
                    name: "MSR".into(),
                    first: a.trim().into(),
                    second: b.trim().into(),
                });
            }
        }
    }
}

/// Bytes as one number.
struct Hex<'a>(&'a [u8]);

impl std::fmt::Debug for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("0x")?;
        self.0.iter().rev().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl ArchState {
    /// Every field in which `self` and `second` differ; empty where they are equal.
    pub fn differences(&self, second: &ArchState) -> Vec<Difference> {
        let mut found = Differences::default();
        self.compare_user(second, &mut found);
        self.compare_system(second, &mut found);
        // A field that is in neither list still shows that there is one.
        if found.0.is_empty() && self != second {
            found.text("state", self, second);
        }
        found.0
    }

    /// What programs see.
    fn compare_user(&self, second: &ArchState, found: &mut Differences) {
        for (n, name) in GPRS.iter().enumerate() {
            found.number(name, self.gpr[n], second.gpr[n]);
        }
        found.number("RIP", self.rip, second.rip);
        found.number("RFLAGS", self.rflags, second.rflags);
        for (n, name) in SEGMENTS.iter().enumerate() {
            found.segment(name, &self.segments[n], &second.segments[n]);
        }
        found.number("MXCSR", self.mxcsr, second.mxcsr);
        for (n, (a, b)) in self.ymm.iter().zip(&second.ymm).enumerate() {
            let bytes = |y: &[u64; 4]| y.iter().flat_map(|part| part.to_le_bytes()).collect::<Vec<_>>();
            found.text(&format!("YMM{n}"), Hex(&bytes(a)), Hex(&bytes(b)));
        }
        found.x87(&self.x87, &second.x87);
        found.number("retired instructions", self.retired, second.retired);
    }

    /// What systems see.
    fn compare_system(&self, second: &ArchState, found: &mut Differences) {
        found.segment("LDTR", &self.ldtr, &second.ldtr);
        found.segment("TR", &self.tr, &second.tr);
        found.text("GDTR", self.gdtr, second.gdtr);
        found.text("IDTR", self.idtr, second.idtr);
        found.number("CPL", self.cpl, second.cpl);
        found.number("CR0", self.cr0, second.cr0);
        found.number("CR2", self.cr2, second.cr2);
        found.number("CR3", self.cr3, second.cr3);
        found.number("CR4", self.cr4, second.cr4);
        found.number("IA32_EFER", self.efer, second.efer);
        found.number("XCR0", self.xcr0, second.xcr0);
        found.text("PDPTEs", self.pdpte, second.pdpte);
        for n in [0, 1, 2, 3, 6, 7] {
            found.number(&format!("DR{n}"), self.dr[n], second.dr[n]);
        }
        found.number("PKRU", self.pkru, second.pkru);
        found.msrs(&self.msrs, &second.msrs);
        found.text("activity", self.activity, second.activity);
        found.number("A20 gate", self.a20, second.a20);
        found.number("in SMM", self.in_smm, second.in_smm);
        found.number("NMI blocked", self.nmi_blocked, second.nmi_blocked);
        found.number("interrupt shadow", self.interrupt_shadow, second.interrupt_shadow);
        found.number("shadow of SS", self.shadow_is_ss, second.shadow_is_ss);
        found.number("pending debug", self.pending_debug, second.pending_debug);
        found.number("amid a repeated instruction", self.repeating, second.repeating);
        found.text("last access to a port", self.port_access, second.port_access);
    }
}

#[cfg(test)]
mod tests {
    use crate::CpuState;
    use crate::arch_state::PortAccess;

    #[test]
    fn each_field_is_named() {
        let first = CpuState::at_reset(0).to_arch();
        assert_eq!(first.differences(&first), []);
        let mut second = first.clone();
        second.gpr[3] = 5;
        second.ymm[2][3] = 1;
        second.x87.regs[1][9] = 0x80;
        second.msrs.pat = 0;
        second.segments[4].base = 7;
        let names: Vec<_> = first.differences(&second).into_iter().map(|d| d.name).collect();
        assert_eq!(names, ["RBX", "FS.base", "YMM2", "R1 (x87)", "MSR"]);
    }

    #[test]
    fn every_field_of_the_state_is_compared() {
        // One of each kind that the lists could forget.
        let first = CpuState::at_reset(0).to_arch();
        let mut second = first.clone();
        second.interrupt_shadow = true;
        second.pending_debug = 1;
        second.retired = 9;
        second.repeating = true;
        second.port_access = Some(PortAccess::default());
        let found = first.differences(&second);
        assert_eq!(found.len(), 5, "{found:?}");
        assert_eq!((found[0].first.as_str(), found[0].second.as_str()), ("0x0", "0x9"));
    }
}
