//! AML objects as ready bytes, so that nested ones can be written as one expression.

use acpi_tables::aml::{Device, EISAName, IO, Method, Name, Package, Path, ResourceTemplate, Scope};
use acpi_tables::{Aml, AmlSink};

/// AML bytes that were made before.
#[derive(Clone, Debug)]
pub(super) struct Ready(pub Vec<u8>);

impl Aml for Ready {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(&self.0);
    }
}

/// Makes `object` ready.
pub(super) fn ready(object: &dyn Aml) -> Ready {
    let mut bytes = Vec::new();
    object.to_aml_bytes(&mut bytes);
    Ready(bytes)
}

fn refs(parts: &[Ready]) -> Vec<&dyn Aml> {
    parts.iter().map(|p| p as &dyn Aml).collect()
}

/// `Name (path, value)`
pub(super) fn name(path: &str, value: &dyn Aml) -> Ready {
    ready(&Name::new(path.into(), value))
}
/// `Name (_HID, EisaId (id))`
pub(super) fn hid(id: &str) -> Ready {
    name("_HID", &EISAName::new(id))
}
/// `Name (_CRS, ResourceTemplate () { parts })`
pub(super) fn resources(path: &str, parts: &[Ready]) -> Ready {
    name(path, &ResourceTemplate::new(refs(parts)))
}
/// `IO (Decode16, base, base, 1, length)`
pub(super) fn io(base: u16, length: u8) -> Ready {
    ready(&IO::new(base, base, 1, length))
}
/// `Device (id) { parts }`
pub(super) fn device(id: &str, parts: &[Ready]) -> Ready {
    ready(&Device::new(Path::new(id), refs(parts)))
}
/// `Scope (path) { parts }`
pub(super) fn scope(path: &str, parts: &[Ready]) -> Ready {
    ready(&Scope::new(Path::new(path), refs(parts)))
}
/// `Package () { parts }`
pub(super) fn package(parts: &[&dyn Aml]) -> Ready {
    ready(&Package::new(parts.to_vec()))
}
/// `Method (id, arguments, Serialized) { parts }`
pub(super) fn method(id: &str, arguments: u8, parts: &[Ready]) -> Ready {
    ready(&Method::new(Path::new(id), arguments, true, refs(parts)))
}
/// `IRQNoFlags () { irq }`: edge triggered, active high, not shared.
pub(super) fn isa_irq(irq: u8) -> Ready {
    let [low, high] = (1u16 << irq).to_le_bytes();
    Ready(vec![0x22, low, high])
}
/// `DMA (Compatibility, NotBusMaster, Transfer8) { channel }`
pub(super) fn dma(channel: u8) -> Ready {
    Ready(vec![0x2A, 1 << channel, 0])
}
/// `Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) { irqs }`
pub(super) fn level_interrupts(irqs: &[u8]) -> Ready {
    let mut bytes = vec![0x89, 2 + 4 * irqs.len() as u8, 0, 0b1001, irqs.len() as u8];
    bytes.extend(irqs.iter().flat_map(|&irq| u32::from(irq).to_le_bytes()));
    Ready(bytes)
}
