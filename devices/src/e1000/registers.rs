//! Numbers of the 82540EM: register offsets and bits (8254x manual, "Register Descriptions"), a descriptor's fields.

/// Intel.
pub const VENDOR: u16 = 0x8086;
/// 82540EM: PRO/1000 MT Desktop Adapter.
pub const DEVICE: u16 = 0x100E;
/// The desktop adapter as a subsystem.
pub const SUBSYSTEM: u16 = 0x001E;
/// Stepping of the chip.
pub const REVISION: u8 = 2;

/// The BAR of all registers, in memory.
pub const REGISTER_BAR: u8 = 0;
/// Its bytes.
pub const REGISTER_BYTES: u32 = 0x2_0000;
/// The BAR of IOADDR and IODATA. Number 1 is for flash memory, which this board has not.
pub const IO_BAR: u8 = 2;
/// Its bytes.
pub const IO_BYTES: u32 = 64;

// General registers.
/// Device control.
pub const CTRL: u64 = 0x0000;
/// The same register again.
pub const CTRL_DUP: u64 = 0x0004;
/// Device status.
pub const STATUS: u64 = 0x0008;
/// EEPROM control: its wires.
pub const EECD: u64 = 0x0010;
/// EEPROM read.
pub const EERD: u64 = 0x0014;
/// MDI control: the way to the PHY.
pub const MDIC: u64 = 0x0020;
/// VLAN Ethertype.
pub const VET: u64 = 0x0038;
/// Packet buffer allocation.
pub const PBA: u64 = 0x1000;

// Interrupts.
/// Interrupt cause read.
pub const ICR: u64 = 0x00C0;
/// Interrupt throttling.
pub const ITR: u64 = 0x00C4;
/// Interrupt cause set.
pub const ICS: u64 = 0x00C8;
/// Interrupt mask set and read.
pub const IMS: u64 = 0x00D0;
/// Interrupt mask clear.
pub const IMC: u64 = 0x00D8;

// Receiver.
/// Receive control.
pub const RCTL: u64 = 0x0100;
/// The ring's base address, low.
pub const RDBAL: u64 = 0x2800;
/// High.
pub const RDBAH: u64 = 0x2804;
/// Bytes of the ring.
pub const RDLEN: u64 = 0x2808;
/// Head.
pub const RDH: u64 = 0x2810;
/// Tail.
pub const RDT: u64 = 0x2818;
/// Receive interrupt delay timer.
pub const RDTR: u64 = 0x2820;
/// Receive interrupt absolute delay timer.
pub const RADV: u64 = 0x282C;
/// Receive small packet detect.
pub const RSRPD: u64 = 0x2C00;
/// Receive checksum control.
pub const RXCSUM: u64 = 0x5000;
/// Multicast table: 128 registers.
pub const MTA: u64 = 0x5200;
/// Receive addresses: 16 pairs.
pub const RAL: u64 = 0x5400;
/// VLAN filter table: 128 registers.
pub const VFTA: u64 = 0x5600;

// Transmitter.
/// Transmit control.
pub const TCTL: u64 = 0x0400;
/// The ring's base address, low.
pub const TDBAL: u64 = 0x3800;
/// High.
pub const TDBAH: u64 = 0x3804;
/// Bytes of the ring.
pub const TDLEN: u64 = 0x3808;
/// Head.
pub const TDH: u64 = 0x3810;
/// Tail.
pub const TDT: u64 = 0x3818;
/// Transmit interrupt delay.
pub const TIDV: u64 = 0x3820;
/// Transmit descriptor control.
pub const TXDCTL: u64 = 0x3828;
/// Transmit absolute interrupt delay.
pub const TADV: u64 = 0x382C;

/// The statistics: 64 registers.
pub const STATISTICS: u64 = 0x4000;

/// Bits of [`CTRL`].
pub mod ctrl {
    /// Full duplex.
    pub const FD: u32 = 1 << 0;
    /// Set link up.
    pub const SLU: u32 = 1 << 6;
    /// 1000 Mbit/s.
    pub const SPEED_1000: u32 = 2 << 8;
    /// Reset of all but the PHY.
    pub const RST: u32 = 1 << 26;
    /// VLAN mode: tags are stripped and inserted.
    pub const VME: u32 = 1 << 30;
    /// Reset of the PHY.
    pub const PHY_RST: u32 = 1 << 31;
    /// Bits that keep what is written.
    pub const WRITABLE: u32 = 0xD8FC_1BE9;
}
/// Bits of [`STATUS`].
pub mod status {
    /// Full duplex.
    pub const FD: u32 = 1 << 0;
    /// Link up.
    pub const LU: u32 = 1 << 1;
    /// 1000 Mbit/s, set and detected.
    pub const SPEED_1000: u32 = 2 << 6 | 2 << 8;
}
/// Interrupt causes.
pub mod cause {
    /// A descriptor was written back.
    pub const TXDW: u32 = 1 << 0;
    /// The transmit ring is empty.
    pub const TXQE: u32 = 1 << 1;
    /// The link went up or down.
    pub const LSC: u32 = 1 << 2;
    /// Few receive descriptors are left.
    pub const RXDMT0: u32 = 1 << 4;
    /// Frames were received.
    pub const RXT0: u32 = 1 << 7;
    /// An access by MDIC is done.
    pub const MDAC: u32 = 1 << 9;
    /// The PHY has an interrupt.
    pub const PHYINT: u32 = 1 << 12;
    /// Few transmit descriptors are left.
    pub const TXD_LOW: u32 = 1 << 15;
    /// A small packet was received.
    pub const SRPD: u32 = 1 << 16;
    /// Causes that can be set; drivers test those without a name too.
    pub const ALL: u32 = 0x1_FFFF;
}
/// Bits of [`RCTL`].
pub mod rctl {
    /// Receiver enable.
    pub const EN: u32 = 1 << 1;
    /// Store bad packets.
    pub const SBP: u32 = 1 << 2;
    /// Unicast promiscuous.
    pub const UPE: u32 = 1 << 3;
    /// Multicast promiscuous.
    pub const MPE: u32 = 1 << 4;
    /// Long packets.
    pub const LPE: u32 = 1 << 5;
    /// Loopback in the MAC or the PHY's transceiver.
    pub const LBM: u32 = 3 << 6;
    /// Where the threshold of free descriptors begins: 2 bits.
    pub const RDMTS_SHIFT: u32 = 8;
    /// Where the offset into multicast addresses begins: 2 bits.
    pub const MO_SHIFT: u32 = 12;
    /// Broadcasts are accepted.
    pub const BAM: u32 = 1 << 15;
    /// Where the buffers' size begins: 2 bits.
    pub const BSIZE_SHIFT: u32 = 16;
    /// VLAN filter.
    pub const VFE: u32 = 1 << 18;
    /// Frames whose CFI is not that of the next bit are dropped.
    pub const CFIEN: u32 = 1 << 19;
    /// The CFI that is accepted.
    pub const CFI: u32 = 1 << 20;
    /// Pause frames are thrown away.
    pub const DPF: u32 = 1 << 22;
    /// MAC control frames that are no pause frames go to memory.
    pub const PMCF: u32 = 1 << 23;
    /// Buffers are sixteen times as large.
    pub const BSEX: u32 = 1 << 25;
    /// The frame check sequence is not stored.
    pub const SECRC: u32 = 1 << 26;
    /// Bits that keep what is written.
    pub const WRITABLE: u32 = 0x06DF_B3FE;
}
/// Bits of [`TCTL`].
pub mod tctl {
    /// Transmitter enable.
    pub const EN: u32 = 1 << 1;
    /// Short packets are padded.
    pub const PSP: u32 = 1 << 3;
    /// Bits that keep what is written.
    pub const WRITABLE: u32 = 0x03FF_FFFA;
}
/// Bits of [`RXCSUM`].
pub mod rxcsum {
    /// Where the packet checksum starts, in bytes.
    pub const PCSS: u32 = 0xFF;
    /// Checksums of IPv4 headers are looked at.
    pub const IPOFL: u32 = 1 << 8;
    /// Checksums of TCP and UDP are looked at.
    pub const TUOFL: u32 = 1 << 9;
}
/// A receive descriptor: status in byte 12, errors in byte 13.
pub mod rx {
    /// Descriptor done.
    pub const DD: u8 = 1 << 0;
    /// End of packet.
    pub const EOP: u8 = 1 << 1;
    /// The two checksum bits say nothing.
    pub const IXSM: u8 = 1 << 2;
    /// A VLAN tag was stripped.
    pub const VP: u8 = 1 << 3;
    /// TCP's or UDP's checksum was looked at.
    pub const TCPCS: u8 = 1 << 5;
    /// IP's checksum was looked at.
    pub const IPCS: u8 = 1 << 6;
    /// No filter for just this address let it pass.
    pub const PIF: u8 = 1 << 7;
    /// Error: TCP's or UDP's checksum is wrong.
    pub const TCPE: u8 = 1 << 5;
    /// Error: IP's checksum is wrong.
    pub const IPE: u8 = 1 << 6;
}
/// A transmit descriptor: the command in bits 31:24 of its third dword, the type in bits 23:20.
pub mod tx {
    /// End of packet.
    pub const EOP: u32 = 1 << 24;
    /// The frame check sequence is inserted; otherwise the packet ends with one.
    pub const IFCS: u32 = 1 << 25;
    /// Legacy: a checksum is inserted.
    pub const IC: u32 = 1 << 26;
    /// Data and context: TCP segmentation.
    pub const TSE: u32 = 1 << 26;
    /// Status is to be reported.
    pub const RS: u32 = 1 << 27;
    /// Not a legacy descriptor.
    pub const DEXT: u32 = 1 << 29;
    /// A VLAN tag is inserted.
    pub const VLE: u32 = 1 << 30;
    /// The interrupt may be delayed.
    pub const IDE: u32 = 1 << 31;
    /// The type, where the descriptor is not a legacy one.
    pub const TYPE: u32 = 0xF << 20;
    /// A data descriptor; 0 is a context descriptor.
    pub const DATA: u32 = 1 << 20;
    /// Context: the packet is TCP, not UDP.
    pub const TCP: u32 = 1 << 24;
    /// Context: the packet is IPv4, not IPv6.
    pub const IPV4: u32 = 1 << 25;
    /// Data: IP's checksum is inserted.
    pub const IXSM: u8 = 1 << 0;
    /// Data: TCP's or UDP's checksum is inserted.
    pub const TXSM: u8 = 1 << 1;
    /// Status: descriptor done.
    pub const DD: u32 = 1 << 0;
}
/// Bytes of a descriptor.
pub const DESCRIPTOR_BYTES: u64 = 16;

/// A register that keeps what is written and does nothing: hints for hardware that has no wire here, parts that are left
/// out, and such whose value others look up.
pub struct Plain {
    /// Its offset.
    pub offset: u64,
    /// How many there are from there on.
    pub count: u64,
    /// Bits that can be written.
    pub mask: u32,
    /// Value after reset.
    pub reset: u32,
}

const fn plain(offset: u64, mask: u32, reset: u32) -> Plain {
    Plain { offset, count: 1, mask, reset }
}

/// All of them.
pub const PLAIN: &[Plain] = &[
    plain(0x0018, 0x01FF_FFF7, 0),                                // CTRL_EXT
    plain(0x0028, u32::MAX, 0),                                   // FCAL
    plain(0x002C, 0xFFFF, 0),                                     // FCAH
    plain(0x0030, 0xFFFF, 0),                                     // FCT
    plain(VET, 0xFFFF, 0x8100),                                   // VET
    plain(0x0170, 0xFFFF, 0),                                     // FCTTV
    plain(0x0178, 0xC000_FFFF, 0),                                // TXCW
    plain(RADV, 0xFFFF, 0),                                       // RADV
    plain(RDTR, 0xFFFF, 0),                                       // RDTR
    plain(0x0410, 0x3FFF_FFFF, 0x0060_2008),                      // TIPG
    plain(0x0458, 0xFFFF, 0),                                     // AIT
    plain(0x0E00, 0xCFCF_CFCF, 0x0706_8302),                      // LEDCTL
    plain(0x2160, 0x8000_FFF8, 0),                                // FCRTL
    plain(0x2168, 0xFFF8, 0),                                     // FCRTH
    plain(0x2828, 0x013F_3F3F, 0x0001_0000),                      // RXDCTL
    plain(RSRPD, 0x0FFF, 0),                                      // RSRPD
    plain(0x3000, 1, 0),                                          // TXDMAC
    plain(TIDV, 0xFFFF, 0),                                       // TIDV
    plain(TXDCTL, 0xFF3F_3F3F, 0),                                // TXDCTL
    plain(TADV, 0xFFFF, 0),                                       // TADV
    plain(0x3830, u32::MAX, 0x0100_0400),                         // TSPMT
    plain(RXCSUM, 0x07FF, 0),                                     // RXCSUM
    plain(0x5800, 0x7, 0),                                        // WUC
    plain(0x5808, 0x000F_00FF, 0),                                // WUFC
    plain(0x5820, 0x003F_FFFF, 0),                                // MANC
    plain(0x5838, 0x0001_000F, 0),                                // IPAV
    Plain { offset: 0x5840, count: 8, mask: u32::MAX, reset: 0 }, // IP4AT
    Plain { offset: 0x5880, count: 4, mask: u32::MAX, reset: 0 }, // IP6AT
    // The semaphores of later cards, which U-Boot takes on this one too.
    plain(0x5B50, 0x2, 0),         // SWSM: SWESMBI
    plain(0x5B5C, 0x000F_000F, 0), // SW_FW_SYNC
];

/// Which register of [`PLAIN`] is at an offset: its number among all of them, and its row.
pub const fn plain_at(offset: u64) -> Option<(usize, &'static Plain)> {
    let (mut first, mut row) = (0, 0);
    while row < PLAIN.len() {
        let Plain { offset: begin, count, .. } = PLAIN[row];
        if offset >= begin && offset < begin + 4 * count {
            return Some((first + (offset - begin) as usize / 4, &PLAIN[row]));
        }
        first += count as usize;
        row += 1;
    }
    None
}
/// The number of a register that is one of [`PLAIN`], when the program is compiled.
pub const fn plain_number(offset: u64) -> usize {
    match plain_at(offset) {
        Some((number, _)) => number,
        None => panic!("no plain register"),
    }
}
/// All registers of [`PLAIN`] after reset.
pub fn plain_reset() -> Vec<u32> {
    PLAIN.iter().flat_map(|row| std::iter::repeat_n(row.reset, row.count as usize)).collect()
}
