//! Message-signalled interrupts: a card raises an interrupt by a write to an address that belongs to the
//! interrupt controllers (SDM Vol. 3A, "Message Signalled Interrupts").

/// What receives interrupt messages.
pub trait MsiSink: Send + Sync {
    /// A card writes `data` to `address`. A message that no interrupt controller understands is dropped.
    fn send(&self, address: u64, data: u32);
}
