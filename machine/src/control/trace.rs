//! What is traced, as command lines and monitors say it: `exc,io,file=t.log,cpl=0`.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use trimotor_cpu::trace::{Filter, Kinds};

/// What a file gets at most where nothing else is said: a mistyped trace must not fill the disk.
pub const DEFAULT_LIMIT: u64 = 1 << 30;

/// What is accepted, for messages.
const FORMS: &str = "exc, int, io, mmio, msr, cr or insn, and file=PATH, terminal, last, cpl=0..3, cpu=N, addr=LOW-HIGH, limit=SIZE";

/// Where lines go.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum TraceTarget {
    /// Standard error.
    #[default]
    Terminal,
    /// A file, which is made anew.
    File(PathBuf),
    /// Nowhere: the last records are kept for the report of a triple fault.
    Last,
}

/// What is to be traced.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TraceSpec {
    /// What.
    pub kinds: Kinds,
    /// Where lines go, if that is said.
    pub target: Option<TraceTarget>,
    /// Of instructions at these linear addresses, if that is said.
    pub addresses: Option<RangeInclusive<u64>>,
    /// At this CPL, if that is said.
    pub cpl: Option<u8>,
    /// Of this vCPU, if that is said.
    pub cpu: Option<usize>,
    /// The most bytes that a file gets, if that is said.
    pub limit: Option<u64>,
}

impl TraceSpec {
    /// Which records are wanted.
    pub fn filter(&self) -> Filter {
        let all = Filter::default();
        Filter { addresses: self.addresses.clone().unwrap_or(all.addresses), cpl: self.cpl }
    }
    /// The most bytes that the target gets.
    pub fn most_bytes(&self) -> u64 {
        match (self.limit, &self.target) {
            (Some(limit), _) => limit,
            (None, Some(TraceTarget::File(_))) => DEFAULT_LIMIT,
            (None, _) => u64::MAX,
        }
    }
    /// Adds what another one says, which counts where both say something.
    pub fn add(&mut self, other: &TraceSpec) {
        let TraceSpec { kinds, target, addresses, cpl, cpu, limit } = other.clone();
        self.kinds |= kinds;
        self.target = target.or(self.target.take());
        self.addresses = addresses.or(self.addresses.take());
        self.cpl = cpl.or(self.cpl);
        self.cpu = cpu.or(self.cpu);
        self.limit = limit.or(self.limit);
    }
    fn option(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "file" if !value.is_empty() => self.target = Some(TraceTarget::File(value.into())),
            "file" => return Err("file=: name the file".to_owned()),
            "cpl" => {
                let cpl = value.parse().ok().filter(|cpl| *cpl < 4);
                self.cpl = Some(cpl.ok_or_else(|| format!("cpl={value}: write 0 to 3"))?);
            }
            "cpu" => {
                let cpu = value.parse().map_err(|_| format!("cpu={value}: write a vCPU's number"))?;
                self.cpu = Some(cpu);
            }
            "addr" => self.addresses = Some(addresses(value)?),
            "limit" => {
                let limit = size(value).filter(|limit| *limit > 0);
                self.limit = Some(limit.ok_or_else(|| {
                    format!("limit={value}: write how much is written at most, as in limit=100M, or none")
                })?);
            }
            _ => return Err(format!("{name:?} is no option of a trace: use {FORMS}")),
        }
        Ok(())
    }
}

/// `LOW-HIGH`, both included.
fn addresses(text: &str) -> Result<RangeInclusive<u64>, String> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    let range = text.split_once('-').and_then(|(low, high)| Some(number(low)?..=number(high)?));
    range.filter(|range| !range.is_empty()).ok_or_else(|| {
        format!("addr={text}: write the first and the last linear address, as in addr=0x100000-0x1fffff")
    })
}

fn size(text: &str) -> Option<u64> {
    if text == "none" {
        return Some(u64::MAX);
    }
    let (digits, shift) = match text.strip_suffix(['K', 'M', 'G', 'k', 'm', 'g']) {
        Some(digits) => (digits, [("Kk", 10), ("Mm", 20), ("Gg", 30)]),
        None => return text.parse().ok(),
    };
    let unit = text.chars().last()?;
    let shift = shift.iter().find(|(units, _)| units.contains(unit))?.1;
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

impl FromStr for TraceSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut spec = TraceSpec::default();
        // Two commas are one in a name.
        let text = text.replace(",,", "\0");
        for part in text.split(',') {
            let part = part.replace('\0', ",");
            match part.split_once('=') {
                Some((name, value)) => spec.option(name, value)?,
                None if part == "terminal" => spec.target = Some(TraceTarget::Terminal),
                None if part == "last" => spec.target = Some(TraceTarget::Last),
                None => {
                    let kind = Kinds::named(&part);
                    spec.kinds |= kind.ok_or_else(|| format!("{part:?} cannot be traced: use {FORMS}"))?;
                }
            }
        }
        if spec.kinds.is_empty() {
            return Err("nothing is named that is to be traced: exc, int, io, mmio, msr, cr, insn".to_owned());
        }
        Ok(spec)
    }
}

impl fmt::Display for TraceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kinds.words())?;
        match &self.target {
            Some(TraceTarget::File(path)) => {
                write!(f, ",file={}", path.to_string_lossy().replace(',', ",,"))?;
            }
            Some(TraceTarget::Terminal) => f.write_str(",terminal")?,
            Some(TraceTarget::Last) => f.write_str(",last")?,
            None => {}
        }
        if let Some(addresses) = &self.addresses {
            write!(f, ",addr={:#x}-{:#x}", addresses.start(), addresses.end())?;
        }
        if let Some(cpl) = self.cpl {
            write!(f, ",cpl={cpl}")?;
        }
        if let Some(cpu) = self.cpu {
            write!(f, ",cpu={cpu}")?;
        }
        match self.limit {
            Some(u64::MAX) => f.write_str(",limit=none"),
            Some(limit) => write!(f, ",limit={limit}"),
            None => Ok(()),
        }
    }
}

/// What a trace command asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TraceRequest {
    /// These too.
    On(TraceSpec),
    /// These no longer.
    Off(Kinds),
    /// What is traced?
    Tell,
}

impl TraceRequest {
    /// Reads the arguments of the command.
    ///
    /// # Errors
    /// Says what would be right.
    pub(super) fn parse(arguments: &[&str]) -> Result<TraceRequest, String> {
        match arguments {
            [] => Ok(TraceRequest::Tell),
            ["off"] => Ok(TraceRequest::Off(Kinds::all())),
            [spec] | [spec, "on"] => spec.parse().map(TraceRequest::On),
            [spec, "off"] => {
                let spec: TraceSpec = spec.parse()?;
                if spec != (TraceSpec { kinds: spec.kinds, ..TraceSpec::default() }) {
                    return Err("off: name what is traced no longer, without options".to_owned());
                }
                Ok(TraceRequest::Off(spec.kinds))
            }
            [_, other] => Err(format!("{other:?}: a trace is on or off")),
            [_, _, extra, ..] => Err(format!("{extra:?} is too much")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_traced_is_read_and_written() {
        for text in [
            "exc",
            "exc,int,io,mmio,msr,cr,insn",
            "insn,last",
            "io,file=a,,b.log,limit=none",
            "insn,terminal,addr=0x1000-0xffffffffffffffff,cpl=3,cpu=1,limit=1024",
        ] {
            assert_eq!(text.parse::<TraceSpec>().unwrap().to_string(), text);
        }
        let spec: TraceSpec = "io,file=x,limit=2M,addr=16-31".parse().unwrap();
        assert_eq!((spec.most_bytes(), spec.addresses), (2 << 20, Some(16..=31)));
        assert_eq!("io,file=x".parse::<TraceSpec>().unwrap().most_bytes(), DEFAULT_LIMIT);
        let mut sum: TraceSpec = "io,file=x,cpl=0".parse().unwrap();
        sum.add(&"exc,cpl=3".parse().unwrap());
        assert_eq!(sum.to_string(), "exc,io,file=x,cpl=3");
    }

    #[test]
    fn errors_say_what_would_be_right() {
        for (text, part) in [
            ("", "cannot be traced"),
            ("all", "exc, int, io"),
            ("cpl=0", "nothing is named"),
            ("exc,cpl=4", "0 to 3"),
            ("exc,cpu=x", "a vCPU's number"),
            ("exc,file=", "name the file"),
            ("exc,addr=5", "addr=0x100000-0x1fffff"),
            ("exc,addr=9-5", "addr=0x100000-0x1fffff"),
            ("exc,limit=0", "limit=100M"),
            ("exc,limit=99999999999G", "limit=100M"),
            ("exc,to=x", "is no option of a trace"),
        ] {
            let message = text.parse::<TraceSpec>().unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
        assert!(TraceRequest::parse(&["exc,cpl=0", "off"]).unwrap_err().contains("without options"));
        assert!(TraceRequest::parse(&["exc", "maybe"]).unwrap_err().contains("on or off"));
    }
}
