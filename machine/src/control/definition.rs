//! What a command is to people: its name, its arguments, its help, and how it is read.
//!
//! A [`Definition`] has all of that in one place. Tables of them are searched by [`find`], completed from and listed in help
//! texts by whoever takes commands as text. The machine's own table is [`DEFINITIONS`](super::DEFINITIONS); a monitor has another one
//! for what it does by itself.

use std::fmt::Write;

/// Characters of a word that messages show.
const SHOWN: usize = 40;
/// Characters of a message about arguments, which may quote them.
const LONGEST_REASON: usize = 300;

/// The longest text that is read as a command, in bytes.
pub const LONGEST_COMMAND: usize = 4096;

/// What a word of a command may be, for completion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Words {
    /// Anything: nothing is known that could be offered.
    Any,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// The id of a drive whose medium may change.
    Drive,
    /// A network card, or a network.
    Network,
    /// A file of the host.
    File,
    /// Keys with `-` between them.
    Keys,
    /// The name of a command.
    Command,
}

/// What people see of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Summary {
    /// What people write; some names have two words.
    pub name: &'static str,
    /// Shorter names, if any.
    pub short: &'static [&'static str],
    /// What follows the name, for help texts.
    pub arguments: &'static str,
    /// What it does, in a line.
    pub help: &'static str,
    /// What each argument may be.
    pub words: &'static [Words],
    /// A format may be attached to the name, as in `x/4xw`. It becomes the first argument, with its slash.
    pub takes_format: bool,
}

/// How the arguments of a command are read: words without blanks, or with those that were quoted.
pub type Parse<C> = fn(&[&str]) -> Result<C, String>;

/// What is to be known of a command.
pub struct Definition<C: 'static> {
    /// What people see of it.
    pub summary: Summary,
    parse: Parse<C>,
}

impl<C> Definition<C> {
    /// A command without arguments.
    pub const fn plain(name: &'static str, help: &'static str, parse: Parse<C>) -> Self {
        Self::new(name, "", help, &[], parse)
    }
    /// A command with `arguments`, each of which may be one of `words`.
    pub const fn new(
        name: &'static str,
        arguments: &'static str,
        help: &'static str,
        words: &'static [Words],
        parse: Parse<C>,
    ) -> Self {
        let summary = Summary { name, short: &[], arguments, help, words, takes_format: false };
        Self { summary, parse }
    }
    /// The same with shorter names.
    pub const fn or(self, short: &'static [&'static str]) -> Self {
        Self { summary: Summary { short, ..self.summary }, parse: self.parse }
    }
    /// The same with a format that may be attached to the name.
    pub const fn with_format(self) -> Self {
        Self { summary: Summary { takes_format: true, ..self.summary }, parse: self.parse }
    }
    /// Reads the arguments.
    ///
    /// # Errors
    /// Says what would be right.
    pub fn parse(&self, arguments: &[&str]) -> Result<C, ParseError> {
        let name = self.summary.name;
        if self.summary.arguments.is_empty()
            && let Some(extra) = arguments.first()
        {
            let reason = format!("{:?} is too much: it takes no arguments", shown(extra, SHOWN));
            return Err(ParseError::Arguments { name, reason });
        }
        (self.parse)(arguments)
            .map_err(|reason| ParseError::Arguments { name, reason: shown(&reason, LONGEST_REASON) })
    }
}

impl Summary {
    /// The name with what follows it, as help texts have it.
    pub fn usage(&self) -> String {
        let format = if self.takes_format { "/FMT" } else { "" };
        let blank = if self.arguments.is_empty() { "" } else { " " };
        format!("{}{format}{blank}{}", self.name, self.arguments)
    }
    /// How many words of `words` are this command's name; nothing where they name another one.
    pub fn matches(&self, words: &[&str]) -> Option<usize> {
        let is_named = |name: &str| {
            let name: Vec<&str> = name.split(' ').collect();
            words.starts_with(&name).then_some(name.len())
        };
        let named = std::iter::once(&self.name).chain(self.short).find_map(|name| is_named(name));
        let with_format = || {
            let (name, _) = words.first()?.split_once('/')?;
            let is_it = name == self.name || self.short.contains(&name);
            (self.takes_format && is_it).then_some(1)
        };
        named.or_else(with_format)
    }
}

/// Finds the command that `words` begin with, and reads its arguments. Nothing where none of the table is named.
pub fn find<C>(table: &[Definition<C>], words: &[&str]) -> Option<Result<C, ParseError>> {
    // Of two that match, "info" and "info pic", the longer name is meant.
    let matching = table.iter().filter_map(|row| Some((row.summary.matches(words)?, row)));
    let (length, row) = matching.max_by_key(|(length, _)| *length)?;
    let format = words[0].find('/').filter(|_| row.summary.takes_format).map(|at| &words[0][at..]);
    let arguments: Vec<&str> = format.into_iter().chain(words[length..].iter().copied()).collect();
    Some(row.parse(&arguments))
}

/// Text that is no command.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParseError {
    /// No such command.
    #[error("unknown command: {what:?}{advice}")]
    Unknown {
        /// What was written.
        what: String,
        /// What was perhaps meant, and where to look.
        advice: String,
    },
    /// What follows the name is wrong.
    #[error("{name}: {reason}")]
    Arguments {
        /// The command.
        name: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A quotation mark that nothing closes, or more than [`LONGEST_COMMAND`].
    #[error("{0}")]
    Words(&'static str),
}

impl ParseError {
    /// None of the commands with these `names` was named by `words`.
    pub fn unknown<'a>(words: &[&str], names: impl Iterator<Item = &'a str>) -> ParseError {
        let text = |words: &[&str]| shown(&words.join(" "), SHOWN);
        let near = nearest(words, names);
        let mut advice = String::new();
        match near.as_slice() {
            [] => {}
            [one] => _ = write!(advice, "; did you mean {one}?"),
            [first, rest @ ..] => _ = write!(advice, "; did you mean {first} or {}?", rest.join(" or ")),
        }
        // `info` lists its topics itself.
        let list = if words.first() == Some(&"info") { "info" } else { "help" };
        _ = write!(advice, " ({list} lists what there is)");
        let count = if words.first() == Some(&"info") { 2 } else { 1 };
        ParseError::Unknown { what: text(&words[..count.min(words.len())]), advice }
    }
}

/// A text for a message: not all of what a hostile peer sends.
fn shown(text: &str, most: usize) -> String {
    let mut cut: String = text.chars().take(most).collect();
    if text.chars().nth(most).is_some() {
        cut.push_str("...");
    }
    cut
}

/// The names that are a slip of the fingers away from what was written, the nearest ones; three at most.
fn nearest<'a>(words: &[&str], names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    const MOST: usize = 3;
    /// Longer words are no slip.
    const LONGEST: usize = 40;
    let near = |name: &'a str| {
        let count = name.split(' ').count().min(words.len());
        let text = words[..count].join(" ");
        // A topic of this name would have been found.
        let is_itself = text == name;
        let (length, text) = (text.chars().count(), text.to_ascii_lowercase());
        if is_itself || !(2..=LONGEST).contains(&length) {
            return None;
        }
        let distance = if name.starts_with(&text) { 1 } else { slips(&text, name) };
        (distance <= (length / 3).clamp(1, 2)).then_some((distance, name))
    };
    let mut found: Vec<_> = names.filter_map(near).collect();
    found.sort_unstable();
    let best = found.first().map_or(0, |(distance, _)| *distance);
    found.into_iter().filter(|(distance, _)| *distance == best).map(|(_, name)| name).take(MOST).collect()
}

/// How many letters must be put in, left out, changed, or swapped with the next one, to make one word of the other.
fn slips(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let changed = row[j] + usize::from(a != b);
            let mut least = changed.min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                least = least.min(before[j - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[to.len()]
}

/// A word as [`split_words`] reads it, in quotation marks.
pub fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The words of a command: between blanks, or in double quotes, where a backslash takes the next character as it is.
///
/// # Errors
/// A quotation mark that nothing closes, or a text that is too long.
pub fn split_words(text: &str) -> Result<Vec<String>, ParseError> {
    if text.len() > LONGEST_COMMAND {
        return Err(ParseError::Words("the command is too long"));
    }
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if quoted => {
                let Some(next) = characters.next() else { break };
                word.get_or_insert_default().push(next);
            }
            blank if blank.is_whitespace() && !quoted => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    if quoted {
        return Err(ParseError::Words("a quotation mark is not closed"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    static TABLE: &[Definition<u32>] = &[
        Definition::plain("stop", "stops", |_| Ok(1)),
        Definition::plain("info", "topics", |_| Ok(2)),
        Definition::plain("info pic", "a topic", |_| Ok(3)),
        Definition::new("x", "WHERE", "looks", &[], |words| match words {
            [format, "1"] if *format == "/4xw" => Ok(4),
            ["1"] => Ok(5),
            _ => Err("what?".to_owned()),
        })
        .with_format(),
        Definition::plain("quit", "ends", |_| Ok(6)).or(&["q"]),
    ];

    fn found(text: &str) -> Option<Result<u32, String>> {
        let words = split_words(text).unwrap();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        find(TABLE, &words).map(|found| found.map_err(|error| error.to_string()))
    }

    #[test]
    fn commands_are_found_by_their_longest_name() {
        for (text, command) in
            [("stop", 1), ("info", 2), ("info pic", 3), ("x/4xw 1", 4), ("x /4xw 1", 4), ("x 1", 5), ("q", 6)]
        {
            assert_eq!(found(text), Some(Ok(command)), "{text}");
        }
        assert_eq!(found("stop/4 1"), None);
        assert!(found("stop now").unwrap().unwrap_err().contains("\"now\" is too much"));
        assert_eq!(found("x").unwrap(), Err("x: what?".to_owned()));
        assert!(found("").is_none() && found("stopp").is_none());
    }

    #[test]
    fn words_may_be_quoted() {
        for (text, words) in [
            ("", &[][..]),
            ("  a\tb ", &["a", "b"]),
            ("change cd \"my file.iso\"", &["change", "cd", "my file.iso"]),
            (r#"a "b\"c\\" d"e f"g"#, &["a", "b\"c\\", "de fg"]),
            (r"C:\x", &[r"C:\x"]),
            ("\"\"", &[""]),
        ] {
            assert_eq!(split_words(text).unwrap(), words, "{text}");
        }
        for word in ["", "a b", "\"", "\\\"\\", "\u{9b}\n"] {
            assert_eq!(split_words(&quoted(word)).unwrap(), [word]);
        }
        for text in ["\"a", "a \"b\\", &"x".repeat(LONGEST_COMMAND + 1)] {
            assert!(split_words(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_slip_is_told_what_was_meant() {
        let names = ["stop", "cont", "screendump", "sendkey", "info", "info pic", "info pci", "system_reset"];
        for (text, says) in [
            ("stpo", "did you mean stop?"),
            ("STOP", "did you mean stop?"),
            ("screndump f", "did you mean screendump?"),
            ("info pc", "did you mean info pci or info pic?"),
            ("info pcc", "did you mean info pci or info pic?"),
            ("system", "did you mean system_reset?"),
            ("infi", "did you mean info?"),
        ] {
            let words: Vec<&str> = text.split(' ').collect();
            let error = ParseError::unknown(&words, names.into_iter()).to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        let error = ParseError::unknown(&["fly"], names.into_iter()).to_string();
        assert_eq!(error, "unknown command: \"fly\" (help lists what there is)");
        let long = "a".repeat(5000);
        assert!(ParseError::unknown(&[&long], names.into_iter()).to_string().len() < 200);
        assert_eq!((slips("ab", "ba"), slips("", "abc"), slips("kitten", "sitting")), (1, 3, 3));
    }
}
