//! What CMOS memory says at power-on (PC/AT map and its customary extensions).

/// Sizes that the machine writes into CMOS memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CmosSizes {
    /// Bytes of RAM below the PCI hole.
    pub low_ram_bytes: u64,
    /// Bytes of RAM from 4 GiB on.
    pub high_ram_bytes: u64,
    /// Number of vCPUs.
    pub cpus: u8,
}

/// Bytes of both banks.
pub(super) const CMOS_BYTES: usize = 256;

/// CMOS memory at power-on.
pub(super) fn power_on(sizes: CmosSizes) -> [u8; CMOS_BYTES] {
    let mut cmos = [0; CMOS_BYTES];
    let above = |base: u64, unit: u64, limit: u64| {
        (sizes.low_ram_bytes.saturating_sub(base) / unit).min(limit) as u16
    };
    let mut word = |at: usize, value: u16| cmos[at..at + 2].copy_from_slice(&value.to_le_bytes());
    // Base memory, extended memory from 1 MiB (twice), all in KiB.
    word(0x15, 640);
    word(0x17, above(1 << 20, 1 << 10, 0xFFFF));
    word(0x30, above(1 << 20, 1 << 10, 0xFFFF));
    // Memory from 16 MiB on in units of 64 KiB.
    word(0x34, above(16 << 20, 64 << 10, 0xFFFF));
    // Memory from 4 GiB on in units of 64 KiB, three bytes.
    let high = (sizes.high_ram_bytes / (64 << 10)).min(0xFF_FFFF) as u32;
    cmos[0x5B..0x5E].copy_from_slice(&high.to_le_bytes()[..3]);
    cmos[0x5F] = sizes.cpus.saturating_sub(1);
    // Equipment: FPU and PS/2 mouse, VGA.
    cmos[0x14] = 0x06;
    let sum: u16 = cmos[0x10..=0x2D].iter().map(|b| u16::from(*b)).sum();
    cmos[0x2E..0x30].copy_from_slice(&sum.to_be_bytes());
    cmos
}
