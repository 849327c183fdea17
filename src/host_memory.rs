//! Memory sizes on the command line, and what the host can give.

use crate::error::Failure;
use std::fmt;
use std::str::FromStr;
use trimotor_machine::engines::LEAST_CODE_CACHE;

/// The least memory a machine can have: what the PC's first megabyte needs.
pub const LEAST_BYTES: u64 = 1 << 20;
/// The most memory a machine can have.
pub const MOST_BYTES: u64 = 64 << 30;

/// A size of memory in bytes, written with K, M or G.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
pub struct MemorySize(pub u64);

/// A size of the memory for translated code in bytes, written with K, M or G.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
pub struct CodeCacheSize(pub usize);

/// The most memory for translated code: all of it is in reach of a jump.
const MOST_CODE_BYTES: u64 = 1 << 30;

/// The bytes that a number with a unit means, where they are not too many for 64 bits.
///
/// # Errors
/// What is no number or no unit; `help` says how to write it.
fn parse_bytes(text: &str, help: &str) -> Result<Option<u64>, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit: u64 = match text[digits.len()..].to_ascii_uppercase().as_str() {
        // A bare number is mebibytes, as `-m` takes it in other emulators.
        "" | "M" | "MB" | "MIB" => 1 << 20,
        "K" | "KB" | "KIB" => 1 << 10,
        "G" | "GB" | "GIB" => 1 << 30,
        other => return Err(format!("\"{other}\" is no unit: {help}")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("\"{digits}\" is no number: {help}"))?;
    Ok(number.checked_mul(unit))
}

impl FromStr for CodeCacheSize {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let help = "write a number with K, M or G, like 1M or 64M, from 256K to 1G";
        let bytes = parse_bytes(text, help)?.filter(|bytes| *bytes <= MOST_CODE_BYTES);
        match bytes.map(|bytes| bytes as usize) {
            Some(bytes) if bytes >= LEAST_CODE_CACHE => Ok(CodeCacheSize(bytes)),
            Some(_) => Err(format!("less than the 256K that the translator needs: {help}")),
            None => Err(format!("more than the 1G that jumps can span: {help}")),
        }
    }
}

impl FromStr for MemorySize {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let help = "write a number with K, M or G, like 512M or 2G, from 1M to 64G";
        let bytes = parse_bytes(text, help)?.filter(|bytes| *bytes <= MOST_BYTES);
        let bytes = bytes.ok_or_else(|| format!("more than the 64G that the board can hold: {help}"))?;
        if bytes < LEAST_BYTES {
            return Err(format!("less than the 1M that a PC needs: {help}"));
        }
        if bytes % 4096 != 0 {
            return Err("not a multiple of 4K, the size of a page".to_owned());
        }
        Ok(MemorySize(bytes))
    }
}

impl fmt::Display for MemorySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes % (1 << 30) == 0 => write!(f, "{}G", bytes >> 30),
            bytes if bytes % (1 << 20) == 0 => write!(f, "{}M", bytes >> 20),
            bytes => write!(f, "{}K", bytes >> 10),
        }
    }
}

/// Refuses a size that the host cannot hold. Where the host does not tell, all pass.
///
/// # Errors
/// [`Failure::BadInput`] that says how much would work.
pub fn check_against_host(size: MemorySize) -> Result<(), Failure> {
    match std::fs::read_to_string("/proc/meminfo") {
        Ok(meminfo) => check_against(size, &meminfo),
        Err(_) => Ok(()),
    }
}

fn check_against(size: MemorySize, meminfo: &str) -> Result<(), Failure> {
    let field = |name: &str| {
        let line = meminfo.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
    };
    let Some(total) = field("MemTotal:") else { return Ok(()) };
    let available = field("MemAvailable:").unwrap_or(total);
    let whole = total.saturating_add(field("SwapTotal:").unwrap_or(0));
    if size.0 <= whole {
        return Ok(());
    }
    Err(Failure::bad(format!(
        "--memory {size}: this host has {} of memory, {} of it free now; a value up to {} would work",
        gigabytes(total),
        gigabytes(available),
        MemorySize((available >> 20).max(1) << 20),
    )))
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_suffixes_and_limits() {
        for (text, bytes) in [("512M", 512 << 20), ("512", 512 << 20), ("1G", 1 << 30), ("2048k", 2 << 20)] {
            assert_eq!(text.parse(), Ok(MemorySize(bytes)), "{text}");
        }
        assert_eq!("64G".parse::<MemorySize>().unwrap().to_string(), "64G");
        for text in ["0", "", "M", "512X", "65G", "1023K", "1025K1", "-1M", "99999999999999999999G", "1026K"]
        {
            assert!(text.parse::<MemorySize>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_of_translated_code_have_limits() {
        assert_eq!("256K".parse(), Ok(CodeCacheSize(256 << 10)));
        assert_eq!("1G".parse(), Ok(CodeCacheSize(1 << 30)));
        for text in ["255K", "1025M", "99999999999999999999G", "1X", ""] {
            assert!(text.parse::<CodeCacheSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn more_than_the_host_has_is_refused_with_what_would_work() {
        let meminfo = "MemTotal: 8388608 kB\nMemFree: 1 kB\nMemAvailable: 4194304 kB\nSwapTotal: 0 kB\n";
        assert!(check_against(MemorySize(8 << 30), meminfo).is_ok());
        let message = check_against(MemorySize(9 << 30), meminfo).unwrap_err().to_string();
        assert!(message.contains("--memory 9G") && message.contains("4G would work"), "{message}");
        assert!(check_against(MemorySize(9 << 30), "").is_ok());
    }
}
