//! What Tab offers: names of commands, topics, drives, networks, keys, files.

use crate::commands::summaries;
use crate::host::Host;
use trimotor_devices::i8042::KeyCode;
use trimotor_machine::control::{Summary, Words};

/// What a line can be completed to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Completion {
    /// What can be put in without doubt.
    pub insert: String,
    /// What there is to choose from, where nothing can be put in.
    pub choices: Vec<String>,
}

/// Completes the last word of a line.
pub fn complete(line: &str, host: &dyn Host) -> Completion {
    let begins_word = line.is_empty() || line.ends_with(char::is_whitespace);
    let mut words: Vec<&str> = line.split_whitespace().collect();
    let last = if begins_word { "" } else { words.pop().unwrap_or_default() };
    let (start, candidates) = candidates(&words, last, host);
    choose(start, candidates)
}

/// What the last word may be: the part of it that counts, and the candidates for that.
fn candidates<'a>(words: &[&str], last: &'a str, host: &dyn Host) -> (&'a str, Vec<String>) {
    let all = summaries();
    let names = |position: usize| -> Vec<String> {
        let fits = |summary: &&Summary| summary.name.split(' ').take(position).eq(words.iter().copied());
        let names = all.iter().filter(fits).filter_map(|summary| summary.name.split(' ').nth(position));
        names.map(str::to_owned).collect()
    };
    if words.is_empty() || words == ["info"] {
        return (last, names(words.len()));
    }
    let named = all.iter().filter_map(|summary| Some((summary.matches(words)?, summary)));
    let Some((length, summary)) = named.max_by_key(|(length, _)| *length) else { return (last, Vec::new()) };
    // Flags stand before the arguments.
    let arguments = words[length..].iter().filter(|word| !word.starts_with('-')).count();
    match summary.words.get(arguments) {
        None | Some(Words::Any) => (last, Vec::new()),
        Some(Words::OneOf(words)) => (last, words.iter().map(|word| (*word).to_owned()).collect()),
        Some(Words::Drive) => (last, host.removable_drives()),
        Some(Words::Network) => (last, host.networks()),
        Some(Words::Command) => (last, all.iter().map(|summary| summary.name.to_owned()).collect()),
        Some(Words::File) => (last, host.files(last)),
        Some(Words::Keys) => {
            let start = last.rfind('-').map_or(0, |at| at + 1);
            (&last[start..], KeyCode::all().map(|key| key.name().to_owned()).collect())
        }
    }
}

fn choose(start: &str, candidates: Vec<String>) -> Completion {
    let mut fitting: Vec<String> =
        candidates.into_iter().filter(|candidate| candidate.starts_with(start)).collect();
    fitting.sort_unstable();
    fitting.dedup();
    let Some(first) = fitting.first() else { return Completion::default() };
    let common = fitting.iter().fold(first.as_str(), |common, other| {
        let same = common.char_indices().zip(other.chars()).find(|((_, a), b)| a != b);
        let end = same.map_or(common.len().min(other.len()), |((at, _), _)| at);
        &common[..end]
    });
    let mut insert = common[start.len()..].to_owned();
    if fitting.len() == 1 && !insert.ends_with('/') {
        insert.push(' ');
    }
    let choices = if insert.is_empty() { fitting } else { Vec::new() };
    Completion { insert, choices }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::tests::TestHost;

    #[test]
    fn words_are_completed_by_what_may_stand_there() {
        let host = TestHost::default();
        for (line, insert, choices) in [
            ("scr", "eendump ", &[][..]),
            ("system_", "", &["system_powerdown", "system_reset"]),
            ("ba", "lloon", &[]),
            ("info ", "", &["accel", "balloon", "block"]),
            ("accel j", "it ", &[]),
            ("info reg", "isters ", &[]),
            ("info registers ", "-a ", &[]),
            ("eject ", "", &["cd0", "floppy0"]),
            ("eject -f c", "d0 ", &[]),
            ("set_link n", "et0 ", &[]),
            ("set_link net0 ", "o", &[]),
            ("set_link net0 o", "", &["off", "on"]),
            ("sendkey ctrl-alt-dele", "te ", &[]),
            ("sendkey ctrl-caps", "_lock ", &[]),
            ("change cd0 /im", "ages/", &[]),
            ("help scr", "eendump ", &[]),
            ("stop ", "", &[]),
            ("unknown x", "", &[]),
            ("zz", "", &[]),
        ] {
            let completion = complete(line, &host);
            assert_eq!(completion.insert, insert, "{line}: {completion:?}");
            assert!(completion.choices.len() >= choices.len(), "{line}: {completion:?}");
            assert!(completion.choices.iter().zip(choices).all(|(a, b)| a == b), "{line}: {completion:?}");
        }
        assert!(complete("", &host).choices.contains(&"info".to_owned()));
    }
}
