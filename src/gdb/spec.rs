//! `--gdb`: what people write, as `--serial` has it, with gdb's view behind.

use std::fmt;
use std::str::FromStr;
use trimotor_console::serial::SerialSpec;
use trimotor_gdb::View;

/// Where gdb is waited for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GdbSpec {
    /// A Unix socket or a TCP port to listen at.
    pub listen: SerialSpec,
    /// What gdb sees, where it does not follow from what the machine runs.
    pub view: Option<View>,
}

const FORMS: &str =
    "unix:PATH, tcp:127.0.0.1:PORT or PORT, with \",bits=16\", 32 or 64 behind it if you like";

impl FromStr for GdbSpec {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (mut view, mut place) = (None, Vec::new());
        for part in text.split(',') {
            match part.strip_prefix("bits=") {
                Some(bits) => {
                    let known = bits.parse().ok().and_then(View::of_bits);
                    view = Some(known.ok_or_else(|| format!("bits={bits}: 16, 32 or 64"))?);
                }
                // gdb connects: nothing else can be meant.
                None if part == "server" || part == "nowait" => {}
                None => place.push(part),
            }
        }
        let place = place.join(",");
        let place = match place.parse::<u16>() {
            Ok(port) => format!("tcp:127.0.0.1:{port}"),
            Err(_) => place,
        };
        let listen =
            format!("{place},server").parse::<SerialSpec>().map_err(|_| format!("{text}: {FORMS}"))?;
        match listen {
            SerialSpec::Unix { .. } | SerialSpec::Tcp { .. } => Ok(Self { listen, view }),
            _ => Err(format!("{text}: gdb connects to a socket: {FORMS}")),
        }
    }
}

impl fmt::Display for GdbSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listen = self.listen.to_string();
        f.write_str(listen.strip_suffix(",server").unwrap_or(&listen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_are_read() {
        for (text, shown, view) in [
            ("unix:/tmp/g", "unix:/tmp/g", None),
            ("unix:/tmp/g,server", "unix:/tmp/g", None),
            ("tcp:127.0.0.1:1234,bits=32", "tcp:127.0.0.1:1234", Some(View::Bits32)),
            ("tcp::1234", "tcp:127.0.0.1:1234", None),
            ("1234,bits=16", "tcp:127.0.0.1:1234", Some(View::Bits16)),
        ] {
            let spec: GdbSpec = text.parse().unwrap();
            assert_eq!((spec.to_string().as_str(), spec.view), (shown, view), "{text}");
        }
        for (text, says) in [
            ("stdio", "unix:PATH"),
            ("pty", "unix:PATH"),
            ("tcp:127.0.0.1", "unix:PATH"),
            ("70000", "unix:PATH"),
            ("unix:", "unix:PATH"),
            ("1234,bits=8", "16, 32 or 64"),
        ] {
            let error = text.parse::<GdbSpec>().unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
