//! A log in the place of the host.

use super::{ExternalEvent, Position, PowerOn, TakenEvent};
use std::collections::VecDeque;
use std::fmt;

/// A replay left what was recorded: the machine is another one, or runs otherwise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Divergence {
    /// The event that could not be replayed; `None` where the log has no more.
    pub expected: Option<TakenEvent>,
    /// Where the machine was.
    pub at: Position,
    /// What it came for, where that was not the event.
    pub wanted: String,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the run left the recording: at {:?} it came to {}, ", self.at, self.wanted)?;
        match &self.expected {
            Some(TakenEvent { at, event }) => write!(f, "where the log has {event:?} at {at:?}"),
            None => write!(f, "where the log has nothing more"),
        }
    }
}

/// What is left of a log.
pub(crate) struct Replay {
    events: VecDeque<TakenEvent>,
    /// Set at the first difference; nothing is replayed after it.
    diverged: Option<Box<Divergence>>,
}

impl Replay {
    pub(crate) fn new(events: Vec<TakenEvent>) -> Self {
        Self { events: events.into(), diverged: None }
    }
    /// Adds what came after the events so far.
    pub(crate) fn extend(&mut self, more: Vec<TakenEvent>) {
        self.events.extend(more);
    }
    /// Takes the event of switching on, if it is the next one.
    pub(crate) fn take_power_on(&mut self) -> Option<PowerOn> {
        let power_on = match &self.events.front()?.event {
            ExternalEvent::PowerOn(power_on) => power_on.clone(),
            _ => return None,
        };
        self.events.pop_front();
        Some(power_on)
    }
    /// The count of instructions at which an event waits that the run loop takes. Results of I/O are taken where they are due.
    pub(crate) fn next_stop(&self) -> Option<u64> {
        let next = self.events.front()?;
        let by_run_loop = !matches!(next.event, ExternalEvent::Completion { .. });
        (by_run_loop && self.diverged.is_none()).then_some(next.at.instructions)
    }
    /// The next event, where the run loop takes it at `here`.
    pub(crate) fn take_at(&mut self, here: Position) -> Option<TakenEvent> {
        self.next_stop()?;
        if self.events.front()?.at != here {
            return None;
        }
        self.events.pop_front()
    }
    /// The result of a request that is due at `here`; nothing where the log has another event.
    pub(crate) fn take_completion(&mut self, here: Position, device: &str, request: u64) -> Vec<u8> {
        match self.events.front().map(|next| (&next.event, next.at)) {
            Some((ExternalEvent::Completion { device: d, request: r, .. }, at))
                if *r == request && d == device && at == here && self.diverged.is_none() => {}
            _ => {
                self.diverge(here, format!("the end of request {request} of {device}"));
                return Vec::new();
            }
        }
        match self.events.pop_front().map(|next| next.event) {
            Some(ExternalEvent::Completion { result, .. }) => result,
            _ => Vec::new(),
        }
    }
    pub(crate) fn diverge(&mut self, at: Position, wanted: String) {
        let expected = self.events.front().cloned();
        self.diverged.get_or_insert_with(|| Box::new(Divergence { expected, at, wanted }));
    }
    pub(crate) fn diverged(&self) -> Option<&Divergence> {
        self.diverged.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(instructions: u64) -> Position {
        Position { instructions, step: 1, time_ns: 2 }
    }
    fn completion(request: u64) -> ExternalEvent {
        ExternalEvent::Completion { device: "card".into(), request, result: vec![request as u8] }
    }

    #[test]
    fn events_come_at_their_positions_and_completions_to_their_requests() {
        let log = [(5, ExternalEvent::Nmi), (6, completion(1)), (9, ExternalEvent::Quit)];
        let log = log.map(|(instructions, event)| TakenEvent { at: at(instructions), event });
        let mut replay = Replay::new(log.to_vec());
        assert_eq!(replay.next_stop(), Some(5));
        assert_eq!(replay.take_at(at(4)), None);
        assert_eq!(replay.take_at(Position { step: 2, ..at(5) }), None);
        assert_eq!(replay.take_at(at(5)), Some(log[0].clone()));
        assert_eq!((replay.next_stop(), replay.take_at(at(6))), (None, None));
        assert_eq!(replay.take_completion(at(6), "card", 1), [1]);
        assert_eq!(replay.next_stop(), Some(9));
        assert_eq!(replay.diverged(), None);
    }

    #[test]
    fn another_request_than_that_of_the_log_is_told() {
        let mut replay = Replay::new(vec![TakenEvent { at: at(6), event: completion(1) }]);
        assert!(replay.take_completion(at(6), "card", 2).is_empty());
        let told = replay.diverged().unwrap().to_string();
        assert!(told.contains("request 2 of card") && told.contains("request: 1"), "{told}");
        assert!(replay.take_completion(at(6), "card", 1).is_empty(), "nothing is replayed any more");
    }
}
