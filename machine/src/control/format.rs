//! `/FMT`: how memory and values are shown, as QEMU's and gdb's users write it.
//!
//! A count, a letter for the form and one for the size, in any order: `/10i`, `/4xw`, `/xg`.

use std::fmt;

/// Things that are shown at a time, at most: what people read, and what a machine can stand still for.
pub const MOST: u32 = 4096;

/// How values are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// `x`: hexadecimal.
    Hexadecimal,
    /// `d`: signed decimal.
    Signed,
    /// `u`: unsigned decimal.
    Unsigned,
    /// `o`: octal.
    Octal,
    /// `c`: a character.
    Character,
    /// `i`: instructions.
    Instructions,
}

/// A format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Format {
    /// How many things.
    pub count: u32,
    /// Their form.
    pub form: Form,
    /// Bytes of each: 1, 2, 4 or 8. Nothing where it was not said.
    pub size: Option<usize>,
}

impl Default for Format {
    fn default() -> Self {
        Self { count: 1, form: Form::Hexadecimal, size: None }
    }
}

const SHAPE: &str =
    "a format is / with a count, one of x d u o c i, and one of b h w g for 1, 2, 4, 8 bytes, as in /4xw";

impl Format {
    /// Reads a format, behind its slash.
    ///
    /// # Errors
    /// Says what would be right.
    pub fn parse(text: &str) -> Result<Format, String> {
        let mut format = Format::default();
        let digits = text.len() - text.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
        let (count, letters) = text.split_at(digits);
        if !count.is_empty() {
            format.count = count
                .parse()
                .ok()
                .filter(|count| (1..=MOST).contains(count))
                .ok_or_else(|| format!("{count} are too many or none: 1 to {MOST} at a time"))?;
        }
        for letter in letters.chars() {
            match letter {
                'x' => format.form = Form::Hexadecimal,
                'd' => format.form = Form::Signed,
                'u' => format.form = Form::Unsigned,
                'o' => format.form = Form::Octal,
                'c' => format.form = Form::Character,
                'i' => format.form = Form::Instructions,
                'b' => format.size = Some(1),
                'h' => format.size = Some(2),
                'w' => format.size = Some(4),
                'g' => format.size = Some(8),
                _ => return Err(format!("{letter:?}: {SHAPE}")),
            }
        }
        Ok(format)
    }
    /// Takes a format off the front of arguments, where one is there.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn take<'a, 'b>(arguments: &'a [&'b str]) -> Result<(Format, &'a [&'b str]), String> {
        match arguments.split_first() {
            Some((first, rest)) if first.starts_with('/') => Ok((Self::parse(&first[1..])?, rest)),
            _ => Ok((Self::default(), arguments)),
        }
    }
    /// A value of `size` bytes as text, as wide as the widest one of that size.
    pub fn value(&self, value: u64, size: usize) -> String {
        let bits = 8 * size.clamp(1, 8) as u32;
        let value = value & (u64::MAX >> (64 - bits));
        let signed = (value << (64 - bits)).cast_signed() >> (64 - bits);
        // Digits of the largest number.
        let decimal = [3, 5, 10, 20][size.clamp(1, 8).ilog2() as usize];
        match self.form {
            Form::Hexadecimal | Form::Instructions => format!("0x{value:0width$x}", width = 2 * size),
            Form::Signed => format!("{signed:width$}", width = decimal + 1),
            Form::Unsigned => format!("{value:decimal$}"),
            Form::Octal => format!("0{value:0width$o}", width = bits.div_ceil(3) as usize),
            Form::Character => character(value),
        }
    }
}

/// A character between quotation marks.
fn character(value: u64) -> String {
    match u8::try_from(value) {
        Ok(b'\'') => r"'\''".to_owned(),
        Ok(b'\\') => r"'\\'".to_owned(),
        Ok(b'\n') => r"'\n'".to_owned(),
        Ok(b'\r') => r"'\r'".to_owned(),
        Ok(b'\t') => r"'\t'".to_owned(),
        Ok(byte @ b' '..=b'~') => format!("'{}'", char::from(byte)),
        Ok(byte) => format!("'\\x{byte:02x}'"),
        Err(_) => format!("'\\x{value:x}'"),
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match self.form {
            Form::Hexadecimal => 'x',
            Form::Signed => 'd',
            Form::Unsigned => 'u',
            Form::Octal => 'o',
            Form::Character => 'c',
            Form::Instructions => 'i',
        };
        write!(f, "/{}{form}", self.count)?;
        match self.size {
            Some(1) => f.write_str("b"),
            Some(2) => f.write_str("h"),
            Some(4) => f.write_str("w"),
            Some(_) => f.write_str("g"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_read_and_written() {
        for text in ["/10i", "/4xw", "/1xg", "/3db", "/2ch", "/1u", "/1o"] {
            assert_eq!(Format::parse(&text[1..]).unwrap().to_string(), text);
        }
        assert_eq!(Format::parse("").unwrap(), Format::default());
        assert_eq!(Format::parse("wx").unwrap().to_string(), "/1xw");
        for (text, says) in [("4q", "'q'"), ("0x", "none"), ("5000i", "4096"), ("99999999999x", "4096")] {
            assert!(Format::parse(text).unwrap_err().contains(says), "{text}");
        }
        let (format, rest) = Format::take(&["/i", "$rip"]).unwrap();
        assert_eq!((format.form, rest), (Form::Instructions, &["$rip"][..]));
        assert_eq!(Format::take(&["1"]).unwrap().1, ["1"]);
    }

    #[test]
    fn values_are_shown_in_their_form() {
        for (format, value, size, text) in [
            ("x", 0x12, 4, "0x00000012"),
            ("x", u64::MAX, 2, "0xffff"),
            ("d", 0xff, 1, "  -1"),
            ("d", 5, 8, "                    5"),
            ("u", 0xff, 1, "255"),
            ("o", 8, 1, "0010"),
            ("c", 0x41, 1, "'A'"),
            ("c", 10, 1, r"'\n'"),
            ("c", 0x1_00, 4, r"'\x100'"),
            ("c", 0x80, 1, r"'\x80'"),
        ] {
            assert_eq!(Format::parse(format).unwrap().value(value, size), text, "{format} {value}");
        }
    }
}
