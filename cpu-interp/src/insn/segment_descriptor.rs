//! Segment and gate descriptors as they stand in the GDT, LDT and IDT (SDM Vol. 3A,
//! Protected-Mode Memory Management and Interrupt and Exception Handling).

use crate::core::Core;
use trimotor_cpu::{Fault, Segment};

/// Types of system descriptors (S = 0).
pub(crate) mod kind {
    pub(crate) const TSS16_AVAILABLE: u8 = 1;
    pub(crate) const LDT: u8 = 2;
    pub(crate) const TSS16_BUSY: u8 = 3;
    pub(crate) const CALL_GATE16: u8 = 4;
    pub(crate) const TASK_GATE: u8 = 5;
    pub(crate) const INTERRUPT_GATE16: u8 = 6;
    pub(crate) const TRAP_GATE16: u8 = 7;
    /// Also the 64-bit TSS of long mode.
    pub(crate) const TSS32_AVAILABLE: u8 = 9;
    pub(crate) const TSS32_BUSY: u8 = 11;
    /// Also the 64-bit call gate of long mode.
    pub(crate) const CALL_GATE32: u8 = 12;
    pub(crate) const INTERRUPT_GATE32: u8 = 14;
    pub(crate) const TRAP_GATE32: u8 = 15;
}

/// A descriptor as read from its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    /// The first eight bytes.
    pub(crate) low: u64,
    /// The second eight bytes of the system descriptors of long mode, else zero.
    pub(crate) high: u64,
    /// Linear address it came from.
    pub(crate) at: u64,
}

impl Descriptor {
    /// Attribute bits in the form of [`Segment::attributes`].
    pub(crate) const fn attributes(&self) -> u16 {
        (self.low >> 40) as u16 & 0xF0FF
    }
    /// The four type bits.
    pub(crate) const fn kind(&self) -> u8 {
        (self.low >> 40) as u8 & 15
    }
    /// S = 0.
    pub(crate) const fn is_system(&self) -> bool {
        self.attributes() & Segment::S == 0
    }
    /// A code segment.
    pub(crate) const fn is_code(&self) -> bool {
        self.attributes() & (Segment::S | Segment::CODE) == Segment::S | Segment::CODE
    }
    /// A conforming code segment.
    pub(crate) const fn is_conforming(&self) -> bool {
        self.is_code() && self.attributes() & Segment::DC != 0
    }
    /// A data segment that can be written.
    pub(crate) const fn is_writable_data(&self) -> bool {
        self.attributes() & (Segment::S | Segment::CODE | Segment::RW) == Segment::S | Segment::RW
    }
    /// A data segment, or code that can be read.
    pub(crate) const fn is_readable(&self) -> bool {
        let a = self.attributes();
        a & Segment::S != 0 && (a & Segment::CODE == 0 || a & Segment::RW != 0)
    }
    /// DPL.
    pub(crate) const fn dpl(&self) -> u8 {
        (self.low >> 45) as u8 & 3
    }
    /// P.
    pub(crate) const fn present(&self) -> bool {
        self.low >> 47 & 1 != 0
    }
    /// L: 64-bit code.
    pub(crate) const fn is_long(&self) -> bool {
        self.attributes() & Segment::L != 0
    }
    /// D/B.
    pub(crate) const fn is_32bit(&self) -> bool {
        self.attributes() & Segment::DB != 0
    }
    /// Base of a segment; of a long-mode system segment all 64 bits.
    pub(crate) const fn base(&self) -> u64 {
        self.low >> 16 & 0xFF_FFFF | self.low >> 56 << 24 | self.high << 32
    }
    /// Last offset of a segment, granularity applied.
    pub(crate) const fn limit(&self) -> u32 {
        let raw = (self.low & 0xFFFF | self.low >> 32 & 0xF_0000) as u32;
        if self.attributes() & Segment::G != 0 { raw << 12 | 0xFFF } else { raw }
    }
    /// The hidden part that loading it with `selector` gives.
    pub(crate) const fn segment(&self, selector: u16) -> Segment {
        Segment { base: self.base(), limit: self.limit(), attributes: self.attributes(), selector }
    }
    /// Target selector of a gate.
    pub(crate) const fn gate_selector(&self) -> u16 {
        (self.low >> 16) as u16
    }
    /// Target offset of a gate: 16 bits for the types of the 80286, else 32, or 64 in long mode.
    pub(crate) const fn gate_offset(&self) -> u64 {
        let low = self.low & 0xFFFF;
        if self.kind() & 8 == 0 { low } else { low | self.low >> 32 & 0xFFFF_0000 | self.high << 32 }
    }
    /// Parameter count of a call gate.
    pub(crate) const fn gate_parameters(&self) -> u8 {
        (self.low >> 32) as u8 & 31
    }
    /// Interrupt stack table index of a long-mode gate.
    pub(crate) const fn gate_ist(&self) -> u8 {
        (self.low >> 32) as u8 & 7
    }
}

/// A selector in the form of an error code.
pub(crate) const fn code_of(selector: u16) -> u16 {
    selector & !3
}

/// A selector that names no descriptor.
pub(crate) const fn is_null(selector: u16) -> bool {
    selector & !3 == 0
}

/// Where the descriptor of `selector` lies if `bytes` bytes of it are within its table.
fn table_entry(core: &Core, selector: u16, bytes: u64) -> Option<u64> {
    let offset = (selector & !7) as u64;
    let (base, limit) = if selector & 4 == 0 {
        (core.state.gdtr.base, core.state.gdtr.limit as u64)
    } else if core.state.ldtr.present() {
        (core.state.ldtr.base, core.state.ldtr.limit as u64)
    } else {
        return None;
    };
    let at = base.wrapping_add(offset);
    let at = if core.state.long_mode() { at } else { at & 0xFFFF_FFFF };
    (offset + bytes - 1 <= limit).then_some(at)
}

/// Reads the eight bytes of a descriptor; `None` beyond the table's limit.
///
/// # Faults
/// #PF from the table.
pub(crate) fn read_descriptor(core: &mut Core, selector: u16) -> Result<Option<Descriptor>, Fault> {
    let Some(at) = table_entry(core, selector, 8) else { return Ok(None) };
    let low = core.read_system::<u64>(at)?;
    Ok(Some(Descriptor { low, high: 0, at }))
}

/// Reads the second half of a long-mode system descriptor; `None` beyond the table's limit or
/// where its type bits are not zero.
///
/// # Faults
/// #PF from the table.
pub(crate) fn read_upper(core: &mut Core, selector: u16, d: Descriptor) -> Result<Option<Descriptor>, Fault> {
    if table_entry(core, selector, 16).is_none() {
        return Ok(None);
    }
    let high = core.read_system::<u64>(d.at.wrapping_add(8))?;
    if high >> 40 & 0x1F != 0 {
        return Ok(None);
    }
    Ok(Some(Descriptor { high: high & 0xFFFF_FFFF, ..d }))
}

/// Sets the accessed bit of a code or data descriptor in its table, and in `d`.
///
/// # Faults
/// #PF from the table.
pub(crate) fn set_accessed(core: &mut Core, d: &mut Descriptor) -> Result<(), Fault> {
    set_type_bits(core, d, 1)
}

/// Sets bits in a descriptor's type byte, in its table and in `d`.
///
/// # Faults
/// #PF from the table.
pub(crate) fn set_type_bits(core: &mut Core, d: &mut Descriptor, bits: u8) -> Result<(), Fault> {
    let old = (d.low >> 40) as u8;
    if old & bits != bits {
        core.write_system::<u8>(d.at.wrapping_add(5), old | bits)?;
        d.low |= (bits as u64) << 40;
    }
    Ok(())
}

/// Clears or sets the busy bit of the TSS descriptor of `selector`.
///
/// # Faults
/// #PF from the table.
pub(crate) fn set_busy(core: &mut Core, at: u64, busy: bool) -> Result<(), Fault> {
    let byte = core.read_system::<u8>(at.wrapping_add(5))?;
    core.write_system::<u8>(at.wrapping_add(5), byte & !2 | (busy as u8) << 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_from_their_places() {
        let d = Descriptor { low: 0x12CF_9B34_5678_FFFF, high: 0, at: 0 };
        assert_eq!(d.base(), 0x1234_5678);
        assert_eq!(d.limit(), 0xFFFF_FFFF);
        assert_eq!(d.attributes(), 0xC09B);
        assert!(d.is_code() && d.present() && !d.is_conforming() && d.dpl() == 0);
        let gate = Descriptor { low: 0x1234_EE05_0008_5678, high: 0xFFFF_8000, at: 0 };
        assert_eq!(gate.gate_offset(), 0xFFFF_8000_1234_5678);
        assert_eq!((gate.gate_selector(), gate.gate_ist(), gate.dpl()), (8, 5, 3));
    }
}
