//! Numbers in the bytes of headers and tables; what lies behind the bytes' end is zero.

/// The bytes of a number at `at`.
fn at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut number = [0; N];
    let rest = bytes.get(at..).unwrap_or_default();
    let count = rest.len().min(N);
    number[..count].copy_from_slice(&rest[..count]);
    number
}

/// The big-endian 16-bit number at byte `offset`.
pub(crate) fn be_u16(bytes: &[u8], offset: usize) -> u16 {
    u16::from_be_bytes(at(bytes, offset))
}
/// The big-endian 32-bit number at byte `offset`.
pub(crate) fn be_u32(bytes: &[u8], offset: usize) -> u32 {
    u32::from_be_bytes(at(bytes, offset))
}
/// The big-endian 64-bit number at byte `offset`.
pub(crate) fn be_u64(bytes: &[u8], offset: usize) -> u64 {
    u64::from_be_bytes(at(bytes, offset))
}
/// The little-endian 16-bit number at byte `offset`.
pub(crate) fn le_u16(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(at(bytes, offset))
}
/// The little-endian 32-bit number at byte `offset`.
pub(crate) fn le_u32(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(at(bytes, offset))
}
/// The little-endian 64-bit number at byte `offset`.
pub(crate) fn le_u64(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(at(bytes, offset))
}
/// Big-endian 64-bit numbers, as tables have them.
pub(crate) fn be_table(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks_exact(8).map(|entry| be_u64(entry, 0)).collect()
}
/// The bytes of a table of big-endian 64-bit numbers.
pub(crate) fn be_bytes(table: &[u64]) -> Vec<u8> {
    table.iter().flat_map(|entry| entry.to_be_bytes()).collect()
}
