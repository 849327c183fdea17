//! The guest's picture in the terminal.
//!
//! A guest in a graphics mode has no text to show. Its picture is made smaller ([`scale`]) so that it fits the terminal ([`fit`]),
//! and becomes cells of two colours each ([`blocks`]), sixels ([`sixel`]) or images of kitty's ([`kitty`]): [`Format`]. The
//! [`stage`] knows what the terminal shows already, and sends the parts that changed.

pub mod blocks;
pub mod fit;
pub mod kitty;
pub mod palette;
pub mod scale;
pub mod sixel;
pub mod stage;

use std::fmt;
use std::str::FromStr;
use trimotor_devices::display::{Damage, Surface};

/// How a picture is sent to a terminal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Coloured half-blocks, which all terminals show.
    Blocks,
    /// Sixels.
    Sixel,
    /// Images by kitty's protocol.
    Kitty,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 3] = [Format::Blocks, Format::Sixel, Format::Kitty];

    /// What people write.
    pub fn name(self) -> &'static str {
        match self {
            Format::Blocks => "blocks",
            Format::Sixel => "sixel",
            Format::Kitty => "kitty",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Format::ALL.into_iter().find(|format| format.name() == text);
        found.ok_or_else(|| format!("{text:?} is no format of pictures: write blocks, sixel or kitty"))
    }
}

/// A viewer of the guest's picture. Dropping it ends that.
pub trait View: Send {
    /// Brings `copy` up to date, and returns which parts of it are new.
    fn update(&mut self, copy: &mut Surface) -> Damage;
}
