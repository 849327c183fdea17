//! A log in the place of the host.

use super::{ExternalEvent, Position, PowerOn, TakenEvent};
use std::collections::VecDeque;
use std::fmt;

/// A replay left what was recorded: the machine is another one, or runs otherwise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Divergence {
    /// The event that could not be replayed; `None` where the log has no more, or the event is none that could not.
    pub expected: Option<TakenEvent>,
    /// Where the machine was.
    pub at: Position,
    /// The vCPU that differed, or whose turn it was.
    pub cpu: usize,
    /// What differed, or what the machine came for, where that was not the event.
    pub what: Difference,
}

/// What differed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Difference {
    /// The machine came for this.
    Wanted(String),
    /// A vCPU is in this way elsewhere than it was; at so many instructions all were where they had been.
    Vcpu(String, u64),
    /// The log cannot be read any further.
    Log(String),
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { expected, at, cpu, what } = self;
        match what {
            Difference::Log(error) => return write!(f, "the replay ends at {at}: {error}"),
            Difference::Vcpu(difference, same) => {
                return write!(
                    f,
                    "the run left the recording: at {at} vCPU {cpu} differs first: {difference}; after {same} instructions \
                     it was the same"
                );
            }
            Difference::Wanted(wanted) => {
                write!(
                    f,
                    "the run left the recording: at {at}, in the turn of vCPU {cpu}, it came to {wanted}, "
                )?;
            }
        }
        match expected {
            Some(TakenEvent { at, event }) => write!(f, "where the log has {event} at {at}"),
            None => write!(f, "where the log has nothing more"),
        }
    }
}

/// Where a log comes from that is too long to be read at once.
pub trait EventSource: Send {
    /// The next events; none where there are no more.
    ///
    /// # Errors
    /// The log cannot be read any further, and why.
    fn more(&mut self) -> Result<Vec<TakenEvent>, String>;
}

/// What follows the last event of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplayEnd {
    /// The guest is alone.
    Alone,
    /// Nothing is known of what came then: the run ends.
    Unknown,
    /// The guest ended its run by itself, after so many instructions.
    Guest(u64),
    /// The last event was the end of the run.
    Quit,
}

/// What is left of a log.
pub(crate) struct Replay {
    events: VecDeque<TakenEvent>,
    /// Where more come from.
    source: Option<Box<dyn EventSource>>,
    end: ReplayEnd,
    /// The last position at which the vCPUs were seen to be where they had been.
    same_at: u64,
    /// The log's end of the run was taken.
    ended: bool,
    /// Set at the first difference; nothing is replayed after it.
    diverged: Option<Box<Divergence>>,
    /// Why no more can be read.
    unreadable: Option<String>,
}

impl Replay {
    pub(crate) fn new(events: Vec<TakenEvent>) -> Self {
        Self {
            events: events.into(),
            source: None,
            end: ReplayEnd::Alone,
            same_at: 0,
            ended: false,
            diverged: None,
            unreadable: None,
        }
    }
    /// Of a log that is read on the way.
    pub(crate) fn from_source(source: Box<dyn EventSource>, end: ReplayEnd) -> Self {
        let mut replay = Self { source: Some(source), end, ..Self::new(Vec::new()) };
        replay.fill();
        replay
    }
    /// Adds what came after the events so far.
    pub(crate) fn extend(&mut self, more: Vec<TakenEvent>) {
        self.events.extend(more);
    }
    /// Reads on where nothing is left of what was read.
    fn fill(&mut self) {
        while self.events.is_empty()
            && let Some(source) = &mut self.source
        {
            match source.more() {
                Ok(more) if more.is_empty() => self.source = None,
                Ok(more) => self.events.extend(more),
                Err(error) => (self.source, self.unreadable) = (None, Some(error)),
            }
        }
    }
    fn pop(&mut self) -> Option<TakenEvent> {
        let next = self.events.pop_front();
        self.fill();
        self.ended |= next.as_ref().is_some_and(|next| next.event == ExternalEvent::Quit);
        next
    }
    /// Whether the run ends here, as nothing more is known of it.
    pub(crate) fn ends_here(&self) -> bool {
        self.events.is_empty() && self.end == ReplayEnd::Unknown
    }
    /// Whether all of the log was replayed.
    pub(crate) fn is_done(&self) -> bool {
        self.events.is_empty() && self.unreadable.is_none() && (self.ended || self.end != ReplayEnd::Quit)
    }
    /// Sees that the machine has not run past the recording.
    pub(crate) fn check_end(&mut self, here: Position, cpu: usize) {
        if let Some(error) = self.unreadable.take() {
            self.diverge_as(here, cpu, Difference::Log(error));
        } else if let ReplayEnd::Guest(instructions) = self.end
            && here.instructions > instructions
        {
            let wanted = format!("run on, where the guest had ended after {instructions} instructions");
            self.diverge(here, cpu, wanted);
        }
    }
    /// The vCPUs are where they had been, or the first one that is not differs in this way.
    pub(crate) fn check(&mut self, here: Position, difference: Option<(usize, String)>) {
        match difference {
            None => self.same_at = here.instructions,
            Some((cpu, difference)) => {
                let same_at = self.same_at;
                self.diverge_as(here, cpu, Difference::Vcpu(difference, same_at));
            }
        }
    }
    /// Takes the event of switching on, if it is the next one.
    pub(crate) fn take_power_on(&mut self) -> Option<PowerOn> {
        let power_on = match &self.events.front()?.event {
            ExternalEvent::PowerOn(power_on) => power_on.clone(),
            _ => return None,
        };
        self.pop();
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
        self.pop()
    }
    /// The result of a request that is due at `here`; nothing where the log has another event.
    pub(crate) fn take_completion(
        &mut self,
        here: Position,
        cpu: usize,
        device: &str,
        request: u64,
    ) -> Vec<u8> {
        match self.events.front().map(|next| (&next.event, next.at)) {
            Some((ExternalEvent::Completion { device: d, request: r, .. }, at))
                if *r == request && d == device && at == here && self.diverged.is_none() => {}
            _ => {
                self.diverge(here, cpu, format!("the end of request {request} of {device}"));
                return Vec::new();
            }
        }
        match self.pop().map(|next| next.event) {
            Some(ExternalEvent::Completion { result, .. }) => result,
            _ => Vec::new(),
        }
    }
    pub(crate) fn diverge(&mut self, at: Position, cpu: usize, wanted: String) {
        self.diverge_as(at, cpu, Difference::Wanted(wanted));
    }
    fn diverge_as(&mut self, at: Position, cpu: usize, what: Difference) {
        let expected = match what {
            Difference::Wanted(_) => self.events.front().cloned(),
            Difference::Vcpu(..) | Difference::Log(_) => None,
        };
        self.diverged.get_or_insert_with(|| Box::new(Divergence { expected, at, cpu, what }));
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
        assert_eq!(replay.take_completion(at(6), 0, "card", 1), [1]);
        assert_eq!(replay.next_stop(), Some(9));
        assert_eq!(replay.diverged(), None);
    }

    #[test]
    fn another_request_than_that_of_the_log_is_told() {
        let mut replay = Replay::new(vec![TakenEvent { at: at(6), event: completion(1) }]);
        assert!(replay.take_completion(at(6), 0, "card", 2).is_empty());
        let told = replay.diverged().unwrap().to_string();
        assert!(told.contains("request 2 of card") && told.contains("request 1 of card"), "{told}");
        assert!(replay.take_completion(at(6), 0, "card", 1).is_empty(), "nothing is replayed any more");
    }

    #[test]
    fn a_log_is_read_on_the_way_and_says_what_it_cannot_read() {
        struct Source(u64);
        impl EventSource for Source {
            fn more(&mut self) -> Result<Vec<TakenEvent>, String> {
                self.0 += 1;
                match self.0 {
                    3 => Err("gone".to_owned()),
                    number => Ok(vec![TakenEvent { at: at(number), event: ExternalEvent::Nmi }]),
                }
            }
        }
        let mut replay = Replay::from_source(Box::new(Source(0)), ReplayEnd::Quit);
        for number in [1, 2] {
            replay.check_end(at(number), 0);
            assert_eq!((replay.diverged(), replay.next_stop()), (None, Some(number)));
            assert!(replay.take_at(at(number)).is_some());
        }
        assert!(!replay.is_done());
        replay.check_end(at(2), 0);
        assert!(replay.diverged().unwrap().to_string().ends_with("gone"));
    }

    #[test]
    fn a_guest_that_runs_on_past_its_end_is_told() {
        let mut replay = Replay { end: ReplayEnd::Guest(7), ..Replay::new(Vec::new()) };
        replay.check_end(at(7), 0);
        assert_eq!(replay.diverged(), None);
        replay.check_end(at(8), 1);
        let told = replay.diverged().unwrap().to_string();
        assert!(told.contains("turn of vCPU 1") && told.contains("after 7 instructions"), "{told}");
    }
}
