//! A log of events as a file ([`trimotor_snapshot`]): sections `events`, each with the next ones of them.

use super::TakenEvent;
use std::io::{Read, Write};
use trimotor_snapshot::{FormatError, Reader, Section, Writer};

/// The name of sections with events.
pub(crate) const EVENTS: &str = "events";
/// The version of their content. In the first one a medium that was put in had no facts.
pub(crate) const VERSION: u16 = 2;
/// Events of a section at most.
const AT_A_TIME: usize = 256;

/// Writes a log; gives back what was written to.
///
/// # Errors
/// The host cannot write; an event is larger than a section may be.
pub fn write_events<W: Write>(out: W, events: &[TakenEvent]) -> Result<W, FormatError> {
    let mut writer = Writer::new(out)?;
    for part in events.chunks(AT_A_TIME) {
        writer.value(EVENTS, VERSION, &part)?;
    }
    writer.finish()
}

/// Reads a log.
///
/// # Errors
/// It is no log, damaged, truncated or of a newer build; the host cannot read.
pub fn read_events(input: impl Read) -> Result<Vec<TakenEvent>, FormatError> {
    let mut reader = Reader::new(input)?;
    let mut events = Vec::new();
    while let Some(section) = reader.next()? {
        if section.name != EVENTS {
            return Err(section.refused("a log of events has no such section"));
        }
        events.append(&mut events_of(&section)?);
    }
    Ok(events)
}

/// The events of a section.
pub(crate) fn events_of(section: &Section) -> Result<Vec<TakenEvent>, FormatError> {
    section.check_version(VERSION)?;
    section.value()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{ExternalEvent, Position};

    fn log() -> Vec<TakenEvent> {
        let event = |number: u64| ExternalEvent::SerialInput { port: 0, bytes: vec![number as u8; 3] };
        let at = |instructions| Position { instructions, step: 1, time_ns: 2 };
        (0..1000).map(|number| TakenEvent { at: at(number), event: event(number) }).collect()
    }

    #[test]
    fn a_log_is_read_as_it_was_written() {
        let file = write_events(Vec::new(), &log()).unwrap();
        assert!(read_events(&file[..]).unwrap() == log());
        let empty = write_events(Vec::new(), &[]).unwrap();
        assert!(read_events(&empty[..]).unwrap().is_empty());
    }
    #[test]
    fn a_damaged_log_is_refused() {
        let file = write_events(Vec::new(), &log()).unwrap();
        for length in (0..file.len()).step_by(7) {
            assert!(read_events(&file[..length]).is_err(), "{length} bytes");
        }
        for place in (0..file.len()).step_by(11) {
            let mut flipped = file.clone();
            flipped[place] ^= 0x10;
            assert!(read_events(&flipped[..]).is_err(), "byte {place}");
        }
    }
    #[test]
    fn another_file_is_refused_by_its_section() {
        let mut writer = Writer::new(Vec::new()).unwrap();
        writer.value("machine", 1, &0u32).unwrap();
        let file = writer.finish().unwrap();
        let told = read_events(&file[..]).unwrap_err().to_string();
        assert!(told.contains("\"machine\"") && told.contains("log of events"), "{told}");
    }
}
