//! Little-endian fields of a hostile file: every read is checked.

/// Reads fields from a byte slice; `None` where the slice ends too early.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a>(pub &'a [u8]);

/// Notes that `units` (bytes of a file, ranges of memory) were looked at. Tests of hostile files
/// hold the sum against the file's size.
#[cfg(not(test))]
pub(crate) fn work(_units: u64) {}
#[cfg(test)]
pub(crate) use counted::work;

/// How much this thread's loaders have looked at.
#[cfg(test)]
pub(crate) mod counted {
    use std::cell::Cell;

    thread_local! {
        static DONE: Cell<u64> = const { Cell::new(0) };
    }

    pub(crate) fn work(units: u64) {
        DONE.set(DONE.get() + units);
    }
    /// What [`work`] has noted since the last call.
    pub(crate) fn take() -> u64 {
        DONE.take()
    }
}

impl<'a> Fields<'a> {
    pub fn array<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        work(N as u64);
        self.0.get(offset..offset.checked_add(N)?)?.try_into().ok()
    }
    pub fn u8(&self, offset: usize) -> Option<u8> {
        work(1);
        self.0.get(offset).copied()
    }
    pub fn u16(&self, offset: usize) -> Option<u16> {
        self.array(offset).map(u16::from_le_bytes)
    }
    pub fn u32(&self, offset: usize) -> Option<u32> {
        self.array(offset).map(u32::from_le_bytes)
    }
    pub fn u64(&self, offset: usize) -> Option<u64> {
        self.array(offset).map(u64::from_le_bytes)
    }
    pub fn slice(&self, offset: u64, len: u64) -> Option<&'a [u8]> {
        let end = offset.checked_add(len)?;
        work(len.min(self.0.len() as u64));
        self.0.get(usize::try_from(offset).ok()?..usize::try_from(end).ok()?)
    }
}

/// Builds a structure whose fields stand at fixed offsets.
#[derive(Clone, Debug)]
pub(crate) struct Record(pub Vec<u8>);

impl Record {
    pub fn new(bytes: usize) -> Self {
        Self(vec![0; bytes])
    }
    /// Puts `value` at `offset`; the offsets are constants of a specification.
    pub fn put(&mut self, offset: usize, value: &[u8]) {
        self.0[offset..offset + value.len()].copy_from_slice(value);
    }
    pub fn u8(&mut self, offset: usize, value: u8) {
        self.put(offset, &[value]);
    }
    pub fn u16(&mut self, offset: usize, value: u16) {
        self.put(offset, &value.to_le_bytes());
    }
    pub fn u32(&mut self, offset: usize, value: u32) {
        self.put(offset, &value.to_le_bytes());
    }
    pub fn u64(&mut self, offset: usize, value: u64) {
        self.put(offset, &value.to_le_bytes());
    }
}
