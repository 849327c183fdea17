//! The caller's registers, as a stub in ROM leaves them on the stack.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 2 | service: the interrupt's number, or 0100h and up for services of the power-on self-test |
//! | 2 | 2 | zero |
//! | 4 | 32 | EDI, ESI, EBP, ESP, EBX, EDX, ECX, EAX: the order of PUSHAD |
//! | 36 | 4 | ES, DS |
//! | 40 | 6 | IP, CS, FLAGS: what IRET takes |

use super::status::Status;
use trimotor_bus::{DmaBus, PhysAddr};

/// Bytes of a frame.
pub const FRAME_BYTES: usize = 46;
/// Offset of EDI, the first register.
const REGISTERS: usize = 4;
const ES: usize = 36;
const FLAGS: usize = 44;
const CARRY: u16 = 1;

/// The caller's registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where it is.
    pub at: PhysAddr,
    /// The interrupt's number, or that of a service of the power-on self-test.
    pub service: u16,
    /// DL at the call: which drive it is for.
    pub drive: u8,
    /// EDI.
    pub edi: u32,
    /// ESI.
    pub esi: u32,
    /// EBP.
    pub ebp: u32,
    /// EBX.
    pub ebx: u32,
    /// EDX.
    pub edx: u32,
    /// ECX.
    pub ecx: u32,
    /// EAX.
    pub eax: u32,
    /// ES.
    pub es: u16,
    /// DS.
    pub ds: u16,
    /// Where the stub returns to.
    pub ip: u16,
    /// The segment of `ip`.
    pub cs: u16,
    /// The flags that it returns with.
    pub flags: u16,
}

fn word(bytes: &[u8; FRAME_BYTES], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}
fn dword(bytes: &[u8; FRAME_BYTES], at: usize) -> u32 {
    u32::from(word(bytes, at)) | u32::from(word(bytes, at + 2)) << 16
}

impl Frame {
    /// Reads the frame at `at`.
    pub fn read(memory: &impl DmaBus, at: PhysAddr) -> Self {
        let mut bytes = [0; FRAME_BYTES];
        memory.dma_read(at, &mut bytes);
        let register = |index: usize| dword(&bytes, REGISTERS + 4 * index);
        Self {
            at,
            service: word(&bytes, 0),
            drive: register(5) as u8,
            edi: register(0),
            esi: register(1),
            ebp: register(2),
            ebx: register(4),
            edx: register(5),
            ecx: register(6),
            eax: register(7),
            es: word(&bytes, ES),
            ds: word(&bytes, ES + 2),
            ip: word(&bytes, ES + 4),
            cs: word(&bytes, ES + 6),
            flags: word(&bytes, FLAGS),
        }
    }
    /// Writes the registers back. ESP stays what it is in memory.
    pub fn write(&self, memory: &impl DmaBus) {
        let Self { at, service: _, drive: _, edi, esi, ebp, ebx, edx, ecx, eax, es, ds, ip, cs, flags } =
            self;
        let put = |offset: usize, bytes: &[u8]| memory.dma_write(at.offset(offset as u64), bytes);
        for (index, register) in [(0, edi), (1, esi), (2, ebp), (4, ebx), (5, edx), (6, ecx), (7, eax)] {
            put(REGISTERS + 4 * index, &register.to_le_bytes());
        }
        for (index, word) in [es, ds, ip, cs, flags].into_iter().enumerate() {
            put(ES + 2 * index, &word.to_le_bytes());
        }
    }

    /// AL.
    pub fn al(&self) -> u8 {
        self.eax as u8
    }
    /// AH.
    pub fn ah(&self) -> u8 {
        (self.eax >> 8) as u8
    }
    /// BX.
    pub fn bx(&self) -> u16 {
        self.ebx as u16
    }
    /// CX.
    pub fn cx(&self) -> u16 {
        self.ecx as u16
    }
    /// DH: mostly the head.
    pub fn dh(&self) -> u8 {
        (self.edx >> 8) as u8
    }
    /// Sets AL.
    pub fn set_al(&mut self, value: u8) {
        self.eax = self.eax & !0xFF | u32::from(value);
    }
    /// Sets AH.
    pub fn set_ah(&mut self, value: u8) {
        self.eax = self.eax & !0xFF00 | u32::from(value) << 8;
    }
    /// Sets AX.
    pub fn set_ax(&mut self, value: u16) {
        self.eax = self.eax & !0xFFFF | u32::from(value);
    }
    /// Sets BX.
    pub fn set_bx(&mut self, value: u16) {
        self.ebx = self.ebx & !0xFFFF | u32::from(value);
    }
    /// Sets BL.
    pub fn set_bl(&mut self, value: u8) {
        self.ebx = self.ebx & !0xFF | u32::from(value);
    }
    /// Sets CX.
    pub fn set_cx(&mut self, value: u16) {
        self.ecx = self.ecx & !0xFFFF | u32::from(value);
    }
    /// Sets DX.
    pub fn set_dx(&mut self, value: u16) {
        self.edx = self.edx & !0xFFFF | u32::from(value);
    }
    /// Sets DL.
    pub fn set_dl(&mut self, value: u8) {
        self.edx = self.edx & !0xFF | u32::from(value);
    }
    /// Sets DI.
    pub fn set_di(&mut self, value: u16) {
        self.edi = self.edi & !0xFFFF | u32::from(value);
    }
    /// Sets the carry flag that the caller sees.
    pub fn set_carry(&mut self, set: bool) {
        self.flags = self.flags & !CARRY | u16::from(set);
    }
    /// AH and the carry flag as a status says.
    pub fn set_status(&mut self, status: Status) {
        self.set_ah(status as u8);
        self.set_carry(status != Status::Ok);
    }
    /// The address of DS:SI.
    pub fn ds_si(&self) -> PhysAddr {
        real_mode(self.ds, self.esi as u16)
    }
    /// The address of ES:BX.
    pub fn es_bx(&self) -> PhysAddr {
        real_mode(self.es, self.bx())
    }
    /// Cylinder, head and sector in CX and DH.
    pub fn chs(&self) -> (u16, u8, u8) {
        let [sector, cylinder] = self.cx().to_le_bytes();
        (u16::from(cylinder) | u16::from(sector & 0xC0) << 2, self.dh(), sector & 0x3F)
    }
}

/// The address of a segment and an offset in real mode.
pub fn real_mode(segment: u16, offset: u16) -> PhysAddr {
    PhysAddr((u64::from(segment) << 4) + u64::from(offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use trimotor_bus::{BusMaster, GuestMemory};

    #[test]
    fn registers_are_where_pushad_and_an_interrupt_leave_them() {
        let memory = GuestMemory::new(1 << 20, &[]).expect("memory");
        let bytes: Vec<u8> = (0..FRAME_BYTES as u8).collect();
        memory.write(PhysAddr(0x5000), &bytes);
        let master = BusMaster::new(memory.clone());
        master.enable(true);
        let mut frame = Frame::read(&master, PhysAddr(0x5000));
        assert_eq!((frame.service, frame.edi, frame.eax), (0x0100, 0x0706_0504, 0x2322_2120));
        assert_eq!((frame.es, frame.ds, frame.ip, frame.cs), (0x2524, 0x2726, 0x2928, 0x2B2A));
        assert_eq!(frame.flags, 0x2D2C);
        frame.set_status(Status::TimeOut);
        frame.set_bl(0xEE);
        frame.write(&master);
        let mut after = vec![0; FRAME_BYTES];
        memory.read(PhysAddr(0x5000), &mut after);
        let mut expected = bytes;
        expected[20] = 0xEE;
        expected[33] = 0x80;
        expected[44] = 0x2D;
        assert_eq!(after, expected);
    }

    #[test]
    fn cylinders_have_ten_bits() {
        let memory = GuestMemory::new(1 << 20, &[]).expect("memory");
        let mut frame = Frame::read(&BusMaster::new(memory), PhysAddr(0));
        frame.set_cx(0x34C5);
        frame.set_dx(0x0780);
        assert_eq!(frame.chs(), (0x334, 7, 5));
    }
}
