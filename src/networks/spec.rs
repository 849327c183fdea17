//! The text behind `--nic`, `--netdev` and `--net`: a type, and options with commas between them, as QEMU takes them.

use std::fmt;
use std::str::FromStr;

/// A network as an option names it. What the type and the options mean is looked at later.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetSpec {
    /// The type: `user`.
    pub kind: String,
    /// The options in their order; some may be there more than once.
    pub options: Vec<(String, String)>,
}

impl NetSpec {
    /// Takes out the option of this name.
    ///
    /// # Errors
    /// It is given twice.
    pub fn take(&mut self, name: &str) -> Result<Option<String>, String> {
        let Some(at) = self.options.iter().position(|(option, _)| option == name) else { return Ok(None) };
        let (_, value) = self.options.remove(at);
        match self.options.iter().any(|(option, _)| option == name) {
            true => Err(format!("option {name} is given twice")),
            false => Ok(Some(value)),
        }
    }
}

impl FromStr for NetSpec {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = parts(text).into_iter();
        let first = parts.next().unwrap_or_default();
        let kind = match first.split_once('=') {
            None => first,
            Some(("type", kind)) => kind.to_owned(),
            Some(_) => return Err(format!("{first:?}: the type comes first, as in user,{first}")),
        };
        if kind.is_empty() {
            return Err("names no type; `trimotor networks` lists them".to_owned());
        }
        let option = |part: String| match part.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            // A switch.
            None => (part, "on".to_owned()),
        };
        Ok(Self { kind, options: parts.map(option).collect() })
    }
}

/// The text between commas; a comma that is doubled belongs to the text.
fn parts(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == ',' && letters.next_if_eq(&',').is_none() {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(letter);
        }
    }
    parts
}

impl fmt::Display for NetSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        let escaped = |text: &str| text.replace(',', ",,");
        self.options.iter().try_for_each(|(name, value)| write!(f, ",{name}={}", escaped(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_as_they_are_printed() {
        let text = "user,id=n0,hostfwd=tcp::2222-:22,hostfwd=udp::53-:53,tftp=/a,,b,restrict=on";
        let mut spec: NetSpec = text.parse().unwrap();
        assert_eq!((spec.kind.as_str(), spec.to_string().as_str()), ("user", text));
        assert_eq!(spec.options[3], ("tftp".to_owned(), "/a,b".to_owned()));
        assert_eq!(spec.take("id"), Ok(Some("n0".to_owned())));
        assert_eq!(spec.take("id"), Ok(None));
        assert!(spec.take("hostfwd").unwrap_err().contains("twice"));
        assert_eq!("type=user,restrict".parse::<NetSpec>().unwrap().to_string(), "user,restrict=on");
        for (text, says) in [("", "names no type"), ("id=n0,user", "comes first"), ("type=", "names no type")]
        {
            assert!(text.parse::<NetSpec>().unwrap_err().contains(says), "{text}");
        }
    }
}
