//! The file format of saved machines.
//!
//! A file is a header and *sections*. All numbers are little-endian.
//!
//! | header, 24 bytes | |
//! |---|---|
//! | 0 | [`MAGIC`] |
//! | 16 | u32: [`VERSION`] of what this page says |
//! | 20 | u32: CRC-32 of the 20 bytes before |
//!
//! | section | |
//! |---|---|
//! | 0 | u16: bytes of the name |
//! | 2 | u16: version of the content |
//! | 4 | u64: bytes of the content |
//! | 12 | u32: CRC-32 of the content |
//! | 16 | the name: ASCII, as `vcpu 0` or `device PIT` |
//! | | u32: CRC-32 of all of that |
//! | | the content |
//!
//! The last section is [`END`], without content: a file without it is incomplete. What a content means is defined by who wrote it,
//! under its name and version, mostly as [postcard](https://postcard.jamesmunns.com/wire-format) encodes a struct. This crate
//! knows one kind: pages of a memory, packed ([`pages`]), in as many sections of one name as are needed.
//!
//! | part | file |
//! |---|---|
//! | sections out | [`write`] |
//! | sections in | [`read`] |
//! | pages in sections | [`pages`] |
//! | pages behind the sections, to be mapped | [`mapped`] |
//!
//! **The reader trusts nothing.** Each length is held against a bound before anything is allocated for it, and memory grows with what
//! was read, not with what a length says. Whatever is wrong is a [`FormatError`], which names the section.
//!
//! **To change a content**, give it the next version, keep the old struct, and make the new one of it where the section is read: files
//! of earlier builds stay readable. A section that a build does not know, or of a newer version, is refused.
//!
//! No file is opened here: the program hands in what is read and written.

pub mod mapped;
pub mod pages;
pub mod read;
pub mod write;

pub use read::{Reader, Section};
pub use write::Writer;

use std::io;

/// What a file begins with. The line end and Ctrl-Z show what has gone through a conversion of texts.
pub const MAGIC: &[u8; 16] = b"TRIMOTOR SAVED\n\x1a";
/// The version of the format.
pub const VERSION: u32 = 1;
/// Bytes of the header.
const HEADER_BYTES: usize = 24;
/// Bytes of a section's header before its name.
const SECTION_BYTES: usize = 16;
/// The longest name of a section.
const MOST_NAME_BYTES: usize = 80;
/// The largest content of a section: more than any device has, and little enough to be read as a whole.
pub const MOST_SECTION_BYTES: u64 = 16 << 20;
/// The name of the last section.
pub const END: &str = "end";

/// A file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The host cannot read or write.
    #[error("{0}")]
    Host(#[from] io::Error),
    /// It does not begin with [`MAGIC`].
    #[error("it is no saved machine")]
    NoMachine,
    /// What says what follows has a wrong checksum.
    #[error("it is damaged: {place} has a wrong checksum")]
    Damaged {
        /// Where.
        place: String,
    },
    /// Another version of the format.
    #[error(
        "it has version {found} of the format, and this build reads version {VERSION}: use the build that saved it"
    )]
    Version {
        /// The file's.
        found: u32,
    },
    /// The file ends too early.
    #[error("it is truncated: it ends in {place}")]
    Truncated {
        /// Where.
        place: String,
    },
    /// What is there cannot be.
    #[error("section {section:?}: {reason}")]
    Section {
        /// Its name.
        section: String,
        /// What is wrong.
        reason: String,
    },
}

impl FormatError {
    /// What is wrong with a section.
    pub fn in_section(section: &str, reason: impl Into<String>) -> Self {
        Self::Section { section: section.to_owned(), reason: reason.into() }
    }
}
