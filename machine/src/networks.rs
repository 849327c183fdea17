//! The networks of a machine, and which card is connected to which.
//!
//! The host hands networks in by their ids ([`HostServices::networks`](crate::HostServices)); a card names its own (`netdev=ID`).
//! Between the two is a [`NetworkLine`].

use crate::events::PowerOn;
use crate::network_line::NetworkLine;
use crate::registry::DeviceId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use trimotor_bus::RestoreError;
use trimotor_net::{NetBackend, Offloads, Waker};

/// What a machine sees of a network beside its frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NetworkFacts {
    /// Whether it was connected at power-on.
    pub carrier: bool,
    /// What may be left open in frames that are sent.
    pub accepts: Offloads,
    /// The largest IP packet, in bytes.
    pub mtu: u16,
    /// Into how many queues it sorts what comes.
    pub queues: u16,
}

/// All networks, and the cables of the cards.
pub(crate) struct Networks {
    given: BTreeMap<String, Given>,
    waker: Waker,
    /// In the order of the cards.
    lines: Vec<NetworkLine>,
}

struct Given {
    facts: NetworkFacts,
    /// None where a log takes its place.
    backend: Option<Arc<dyn NetBackend>>,
    taken: bool,
}

impl Networks {
    /// Those that the host hands in; or, for a replay, those that the log begins with. `waker` wakes the machine.
    pub(crate) fn new(
        given: BTreeMap<String, Arc<dyn NetBackend>>,
        power_on: Option<&PowerOn>,
        waker: Waker,
    ) -> Self {
        let from_host = |(id, backend): (String, Arc<dyn NetBackend>)| {
            let facts = NetworkFacts {
                carrier: backend.carrier(),
                accepts: backend.accepts(),
                mtu: backend.mtu(),
                queues: backend.queues(),
            };
            (id, Given { facts, backend: Some(backend), taken: false })
        };
        let from_log = |(id, facts): (&String, &NetworkFacts)| {
            (id.clone(), Given { facts: *facts, backend: None, taken: false })
        };
        let given = match power_on {
            Some(power_on) => power_on.networks.iter().map(from_log).collect(),
            None => given.into_iter().map(from_host).collect(),
        };
        Self { given, waker, lines: Vec::new() }
    }
    /// Connects a card that is added as `device` to a network.
    ///
    /// # Errors
    /// There is none of this id, or it has a card already: why, and what there is.
    pub(crate) fn connect(&mut self, id: &str, device: DeviceId) -> Result<NetworkLine, String> {
        let free: Vec<_> =
            self.given.iter().filter(|(_, given)| !given.taken).map(|(id, _)| id.as_str()).collect();
        let free = if free.is_empty() { "none".to_owned() } else { free.join(", ") };
        let Some(given) = self.given.get_mut(id) else {
            return Err(format!(
                "netdev={id}: there is no network with this id (--netdev user,id={id} makes one); without a card: {free}"
            ));
        };
        if std::mem::replace(&mut given.taken, true) {
            return Err(format!("netdev={id}: another card has this network; without a card: {free}"));
        }
        let line = NetworkLine::new(id, device, given.facts, given.backend.clone(), self.waker.clone());
        self.lines.push(line.clone());
        Ok(line)
    }
    /// Networks without a card.
    pub(crate) fn unused(&self) -> impl Iterator<Item = &str> {
        self.given.iter().filter(|(_, given)| !given.taken).map(|(id, _)| id.as_str())
    }
    /// The cables, in the order of the cards.
    pub(crate) fn lines(&self) -> &[NetworkLine] {
        &self.lines
    }
    /// What they were at power-on, by id.
    pub(crate) fn facts(&self) -> BTreeMap<String, NetworkFacts> {
        self.given.iter().map(|(id, given)| (id.clone(), given.facts)).collect()
    }
    /// From now on nothing goes to the host's networks, and nothing comes from there.
    pub(crate) fn replay(&self) {
        self.lines.iter().for_each(NetworkLine::replay);
    }
    /// What there is of each, for people: its id, and what its back end says.
    pub(crate) fn info(&self) -> Vec<(String, String)> {
        let info =
            |given: &Given| given.backend.as_ref().map_or("replayed".to_owned(), |backend| backend.info());
        self.given.iter().map(|(id, given)| (id.clone(), info(given))).collect()
    }
}

/// The saved cables, in the order of the cards.
pub(crate) type NetworksStateV1 = Vec<crate::network_line::NetworkLineStateV1>;

impl Networks {
    pub(crate) fn save(&self) -> NetworksStateV1 {
        self.lines.iter().map(NetworkLine::save).collect()
    }
    /// Takes a saved state.
    ///
    /// # Errors
    /// Another number of cables.
    pub(crate) fn restore(&self, state: NetworksStateV1) -> Result<(), RestoreError> {
        if state.len() != self.lines.len() {
            let value = format!("{} of {}", state.len(), self.lines.len());
            return Err(RestoreError { part: "machine", field: "network cables", value });
        }
        self.lines.iter().zip(state).for_each(|(line, state)| line.restore(state));
        Ok(())
    }
}
