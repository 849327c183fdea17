//! Networks of a machine whose outside is shut: what comes from them is in the recording.

use std::collections::BTreeMap;
use std::sync::Arc;
use trimotor_machine::networks::NetworkFacts;
use trimotor_net::{Frame, NetBackend, Offloads, Waker};

/// Looks like a network that was recorded.
struct ShutNetwork(NetworkFacts);

impl NetBackend for ShutNetwork {
    fn send(&self, _frame: Frame) {}
    fn receive(&self) -> Option<Frame> {
        None
    }
    fn accepts(&self) -> Offloads {
        self.0.accepts
    }
    fn set_waker(&self, _waker: Waker) {}
    fn carrier(&self) -> bool {
        self.0.carrier
    }
    fn mtu(&self) -> u16 {
        self.0.mtu
    }
    fn queues(&self) -> u16 {
        self.0.queues
    }
    fn info(&self) -> String {
        "replayed".to_owned()
    }
}

/// One for each that was recorded.
pub fn networks(recorded: &BTreeMap<String, NetworkFacts>) -> BTreeMap<String, Arc<dyn NetBackend>> {
    let shut = |facts: &NetworkFacts| Arc::new(ShutNetwork(*facts)) as Arc<dyn NetBackend>;
    recorded.iter().map(|(id, facts)| (id.clone(), shut(facts))).collect()
}
