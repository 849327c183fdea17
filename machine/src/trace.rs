//! Tracing: which vCPU tells what, and whom.
//!
//! The vCPUs write lines themselves ([`trimotor_cpu::trace`]); here is who traces what, from when on, and what ports and addresses
//! are called. Files and the terminal are the host's: [`TraceOpener`].

use crate::control::trace::{TraceRequest, TraceSpec, TraceTarget};
use crate::control::{CommandError, Outcome, Reply};
use crate::engines::Engine;
use crate::machine::Machine;
use crate::obey::Standstill;
use std::sync::Arc;
use trimotor_cpu::trace::{Kinds, TraceSink, VcpuTrace};

/// Opens what lines go to: a target that is not [`TraceTarget::Last`], and the most bytes that it gets.
///
/// # Errors
/// Says why it cannot be opened, and names it.
pub type TraceOpener = Box<dyn Fn(&TraceTarget, u64) -> Result<Arc<dyn TraceSink>, String> + Send>;

/// What a machine traces.
#[derive(Default)]
pub(crate) struct Tracing {
    /// What is traced, and how; nothing at first.
    spec: TraceSpec,
    sink: Option<Arc<dyn TraceSink>>,
    opener: Option<TraceOpener>,
}

impl Machine {
    /// Traces from now on, while the machine does not run. `opener` opens what lines go to, now and for `trace` commands.
    /// Returns what people should know.
    ///
    /// # Errors
    /// There is no such vCPU, or what lines go to cannot be opened.
    pub fn trace(&mut self, spec: Option<&TraceSpec>, opener: TraceOpener) -> Result<String, CommandError> {
        self.tracing.opener = Some(opener);
        match spec {
            Some(spec) => self.stand_still().trace_on(spec),
            None => Ok(String::new()),
        }
    }
}

impl Standstill<'_> {
    /// Carries out a trace command.
    pub(crate) fn trace(&mut self, request: &TraceRequest) -> Outcome {
        let text = match request {
            TraceRequest::On(spec) => self.trace_on(spec)?,
            TraceRequest::Off(kinds) => {
                let tracing = &mut self.machine.tracing;
                tracing.spec.kinds -= *kinds;
                if tracing.spec.kinds.is_empty() {
                    (tracing.spec, tracing.sink) = (TraceSpec::default(), None);
                }
                self.set_traces();
                self.traced()
            }
            TraceRequest::Tell => self.traced(),
        };
        Ok(Reply::Text(text))
    }
    fn trace_on(&mut self, spec: &TraceSpec) -> Result<String, CommandError> {
        if let Some(cpu) = spec.cpu {
            self.vcpu(cpu)?;
        }
        let tracing = &mut self.machine.tracing;
        let mut sum = tracing.spec.clone();
        sum.add(spec);
        let target = sum.target.clone().unwrap_or_default();
        let has_ended = tracing.sink.as_ref().is_some_and(|sink| sink.ended().is_some());
        let is_new = spec.target.is_some() || spec.limit.is_some() || tracing.sink.is_none() || has_ended;
        if has_ended {
            // What was traced then is traced no longer.
            sum.kinds = spec.kinds;
        }
        if target == TraceTarget::Last {
            tracing.sink = None;
        } else if is_new {
            let refused = || CommandError::Failed("this program traces nothing".to_owned());
            let opener = tracing.opener.as_ref().ok_or_else(refused)?;
            tracing.sink = Some(opener(&target, sum.most_bytes()).map_err(CommandError::Failed)?);
        }
        tracing.spec = sum;
        self.set_traces();
        Ok(self.traced())
    }
    /// Has each vCPU trace what is to be traced. What it has kept of before stays.
    fn set_traces(&mut self) {
        let machine = &mut *self.machine;
        let Tracing { spec, sink, .. } = &machine.tracing;
        for (cpu, slot) in machine.vcpus.iter_mut().enumerate() {
            let before = slot.vcpu.set_trace(None);
            if spec.kinds.is_empty() || spec.cpu.is_some_and(|only| only != cpu) {
                continue;
            }
            let mut trace = VcpuTrace::new(cpu as u32, spec.kinds, spec.filter(), sink.clone());
            if let Some(before) = before {
                trace = trace.after(*before);
            }
            slot.vcpu.set_trace(Some(Box::new(trace)));
        }
    }
    /// What is traced, in words.
    fn traced(&self) -> String {
        let Tracing { spec, sink, .. } = &self.machine.tracing;
        if spec.kinds.is_empty() {
            return "nothing is traced".to_owned();
        }
        if let Some(why) = sink.as_ref().and_then(|sink| sink.ended()) {
            return format!("nothing is traced any more: {why}");
        }
        let engine = self.machine.engine;
        let mut text = format!("traced: {spec}");
        if engine == Engine::Kvm {
            text += "\nthe guest runs on the interpreter meanwhile, not on kvm";
        } else if spec.kinds.contains(Kinds::INSN) && engine.translates() {
            text += &format!("\ninsn: the guest runs on the interpreter meanwhile, not on {engine}");
        }
        text
    }
}
