//! Limits of a drive, as options of `--drive` name them: `bps=10M,iops_rd=500`, or by QEMU's longer names, `throttling.bps-total=10485760`.

use trimotor_machine::{DriveLimits, Rate, Rates};

/// What is counted, as options begin.
const COUNTED: [&str; 2] = ["bps", "iops"];
/// The ends of the short names and the middles of the long ones: both directions together, reads, writes.
const DIRECTIONS: [(&str, &str); 3] = [("", "total"), ("_rd", "read"), ("_wr", "write")];

/// The options so far: rates and bursts, by what is counted and by direction.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct LimitSpec {
    rates: [[Option<u64>; 3]; 2],
    bursts: [[Option<u64>; 3]; 2],
}

impl LimitSpec {
    /// Takes an option, if it is one of limits.
    ///
    /// # Errors
    /// The value is not one, or the option is one that only QEMU has.
    pub fn set(&mut self, name: &str, value: &str) -> Option<Result<(), String>> {
        if let Some(reason) = refused(name) {
            return Some(Err(format!("{name}={value}: {reason}")));
        }
        let (counted, direction, is_burst) = place(name)?;
        let values = if is_burst { &mut self.bursts } else { &mut self.rates };
        let place = &mut values[counted][direction];
        if place.is_some() {
            return Some(Err(format!("{name}={value}: the same limit is given under another name")));
        }
        match amount(value) {
            Some(amount) => *place = Some(amount),
            None => {
                return Some(Err(format!(
                    "{name}={value}: expected a number, like 500 or 10M (K, M and G are powers of 1024); 0 is no limit"
                )));
            }
        }
        Some(Ok(()))
    }
    /// The limits.
    ///
    /// # Errors
    /// Options that contradict each other, or say nothing.
    pub fn limits(&self) -> Result<DriveLimits, String> {
        Ok(DriveLimits { bytes: self.of(0)?, requests: self.of(1)? })
    }
    fn of(&self, counted: usize) -> Result<Rates, String> {
        let name = |direction: usize| format!("{}{}", COUNTED[counted], DIRECTIONS[direction].0);
        let mut rates = [None; 3];
        for (direction, rate) in rates.iter_mut().enumerate() {
            // As in QEMU, 0 is no limit.
            let given =
                |values: &[[Option<u64>; 3]; 2]| values[counted][direction].filter(|value| *value > 0);
            *rate = given(&self.rates).map(|per_s| Rate { per_s, burst: given(&self.bursts) });
            if rate.is_none() && given(&self.bursts).is_some() {
                let name = name(direction);
                return Err(format!(
                    "{name}_max= is how much goes at once where {name}= limits it: give both"
                ));
            }
        }
        let [total, read, write] = rates;
        if total.is_some() && (read.is_some() || write.is_some()) {
            let [both, one, other] = [0, 1, 2].map(name);
            return Err(format!(
                "{both}= limits reads and writes together, {one}= and {other}= each: give one kind of them"
            ));
        }
        Ok(Rates { total, read, write })
    }
}

/// Which limit an option is: what is counted, the direction, and whether it is a burst.
fn place(name: &str) -> Option<(usize, usize, bool)> {
    let (long, rest) = match name.strip_prefix("throttling.") {
        Some(rest) => (true, rest),
        None => (false, name),
    };
    let counted = COUNTED.iter().position(|start| rest.starts_with(start))?;
    let rest = &rest[COUNTED[counted].len()..];
    let (rest, is_burst) = match rest.strip_suffix(if long { "-max" } else { "_max" }) {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let rest = if long { rest.strip_prefix('-')? } else { rest };
    let is_it = |(short, middle): &(&str, &str)| rest == if long { *middle } else { *short };
    Some((counted, DIRECTIONS.iter().position(is_it)?, is_burst))
}

/// Why an option of QEMU's is not there.
fn refused(name: &str) -> Option<&'static str> {
    let short = name.strip_prefix("throttling.").unwrap_or(name);
    let is_limit = COUNTED.iter().any(|start| short.starts_with(start));
    if is_limit && (short.ends_with("-max-length") || short.ends_with("_max_length")) {
        return Some("bursts have no length: _max= is how much goes at once, as with a length of one second");
    }
    match short {
        "iops-size" | "iops_size" => {
            Some("a long request counts as its parts, of 256 KiB at IDE and 1 MiB at virtio; leave it out")
        }
        "group" => Some("each drive has limits of its own"),
        _ => None,
    }
}

fn amount(value: &str) -> Option<u64> {
    let (digits, shift) = match value.as_bytes().last()? {
        b'K' | b'k' => (&value[..value.len() - 1], 10),
        b'M' | b'm' => (&value[..value.len() - 1], 20),
        b'G' | b'g' => (&value[..value.len() - 1], 30),
        _ => (value, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(options: &[(&str, &str)]) -> Result<DriveLimits, String> {
        let mut spec = LimitSpec::default();
        for (name, value) in options {
            spec.set(name, value).unwrap_or_else(|| Err(format!("{name} is no limit")))?;
        }
        spec.limits()
    }

    #[test]
    fn limits_are_read_by_both_kinds_of_names() {
        let expected = DriveLimits {
            bytes: Rates {
                read: Some(Rate { per_s: 10 << 20, burst: Some(5 << 30) }),
                write: Some(Rate { per_s: 1000, burst: None }),
                total: None,
            },
            requests: Rates { total: Some(Rate { per_s: 200, burst: Some(400) }), ..Rates::default() },
        };
        let short = [
            ("bps_rd", "10M"),
            ("bps_rd_max", "5G"),
            ("bps_wr", "1000"),
            ("iops", "200"),
            ("iops_max", "400"),
            ("iops_rd", "0"),
        ];
        assert_eq!(limits(&short), Ok(expected));
        let long = [
            ("throttling.bps-read-max", "5368709120"),
            ("throttling.bps-read", "10485760"),
            ("throttling.bps-write", "1000"),
            ("throttling.iops-total", "200"),
            ("throttling.iops-total-max", "400"),
        ];
        assert_eq!(limits(&long), Ok(expected));
        assert_eq!(limits(&[]), Ok(DriveLimits::default()));
    }

    #[test]
    fn what_is_wrong_with_limits_is_said() {
        for (options, says) in [
            (&[("bps", "fast")][..], "expected a number"),
            (&[("bps", "")], "expected a number"),
            (&[("bps", "18446744073709551615G")], "expected a number"),
            (&[("bps", "-1")], "expected a number"),
            (&[("bps_max", "5")], "give both"),
            (&[("bps", "5"), ("bps_wr", "5")], "each: give one kind"),
            (&[("iops", "5"), ("throttling.iops-total", "6")], "under another name"),
            (&[("bps_max_length", "2")], "no length"),
            (&[("throttling.iops-read-max-length", "2")], "no length"),
            (&[("iops_size", "4096")], "parts"),
            (&[("throttling.group", "g")], "limits of its own"),
            (&[("throttling.bps", "5")], "is no limit"),
            (&[("bps-total", "5")], "is no limit"),
            (&[("bpsx", "5")], "is no limit"),
        ] {
            let error = limits(options).unwrap_err();
            assert!(error.contains(says), "{options:?}: {error}");
        }
    }
}
