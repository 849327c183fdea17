//! Sections out.

use crate::pages::{PAGE_BYTES, Packer, Window};
use crate::{
    END, FormatError, HEADER_BYTES, MAGIC, MOST_NAME_BYTES, MOST_SECTION_BYTES, SECTION_BYTES, VERSION,
};
use serde::Serialize;
use std::io::Write;

/// Writes a file, section by section.
pub struct Writer<W> {
    out: W,
    /// Bytes so far.
    written: u64,
}

impl<W: Write> Writer<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// The host cannot write.
    pub fn new(mut out: W) -> Result<Self, FormatError> {
        out.write_all(&header())?;
        Ok(Self { out, written: HEADER_BYTES as u64 })
    }
    /// Writes on behind what is there already: the header and sections, which have so many bytes.
    pub fn behind(out: W, bytes: u64) -> Self {
        Self { out, written: bytes }
    }
    /// Writes a section.
    ///
    /// # Errors
    /// A name or content that no reader takes; the host cannot write.
    pub fn section(&mut self, name: &str, version: u16, content: &[u8]) -> Result<(), FormatError> {
        if name.is_empty()
            || name.len() > MOST_NAME_BYTES
            || !name.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        {
            return Err(FormatError::in_section(
                name,
                format!("a name has 1 to {MOST_NAME_BYTES} ASCII characters"),
            ));
        }
        if content.len() as u64 > MOST_SECTION_BYTES {
            let reason = format!("{} bytes are too many: {MOST_SECTION_BYTES} at most", content.len());
            return Err(FormatError::in_section(name, reason));
        }
        let mut head = Vec::with_capacity(SECTION_BYTES + name.len() + 4);
        head.extend((name.len() as u16).to_le_bytes());
        head.extend(version.to_le_bytes());
        head.extend((content.len() as u64).to_le_bytes());
        head.extend(crc32fast::hash(content).to_le_bytes());
        head.extend(name.bytes());
        head.extend(crc32fast::hash(&head).to_le_bytes());
        self.out.write_all(&head)?;
        self.out.write_all(content)?;
        self.written += (head.len() + content.len()) as u64;
        Ok(())
    }
    /// Writes a section whose content is a struct, as postcard encodes it.
    ///
    /// # Errors
    /// As [`section`](Self::section).
    pub fn value(&mut self, name: &str, version: u16, value: &impl Serialize) -> Result<(), FormatError> {
        let encoded = postcard::to_stdvec(value);
        let content = encoded.map_err(|error| FormatError::in_section(name, error.to_string()))?;
        self.section(name, version, &content)
    }
    /// Writes pages of a memory, by their numbers, which ascend, in sections of this name. Pages that are left out are zeros.
    ///
    /// # Errors
    /// As [`section`](Self::section).
    ///
    /// # Panics
    /// A page that is none by its length.
    pub fn pages<'a>(
        &mut self,
        name: &str,
        pages: impl IntoIterator<Item = (u64, &'a [u8])>,
    ) -> Result<(), FormatError> {
        let mut packer = Packer::new();
        let mut window = Window::new(0);
        for (number, bytes) in pages {
            assert_eq!(bytes.len(), PAGE_BYTES, "a whole page");
            if !window.takes(number) {
                self.window(name, &window, &mut packer)?;
                window = Window::new(number);
            }
            window.add(number, bytes);
        }
        self.window(name, &window, &mut packer)
    }
    fn window(&mut self, name: &str, window: &Window, packer: &mut Packer) -> Result<(), FormatError> {
        if window.is_empty() { Ok(()) } else { self.section(name, Window::VERSION, packer.pack(window)) }
    }
    /// Writes the last section; gives back what was written to.
    ///
    /// # Errors
    /// The host cannot write.
    pub fn finish(self) -> Result<W, FormatError> {
        Ok(self.end()?.0)
    }
    /// Hands on what the host keeps back.
    ///
    /// # Errors
    /// The host cannot write.
    pub fn flush(&mut self) -> Result<(), FormatError> {
        Ok(self.out.flush()?)
    }
    /// What was written to, without a last section.
    pub fn into_inner(self) -> W {
        self.out
    }
    /// The same; how many bytes the file has, too.
    ///
    /// # Errors
    /// The host cannot write.
    pub fn end(mut self) -> Result<(W, u64), FormatError> {
        self.section(END, 1, &[])?;
        Ok((self.out, self.written))
    }
}

fn header() -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..16].copy_from_slice(MAGIC);
    header[16..20].copy_from_slice(&VERSION.to_le_bytes());
    let crc = crc32fast::hash(&header[..20]);
    header[20..].copy_from_slice(&crc.to_le_bytes());
    header
}
