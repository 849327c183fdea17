//! The modes in which cases run: for each the descriptor tables, page tables and handlers, and the
//! state that a case starts from.

use crate::handlers::{self, Handlers};
use crate::map::*;
use trimotor_cpu::{ArchState, Segment, TableRegister};

/// How linear addresses become physical ones.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Paging {
    Off,
    TwoLevel,
    Pae,
    FourLevel,
}

/// A mode.
pub struct World {
    pub name: &'static str,
    /// Size of the code: 16, 32 or 64.
    pub bits: u32,
    pub cpl: u8,
    pub paging: Paging,
    /// The offset of the first code byte in CS.
    pub code: u64,
    /// The offset of the first data byte in DS.
    pub data: u64,
    /// The offset of the stack's first byte in SS.
    pub stack: u64,
    /// The first megabyte, up to [`RAM`].
    pub image: Vec<u8>,
    pub base: ArchState,
}

/// What differs from mode to mode.
#[derive(Clone, Copy)]
struct Plan {
    name: &'static str,
    bits: u32,
    cpl: u8,
    paging: Paging,
    segments: Segments,
    /// Size of the gates: 64, 32, or 16 for the table of real mode.
    gates: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Segments {
    Flat,
    /// Based and bounded.
    Odd,
    /// As real mode has them.
    Real,
}

const fn plan(name: &'static str, bits: u32, cpl: u8, paging: Paging, s: Segments, gates: u32) -> Plan {
    Plan { name, bits, cpl, paging, segments: s, gates }
}

const PLANS: [Plan; 12] = [
    plan("64-bit supervisor", 64, 0, Paging::FourLevel, Segments::Flat, 64),
    plan("64-bit user", 64, 3, Paging::FourLevel, Segments::Flat, 64),
    plan("compatibility", 32, 3, Paging::FourLevel, Segments::Flat, 64),
    plan("32-bit supervisor, PAE", 32, 0, Paging::Pae, Segments::Flat, 32),
    plan("32-bit user, PAE", 32, 3, Paging::Pae, Segments::Flat, 32),
    plan("32-bit supervisor, two levels", 32, 0, Paging::TwoLevel, Segments::Flat, 32),
    plan("32-bit user, two levels", 32, 3, Paging::TwoLevel, Segments::Flat, 32),
    plan("32-bit supervisor, segments", 32, 0, Paging::Off, Segments::Odd, 32),
    plan("32-bit user, segments", 32, 3, Paging::Off, Segments::Odd, 32),
    plan("16-bit protected", 16, 0, Paging::Off, Segments::Odd, 32),
    plan("real", 16, 0, Paging::Off, Segments::Real, 16),
    plan("virtual-8086", 16, 3, Paging::Off, Segments::Real, 32),
];

/// All modes; `reset` is a vCPU's state after RESET.
pub fn all(reset: &ArchState, data: &[u8]) -> Vec<World> {
    PLANS.iter().map(|plan| plan.world(reset, data)).collect()
}

struct Image(Vec<u8>);

impl Image {
    fn put(&mut self, at: u64, bytes: &[u8]) {
        self.0[at as usize..][..bytes.len()].copy_from_slice(bytes);
    }
    fn u16(&mut self, at: u64, value: u16) {
        self.put(at, &value.to_le_bytes());
    }
    fn u32(&mut self, at: u64, value: u64) {
        self.put(at, &(value as u32).to_le_bytes());
    }
    fn u64(&mut self, at: u64, value: u64) {
        self.put(at, &value.to_le_bytes());
    }
}

impl Plan {
    fn world(self, reset: &ArchState, data: &[u8]) -> World {
        let flat = self.segments == Segments::Flat;
        let (code, data_at, stack) =
            if flat { (linear::CODE, linear::DATA, linear::STACK) } else { (0, 0, 0) };
        let handlers = handlers::build(self.gates, code);
        let mut image = Image(vec![0; RAM as usize]);
        image.put(DATA, &data[..DATA_BYTES as usize]);
        image.put(HANDLERS, &handlers.code);
        // RSM.
        image.put(SMM_HANDLER, &[0x0F, 0xAA]);
        self.page_tables(&mut image);
        self.descriptors(&mut image);
        self.gates(&handlers, &mut image);
        self.task_state(&mut image);
        let base = self.state(reset, &handlers);
        World {
            name: self.name,
            bits: self.bits,
            cpl: self.cpl,
            paging: self.paging,
            code,
            data: data_at,
            stack,
            image: image.0,
            base,
        }
    }

    /// An entry's physical page and rights.
    fn page_tables(self, image: &mut Image) {
        const ALL: u64 = 7;
        match self.paging {
            Paging::Off => return,
            Paging::TwoLevel => {
                image.u32(ROOT, LOW_TABLE | ALL);
                image.u32(ROOT + 4, TABLE | ALL);
            }
            Paging::Pae => image.u64(PDPT, PD | 1),
            Paging::FourLevel => {
                image.u64(ROOT, PDPT | ALL);
                image.u64(PDPT, PD | ALL);
            }
        }
        if self.paging != Paging::TwoLevel {
            image.u64(PD, LOW_TABLE | ALL);
            image.u64(PD + 16, TABLE | ALL);
        }
        let no_execute = if self.paging == Paging::TwoLevel { 0 } else { 1 << 63 };
        let system = (GDT..CODE).chain(0x1_E000..IST_STACK).step_by(PAGE as usize);
        for page in system {
            self.entry(image, LOW_TABLE, page / PAGE, page | 3);
        }
        let ours = if self.cpl == 3 { 7 } else { 3 };
        let mut map = |index: u64, page: u64, rights: u64| self.entry(image, TABLE, index, page | rights);
        for page in 0..4 {
            map(page, CODE + page * PAGE, ours);
            map(20 + page, CODE + page * PAGE, ours);
        }
        for page in 0..8 {
            // Some global, some already accessed and written.
            let more = (page & 1) << 8 | if page & 2 != 0 { 0x60 } else { 0 };
            map(8 + page, DATA + page * PAGE, ours | more | if page == 7 { no_execute } else { 0 });
        }
        map(17, DATA + PAGE, ours & !2);
        map(18, DATA + 2 * PAGE, ours ^ 4);
        map(19, DATA + 3 * PAGE, ours | no_execute);
        map(24, SPARE, ours);
        map(25, SPARE + PAGE, ours);
        map(26, DATA, ours);
        map(28, DEVICE, ours);
        map(30, STACK, ours);
        map(31, STACK + PAGE, ours);
        map(40, TABLE, 3);
    }
    fn entry(self, image: &mut Image, table: u64, index: u64, value: u64) {
        if self.paging == Paging::TwoLevel {
            image.u32(table + 4 * index, value);
        } else {
            image.u64(table + 8 * index, value);
        }
    }

    fn descriptors(self, image: &mut Image) {
        let dpl = u64::from(self.cpl) << 5;
        let size = if self.bits == 32 { 0x4000 } else { 0 };
        let down_limit = if self.bits == 32 { 0xF_FFF7 } else { 0x7FFF };
        let down_base = if self.bits == 32 { DATA + 0x8000 } else { DATA - 0x8000 };
        let down = if self.bits == 32 { 0xC097 } else { 0x97 };
        let rows = [
            (selector::CODE64, 0, 0xF_FFFF, 0xA09B),
            (selector::DATA, 0, 0xF_FFFF, 0xC093),
            (selector::USER_CODE32, 0, 0xF_FFFF, 0xC0FB),
            (selector::USER_DATA, 0, 0xF_FFFF, 0xC0F3),
            (selector::USER_CODE64, 0, 0xF_FFFF, 0xA0FB),
            (selector::CODE32, 0, 0xF_FFFF, 0xC09B),
            (selector::TSS, TSS, 0x88, 0x8B),
            (selector::ODD_CODE, CODE, CODE_BYTES - 1, 0x9B | dpl | size),
            (selector::ODD_DATA, DATA, DATA_BYTES - 1, 0x93 | dpl),
            (selector::ODD_EXTRA, CODE, CODE_BYTES + DATA_BYTES - 1, 0x93 | dpl),
            (selector::ODD_STACK, STACK, STACK_BYTES - 1, 0x93 | dpl | size),
            (selector::ODD_DOWN, down_base, down_limit, down | dpl),
            (selector::ODD_DEVICE, DEVICE, 0xFFFF, 0x93 | dpl),
        ];
        for (selector, base, limit, attributes) in rows {
            let base = base & 0xFFFF_FFFF;
            let descriptor = limit & 0xFFFF
                | (base & 0xFF_FFFF) << 16
                | (attributes & 0xF0FF) << 40
                | (limit >> 16 & 15) << 48
                | base >> 24 << 56;
            image.u64(GDT + u64::from(selector & !7), descriptor);
        }
    }

    fn gates(self, handlers: &Handlers, image: &mut Image) {
        for vector in 0..256 {
            let offset = match vector {
                0 | 5 | 6 | 7 | 9 | 16 | 19 => handlers.skip,
                8 | 10..=14 | 17 => handlers.skip_error,
                1 => handlers.debug,
                32.. => handlers.interrupt,
                _ => handlers.trap,
            };
            let dpl: u64 = if matches!(vector, 3 | 4 | 0x80..) { 3 } else { 0 };
            // Trap gates for some exceptions. Not for interrupts: whether a second one comes before the first
            // instruction of the first one's handler depends on where runs end.
            let kind = 0x8E | dpl << 5 | u64::from(vector & 1 != 0 && vector < 32);
            match self.gates {
                64 => {
                    let at = HANDLERS + offset;
                    let ist = u64::from(vector == 8 || vector == 12);
                    let low = at & 0xFFFF | u64::from(selector::CODE64) << 16 | ist << 32 | kind << 40;
                    image.u64(IDT + 16 * vector, low | (at >> 16) << 48);
                }
                32 => {
                    let at = HANDLERS + offset;
                    let low = at & 0xFFFF | u64::from(selector::CODE32) << 16 | kind << 40;
                    image.u64(IDT + 8 * vector, low | (at >> 16) << 48);
                }
                _ => {
                    // Real mode pushes no error codes.
                    image.u16(4 * vector, offset as u16);
                    image.u16(4 * vector + 2, (HANDLERS >> 4) as u16);
                }
            }
        }
    }

    /// The task-state segment: stacks, and an I/O bitmap that denies some ports.
    fn task_state(self, image: &mut Image) {
        if self.gates == 64 {
            image.u64(TSS + 4, KERNEL_STACK);
            image.u64(TSS + 0x24, IST_STACK);
        } else {
            image.u32(TSS + 4, KERNEL_STACK);
            image.u32(TSS + 8, selector::DATA.into());
        }
        image.u16(TSS + 0x66, 0x68);
        image.put(TSS + 0x68, &[0, 0, 0, 0, 0, 0, 0, 0xFF]);
        image.put(TSS + 0x68 + 0x20, &[0xFF]);
    }

    fn state(self, reset: &ArchState, handlers: &Handlers) -> ArchState {
        let mut s = reset.clone();
        s.retired = 0;
        s.gpr = [0; 16];
        s.rflags = 2;
        s.cr4 = 1 << 9 | 1 << 10 | 1 << 16 | 1 << 18;
        s.xcr0 = 7;
        s.cpl = self.cpl;
        s.cr0 = 0x0005_0032;
        s.gdtr = TableRegister { base: GDT, limit: 0x77 };
        let idt_bytes = if self.gates == 64 { 0xFFF } else { 0x7FF };
        s.idtr = TableRegister { base: IDT, limit: idt_bytes };
        s.tr = Segment { base: TSS, limit: 0x88, attributes: 0x8B, selector: selector::TSS };
        s.ldtr = Segment::null(0);
        s.msrs.star = 0x18_0008 << 32;
        s.msrs.lstar = HANDLERS + handlers.syscall;
        s.msrs.fmask = 0x4_0700;
        match self.paging {
            Paging::Off => {}
            Paging::TwoLevel => s.cr3 = ROOT,
            Paging::Pae => {
                s.cr3 = PDPT;
                s.pdpte = [PD | 1, 0, 0, 0];
                s.efer = 0x800;
            }
            Paging::FourLevel => {
                s.cr3 = ROOT;
                s.efer = 0xD01;
            }
        }
        if self.paging != Paging::Off {
            s.cr0 |= 1 << 31;
            s.cr4 |= 1 << 7 | if self.paging == Paging::TwoLevel { 0 } else { 1 << 5 };
        }
        if self.gates == 16 {
            s.idtr = TableRegister { base: 0, limit: 0x3FF };
        } else {
            s.cr0 |= 1;
        }
        self.segments(&mut s);
        s
    }

    fn segments(self, s: &mut ArchState) {
        match self.segments {
            Segments::Flat => {
                let (code, data) = match (self.bits, self.cpl) {
                    (64, 0) => (selector::CODE64, selector::DATA),
                    (64, _) => (selector::USER_CODE64, selector::USER_DATA),
                    (_, 0) => (selector::CODE32, selector::DATA),
                    _ => (selector::USER_CODE32, selector::USER_DATA),
                };
                let dpl = u16::from(self.cpl) << 5;
                let flat = |selector, attributes| Segment { base: 0, limit: u32::MAX, attributes, selector };
                s.segments = [flat(data, 0xC093 | dpl); 6];
                s.segments[1] = flat(code, dpl | if self.bits == 64 { 0xA09B } else { 0xC09B });
                s.segments[4].base = linear::DATA + 0x1040;
                s.segments[5].base = linear::STACK;
            }
            Segments::Odd => self.odd_segments(s),
            Segments::Real => {
                s.segments = [0x1000, 0x1000, 0x1C00, 0x1400, 0xA000, 0x1200].map(Segment::real_mode);
                if self.gates == 32 {
                    s.rflags |= 1 << 17;
                    s.segments.iter_mut().for_each(|segment| segment.attributes = 0xF3);
                }
            }
        }
    }

    fn odd_segments(self, s: &mut ArchState) {
        let rpl = u16::from(self.cpl);
        let dpl = rpl << 5;
        let wide = self.bits == 32;
        let size = if wide { Segment::DB } else { 0 };
        let segment = |selector: u16, base: u64, bytes: u64, attributes: u16| Segment {
            base,
            limit: (bytes - 1) as u32,
            attributes: attributes | dpl,
            selector: selector | rpl,
        };
        let (down_base, down_limit) =
            if wide { (DATA + 0x8000, 0xFFFF_8000) } else { (DATA - 0x8000, 0x8000) };
        let down = if wide { 0xC097 } else { 0x97 };
        s.segments = [
            segment(selector::ODD_EXTRA, CODE, CODE_BYTES + DATA_BYTES, 0x93),
            segment(selector::ODD_CODE, CODE, CODE_BYTES, 0x9B | size),
            segment(selector::ODD_STACK, STACK, STACK_BYTES, 0x93 | size),
            segment(selector::ODD_DATA, DATA, DATA_BYTES, 0x93),
            segment(selector::ODD_DOWN, down_base, down_limit, down),
            segment(selector::ODD_DEVICE, DEVICE, 0x1_0000, 0x93),
        ];
    }
}
