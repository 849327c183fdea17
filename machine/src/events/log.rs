//! Where events are logged.

use super::TakenEvent;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Is told of each external event, in their order. It is called on the machine's thread and
/// must not wait.
pub trait EventLog: Send {
    /// An event is taken.
    fn taken(&mut self, event: &TakenEvent);
}

/// A log in memory. Cheap to clone: all clones are the same log. It grows without bound, with what comes from outside.
#[derive(Clone, Default, Debug)]
pub struct MemoryLog {
    events: Arc<Mutex<Vec<TakenEvent>>>,
}

impl MemoryLog {
    fn lock(&self) -> MutexGuard<'_, Vec<TakenEvent>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// A log that has these events already.
    pub fn of(events: Vec<TakenEvent>) -> Self {
        Self { events: Arc::new(Mutex::new(events)) }
    }
    /// The events so far.
    pub fn events(&self) -> Vec<TakenEvent> {
        self.lock().clone()
    }
    /// The events behind the first `known`.
    pub fn events_from(&self, known: usize) -> Vec<TakenEvent> {
        self.lock().get(known..).unwrap_or_default().to_vec()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }
}

impl EventLog for MemoryLog {
    fn taken(&mut self, event: &TakenEvent) {
        self.lock().push(event.clone());
    }
}
