//! Pages of a memory in sections.
//!
//! A section has a *window*: up to [`WINDOW_PAGES`] pages whose numbers differ in the last bits only. Its content is the struct
//! [`WindowHeadV1`], as postcard encodes it, and then the bytes of the pages that are there, one behind another, as one block
//! of LZ4 ("LZ4 Block Format Description"). Pages that are not there are zeros.

use lz4_flex::block;
use serde::{Deserialize, Serialize};

/// Bytes of a page.
pub const PAGE_BYTES: usize = 4096;
/// Pages of a window.
pub const WINDOW_PAGES: u64 = 256;

/// What stands before the packed pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct WindowHeadV1 {
    /// The number of its first page, divided by [`WINDOW_PAGES`].
    number: u64,
    /// Which pages are there: bit n of word w stands for page 64 w + n.
    present: [u64; 4],
}

impl WindowHeadV1 {
    fn pages(&self) -> impl Iterator<Item = u64> + use<> {
        let Self { number, present, .. } = *self;
        let is_there = move |page: &u64| present[(page / 64) as usize] >> (page % 64) & 1 != 0;
        (0..WINDOW_PAGES).filter(is_there).map(move |page| number * WINDOW_PAGES + page)
    }
    fn count(&self) -> usize {
        self.present.iter().map(|word| word.count_ones() as usize).sum()
    }
}

/// Pages that become a section.
pub(crate) struct Window {
    head: WindowHeadV1,
    bytes: Vec<u8>,
}

impl Window {
    /// The version of the content.
    pub(crate) const VERSION: u16 = 1;

    /// The window with this page, and nothing in it.
    pub(crate) fn new(page: u64) -> Self {
        Self { head: WindowHeadV1 { number: page / WINDOW_PAGES, present: [0; 4] }, bytes: Vec::new() }
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
    /// Whether a page belongs into it.
    pub(crate) fn takes(&self, page: u64) -> bool {
        page / WINDOW_PAGES == self.head.number
    }
    /// Adds a page behind the others.
    pub(crate) fn add(&mut self, page: u64, bytes: &[u8]) {
        let within = page % WINDOW_PAGES;
        self.head.present[(within / 64) as usize] |= 1 << (within % 64);
        self.bytes.extend_from_slice(bytes);
    }
}

/// Packs windows.
pub(crate) struct Packer {
    packed: Vec<u8>,
    content: Vec<u8>,
}

impl Packer {
    pub(crate) fn new() -> Self {
        Self {
            packed: vec![0; block::get_maximum_output_size(WINDOW_PAGES as usize * PAGE_BYTES)],
            content: Vec::new(),
        }
    }
    /// The content of a window's section.
    pub(crate) fn pack(&mut self, window: &Window) -> &[u8] {
        self.content.clear();
        // Neither can fail: the head has a few numbers, and there is room for the longest block.
        self.content.extend(postcard::to_stdvec(&window.head).unwrap_or_default());
        let length = block::compress_into(&window.bytes, &mut self.packed).unwrap_or_default();
        self.content.extend_from_slice(&self.packed[..length]);
        &self.content
    }
}

/// Why pages are not handed out.
pub(crate) enum UnpackError<E> {
    /// The content cannot be.
    Damaged(String),
    /// Who gets the pages refuses.
    Refused(E),
}

/// Unpacks windows.
pub struct Unpacker {
    bytes: Vec<u8>,
}

impl Default for Unpacker {
    fn default() -> Self {
        Self::new()
    }
}

impl Unpacker {
    /// With room for a window.
    pub fn new() -> Self {
        Self { bytes: vec![0; WINDOW_PAGES as usize * PAGE_BYTES] }
    }
    /// Hands out the pages of a section's content.
    pub(crate) fn unpack<E>(
        &mut self,
        content: &[u8],
        mut put: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), UnpackError<E>> {
        let damaged = |what: &str| UnpackError::Damaged(what.to_owned());
        let taken = postcard::take_from_bytes::<WindowHeadV1>(content);
        let (head, packed) = taken.map_err(|error| UnpackError::Damaged(error.to_string()))?;
        if head.number > u64::MAX / WINDOW_PAGES - 1 {
            return Err(damaged("a page with an impossible number"));
        }
        let wanted = head.count() * PAGE_BYTES;
        let unpacked = block::decompress_into(packed, &mut self.bytes[..wanted]);
        match unpacked {
            Ok(length) if length == wanted => {}
            Ok(length) => {
                return Err(UnpackError::Damaged(format!("{length} bytes for {} pages", head.count())));
            }
            Err(error) => return Err(UnpackError::Damaged(format!("its pages cannot be unpacked: {error}"))),
        }
        for (page, bytes) in head.pages().zip(self.bytes.chunks_exact(PAGE_BYTES)) {
            put(page, bytes).map_err(UnpackError::Refused)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(head: WindowHeadV1, pages: &[u8]) -> Vec<u8> {
        [postcard::to_stdvec(&head).unwrap(), block::compress(pages)].concat()
    }
    fn unpack(content: &[u8]) -> Result<usize, String> {
        let mut count = 0;
        let put = |_, _: &[u8]| {
            count += 1;
            Ok::<_, String>(())
        };
        Unpacker::new().unpack(content, put).map_err(|error| match error {
            UnpackError::Damaged(reason) | UnpackError::Refused(reason) => reason,
        })?;
        Ok(count)
    }

    #[test]
    fn windows_that_cannot_be_are_refused() {
        let head = WindowHeadV1 { number: 0, present: [3, 0, 0, 0] };
        assert_eq!(unpack(&content(head, &[1; 8192])), Ok(2));
        for (head, pages) in [
            (head, vec![1; 4096]),
            (head, vec![1; 8191]),
            // A bomb: more than there are pages.
            (head, vec![0; 100 << 20]),
            (WindowHeadV1 { number: u64::MAX, ..head }, vec![1; 8192]),
        ] {
            assert!(unpack(&content(head, &pages)).is_err(), "{head:?}, {} bytes", pages.len());
        }
        assert!(unpack(&[]).is_err());
        assert!(unpack(&[0x80; 30]).is_err());
    }

    #[test]
    fn whoever_gets_the_pages_may_refuse() {
        let head = WindowHeadV1 { number: 1, present: [0, 0, 0, 1] };
        let refuse = |page, _: &[u8]| Err(page);
        let refused = Unpacker::new().unpack(&content(head, &[7; 4096]), refuse);
        assert!(matches!(refused, Err(UnpackError::Refused(448))));
    }
}
