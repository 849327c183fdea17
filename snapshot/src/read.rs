//! Sections in.

use crate::pages::{self, Unpacker};
use crate::{
    END, FormatError, HEADER_BYTES, MAGIC, MOST_NAME_BYTES, MOST_SECTION_BYTES, SECTION_BYTES, VERSION,
};
use serde::de::DeserializeOwned;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

/// Reads a file, section by section.
pub struct Reader<R> {
    input: R,
    /// The last section that was read, for messages.
    last: String,
    ended: bool,
    /// Bytes so far.
    read: u64,
}

/// A section whose checksum is right.
#[derive(Clone, Debug)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// The version of its content.
    pub version: u16,
    /// Its content.
    pub content: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// No saved machine, or one of another version; the host cannot read.
    pub fn new(mut input: R) -> Result<Self, FormatError> {
        let mut header = [0; HEADER_BYTES];
        let length = read_up_to(&mut input, &mut header)?;
        if !header.starts_with(MAGIC) {
            return Err(FormatError::NoMachine);
        }
        if length < HEADER_BYTES {
            return Err(FormatError::Truncated { place: "its header".to_owned() });
        }
        if u32_at(&header, 20) != crc32fast::hash(&header[..20]) {
            return Err(FormatError::Damaged { place: "its header".to_owned() });
        }
        match u32_at(&header, 16) {
            VERSION => {
                Ok(Self { input, last: "the header".to_owned(), ended: false, read: HEADER_BYTES as u64 })
            }
            found => Err(FormatError::Version { found }),
        }
    }
    /// Reads the next section; nothing behind the last one.
    ///
    /// # Errors
    /// What is there is damaged or truncated; the host cannot read.
    #[expect(clippy::should_implement_trait, reason = "nothing is read behind an error")]
    pub fn next(&mut self) -> Result<Option<Section>, FormatError> {
        if self.ended {
            return Ok(None);
        }
        let (name, version, length, crc) = self.read_head()?;
        let mut content = Vec::new();
        // What a length says is not allocated before it is there.
        (&mut self.input).take(length).read_to_end(&mut content)?;
        self.read += content.len() as u64;
        if (content.len() as u64) < length {
            return Err(FormatError::Truncated { place: format!("section {name:?}") });
        }
        if crc32fast::hash(&content) != crc {
            return Err(FormatError::in_section(&name, "its checksum is wrong: the file is damaged"));
        }
        if name == END {
            self.ended = true;
            return Ok(None);
        }
        self.last = format!("section {name:?}");
        Ok(Some(Section { name, version, content }))
    }
    /// A section's name, version, length and checksum.
    fn read_head(&mut self) -> Result<(String, u16, u64, u32), FormatError> {
        let mut head = [0; SECTION_BYTES + MOST_NAME_BYTES + 4];
        self.fill(&mut head[..SECTION_BYTES])?;
        let damaged = |last: &str| FormatError::Damaged { place: format!("what follows {last}") };
        let name_bytes = usize::from(u16_at(&head, 0));
        if name_bytes == 0 || name_bytes > MOST_NAME_BYTES {
            return Err(damaged(&self.last));
        }
        let end = SECTION_BYTES + name_bytes;
        self.fill(&mut head[SECTION_BYTES..end + 4])?;
        let name = &head[SECTION_BYTES..end];
        if u32_at(&head, end) != crc32fast::hash(&head[..end]) || !name.is_ascii() {
            return Err(damaged(&self.last));
        }
        let name = String::from_utf8_lossy(name).into_owned();
        let length = u64_at(&head, 4);
        if length > MOST_SECTION_BYTES {
            let reason = format!("{length} bytes are too many: {MOST_SECTION_BYTES} at most");
            return Err(FormatError::in_section(&name, reason));
        }
        Ok((name, u16_at(&head, 2), length, u32_at(&head, 12)))
    }
    fn fill(&mut self, into: &mut [u8]) -> Result<(), FormatError> {
        let length = read_up_to(&mut self.input, into)?;
        self.read += length as u64;
        if length < into.len() {
            return Err(FormatError::Truncated { place: format!("what follows {}", self.last) });
        }
        Ok(())
    }
    /// How many bytes were read.
    pub fn position(&self) -> u64 {
        self.read
    }
}

impl<R: Read + Seek> Reader<R> {
    /// Fills `into` with what stands from byte `at` on.
    pub(crate) fn read_place(&mut self, at: u64, into: &mut [u8]) -> Result<(), FormatError> {
        self.input.seek(SeekFrom::Start(at))?;
        if read_up_to(&mut self.input, into)? < into.len() {
            return Err(FormatError::Truncated { place: "the pages behind the last section".to_owned() });
        }
        Ok(())
    }
}

impl Section {
    /// Sees that the version is one that this build knows: from 1 to `newest`.
    ///
    /// # Errors
    /// It is not.
    pub fn check_version(&self, newest: u16) -> Result<(), FormatError> {
        if (1..=newest).contains(&self.version) {
            return Ok(());
        }
        let reason = format!(
            "it has version {}, and this build reads up to {newest}: use the build that saved it",
            self.version
        );
        Err(FormatError::in_section(&self.name, reason))
    }
    /// The content as a struct that postcard encoded.
    ///
    /// # Errors
    /// It is none such.
    pub fn value<T: DeserializeOwned>(&self) -> Result<T, FormatError> {
        match postcard::take_from_bytes(&self.content) {
            Ok((value, [])) => Ok(value),
            Ok((_, rest)) => Err(self.refused(format!("{} bytes are too many", rest.len()))),
            Err(error) => Err(self.refused(error.to_string())),
        }
    }
    /// Hands out the pages that a section has: the number of each, and its bytes.
    ///
    /// # Errors
    /// The section is none such, or what `put` says.
    pub fn pages<E: From<FormatError>>(
        &self,
        unpacker: &mut Unpacker,
        put: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.check_version(pages::Window::VERSION)?;
        unpacker.unpack(&self.content, put).map_err(|error| match error {
            pages::UnpackError::Damaged(reason) => self.refused(reason).into(),
            pages::UnpackError::Refused(error) => error,
        })
    }
    /// What is wrong with this section.
    pub fn refused(&self, reason: impl Into<String>) -> FormatError {
        FormatError::in_section(&self.name, reason)
    }
}

/// Fills `into` as far as there is something; how far that is.
fn read_up_to(input: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < into.len() {
        match input.read(&mut into[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Writer;

    fn file() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new()).unwrap();
        writer.value("first", 1, &("text".to_owned(), 7u64)).unwrap();
        let page = |byte: u8| vec![byte; 4096];
        let (a, b, c) = (page(1), (0..=255).cycle().take(4096).collect::<Vec<u8>>(), page(3));
        writer.pages("ram", [(5, &a[..]), (255, &b[..]), (1000, &c[..])]).unwrap();
        writer.section("last", 3, &[]).unwrap();
        writer.finish().unwrap()
    }
    /// A page's number and its second byte.
    type Seen = (u64, u8);

    /// All sections: their names, and the pages that they have.
    fn read(bytes: &[u8]) -> Result<(Vec<String>, Vec<Seen>), FormatError> {
        let mut reader = Reader::new(bytes)?;
        let (mut names, mut pages, mut unpacker) = (Vec::new(), Vec::new(), Unpacker::new());
        while let Some(section) = reader.next()? {
            if section.name == "ram" {
                section.pages(&mut unpacker, |page, bytes| {
                    pages.push((page, bytes[1]));
                    Ok::<_, FormatError>(())
                })?;
            }
            names.push(section.name);
        }
        Ok((names, pages))
    }

    #[test]
    fn what_was_written_is_read() {
        let (names, pages) = read(&file()).unwrap();
        assert_eq!(names, ["first", "ram", "ram", "last"]);
        assert_eq!(pages, [(5, 1), (255, 1), (1000, 3)]);
        let bytes = file();
        let mut reader = Reader::new(&bytes[..]).unwrap();
        let first = reader.next().unwrap().unwrap();
        assert_eq!(first.value::<(String, u64)>().unwrap(), ("text".to_owned(), 7));
        assert!(first.value::<String>().unwrap_err().to_string().contains("1 bytes are too many"));
        assert!(first.check_version(1).is_ok());
        let newer = Section { version: 2, ..first };
        let message = newer.check_version(1).unwrap_err().to_string();
        assert!(message.starts_with("section \"first\": it has version 2"), "{message}");
    }

    #[test]
    fn each_flipped_bit_and_each_missing_byte_is_noticed() {
        let bytes = file();
        for at in 0..bytes.len() {
            assert!(read(&bytes[..at]).is_err(), "{at} bytes");
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(read(&flipped).is_err(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn errors_say_where_and_why() {
        let bytes = file();
        for (bytes, says) in [
            (&b"QFI\xfb and more of the like"[..], "it is no saved machine"),
            (&[], "it is no saved machine"),
            (&bytes[..20], "truncated: it ends in its header"),
            (&bytes[..30], "truncated: it ends in what follows the header"),
            (&bytes[..bytes.len() - 30], "truncated: it ends in what follows section \"ram\""),
        ] {
            let message = read(bytes).unwrap_err().to_string();
            assert!(message.contains(says), "{message}");
        }
        let mut other = bytes.clone();
        other[16] = 9;
        let crc = crc32fast::hash(&other[..20]).to_le_bytes();
        other[20..24].copy_from_slice(&crc);
        assert!(read(&other).unwrap_err().to_string().contains("version 9"));
    }

    #[test]
    fn a_length_alone_allocates_nothing() {
        let mut head = Vec::new();
        head.extend(3u16.to_le_bytes());
        head.extend(1u16.to_le_bytes());
        head.extend((MOST_SECTION_BYTES + 1).to_le_bytes());
        head.extend(0u32.to_le_bytes());
        head.extend(b"big");
        head.extend(crc32fast::hash(&head).to_le_bytes());
        let file = [&file()[..HEADER_BYTES], &head].concat();
        let message = read(&file).unwrap_err().to_string();
        assert!(message.contains("\"big\"") && message.contains("too many"), "{message}");
    }

    #[test]
    fn what_no_reader_takes_is_not_written() {
        let mut writer = Writer::new(Vec::new()).unwrap();
        let large = vec![0; MOST_SECTION_BYTES as usize + 1];
        for (name, content) in [("", &[][..]), ("\n", &[]), (&"x".repeat(81), &[]), ("large", &large)] {
            assert!(writer.section(name, 1, content).is_err(), "{name:?}");
        }
    }
}
