//! One peer: gdb at the other end of a stream.

use crate::registers::{View, program_counter};
use crate::target::{Lost, Machine, PACKET_BYTES};
use gdbstub::common::{Signal, Tid};
use gdbstub::conn::Connection;
use gdbstub::stub::state_machine::GdbStubStateMachine;
use gdbstub::stub::{DisconnectReason, GdbStub, GdbStubError, MultiThreadStopReason};
use gdbstub::target::ext::breakpoints::WatchKind;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use trimotor_cpu::DebugStop;
use trimotor_machine::{ExitReason, MachineEvent};
use trimotor_monitor::Monitor;

/// Bytes that one packet may be answered with, at most. The longest lists of the monitor have some 7 million characters,
/// which take two digits each.
const MOST_ANSWER: usize = 32 << 20;

/// What happens to a session.
#[derive(Debug)]
pub enum Happening {
    /// The peer sent this.
    Received(Vec<u8>),
    /// Something happened to the machine.
    Machine(MachineEvent),
    /// The peer went.
    Gone,
}

/// How a session ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// The peer detached, or went.
    Left,
    /// The peer wanted the run to end.
    Killed,
    /// The machine has ended.
    MachineEnded,
    /// The peer broke the protocol.
    Refused(String),
}

/// What goes out to the peer.
#[derive(Default)]
struct Outgoing(Vec<u8>);

/// An answer that is too long.
#[derive(Debug)]
struct TooLong;

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "an answer has more than {MOST_ANSWER} bytes")
    }
}

impl Connection for Outgoing {
    type Error = TooLong;
    fn write(&mut self, byte: u8) -> Result<(), TooLong> {
        if self.0.len() >= MOST_ANSWER {
            return Err(TooLong);
        }
        self.0.push(byte);
        Ok(())
    }
    fn flush(&mut self) -> Result<(), TooLong> {
        Ok(())
    }
}

type Stub = GdbStubStateMachine<'static, Machine, Outgoing>;
type StubError = GdbStubError<Lost, TooLong>;

/// A peer, and the machine that it debugs.
pub struct Session {
    /// `None` once the session is over.
    stub: Option<Stub>,
    machine: Machine,
    /// The machine stood still when the peer came, and has not been resumed by it.
    untouched: bool,
    /// The machine was resumed for the peer, and the event that says so has come: what stops it now is news.
    runs: bool,
    /// The peer was told that its view shows less than there is.
    told_of_view: bool,
    /// The machine has ended, and answers nothing any more.
    ended: bool,
}

impl Session {
    /// A peer that has just come: the machine stops. It is seen in that view, or else in the one that suits what its
    /// first vCPU runs.
    ///
    /// # Errors
    /// The machine does not answer.
    pub fn begin(monitor: &Monitor, view: Option<View>) -> Result<Session, String> {
        let untouched = monitor.control().paused();
        let machine = Machine::attach(monitor, view).map_err(|Lost(why)| why)?;
        let mut session =
            Session { stub: None, machine, untouched, runs: false, told_of_view: false, ended: false };
        let stub = GdbStub::builder(Outgoing::default()).packet_buffer_size(PACKET_BYTES).build();
        let stub = stub.map_err(|error| error.to_string())?;
        let stub = stub.run_state_machine(&mut session.machine).map_err(|error| error.to_string())?;
        session.stub = Some(stub);
        Ok(session)
    }
    /// Serves the peer until it goes; what it is told goes into `out`, which may wait. The machine is let go of then: it goes on,
    /// unless it stood still when the peer came and was left so.
    pub fn serve(mut self, happenings: impl Iterator<Item = Happening>, out: &mut impl Write) -> End {
        for happening in happenings {
            match self.happened(happening, out) {
                Ok(None) => {}
                Ok(Some(end)) => return end,
                Err(error) => {
                    log::debug!("gdb is gone: {error}");
                    return End::Left;
                }
            }
        }
        End::Left
    }
    /// Does what something that happened leads to. How the session ended, if it has.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn happened(&mut self, happening: Happening, out: &mut impl Write) -> io::Result<Option<End>> {
        let end = match happening {
            Happening::Gone => Ok(Some(End::Left)),
            Happening::Received(bytes) => self.received(&bytes, out)?,
            Happening::Machine(event) => self.machine_event(&event),
        };
        self.send(out)?;
        match end {
            Ok(end) => Ok(end),
            Err(error) if error.is_target_error() => Ok(Some(End::MachineEnded)),
            Err(error) => Ok(Some(End::Refused(error.to_string()))),
        }
    }

    fn received(&mut self, bytes: &[u8], out: &mut impl Write) -> io::Result<Result<Option<End>, StubError>> {
        for byte in bytes {
            match self.receive(*byte) {
                Ok(None) => {}
                end => return Ok(end),
            }
            self.send(out)?;
        }
        Ok(Ok(None))
    }
    fn receive(&mut self, byte: u8) -> Result<Option<End>, StubError> {
        let stub = match self.stub.take() {
            Some(GdbStubStateMachine::Idle(idle)) => {
                let stub = idle.incoming_data(&mut self.machine, byte)?;
                if matches!(stub, GdbStubStateMachine::Running(_)) {
                    (self.untouched, self.runs) = (false, false);
                }
                stub
            }
            Some(GdbStubStateMachine::Running(running)) => running.incoming_data(&mut self.machine, byte)?,
            _ => return Ok(Some(End::Left)),
        };
        match stub {
            GdbStubStateMachine::CtrlCInterrupt(interrupt) => {
                let no_reason = None::<MultiThreadStopReason<u64>>;
                let stub = interrupt.interrupt_handled(&mut self.machine, no_reason)?;
                let runs = matches!(stub, GdbStubStateMachine::Running(_));
                self.stub = Some(stub);
                if runs && self.machine.pause().is_err() {
                    return Ok(Some(End::MachineEnded));
                }
                Ok(None)
            }
            GdbStubStateMachine::Disconnected(gone) => {
                let end = match gone.get_reason() {
                    DisconnectReason::Kill => End::Killed,
                    DisconnectReason::TargetExited(_) | DisconnectReason::TargetTerminated(_) => {
                        End::MachineEnded
                    }
                    DisconnectReason::Disconnect => End::Left,
                };
                self.stub = Some(GdbStubStateMachine::Disconnected(gone));
                if end == End::Killed {
                    // gdb waits for an answer to vKill, and heeds none to k.
                    self.put(&packet("OK"));
                    self.machine.kill();
                }
                Ok(Some(end))
            }
            stub => {
                self.stub = Some(stub);
                Ok(None)
            }
        }
    }

    fn machine_event(&mut self, event: &MachineEvent) -> Result<Option<End>, StubError> {
        self.ended |= matches!(event, MachineEvent::Ended(_));
        if !matches!(self.stub, Some(GdbStubStateMachine::Running(_))) {
            return Ok(self.ended.then_some(End::MachineEnded));
        }
        match event {
            MachineEvent::Resumed => self.runs = true,
            MachineEvent::Stopped { cpu, stop } if self.runs => {
                self.tell_of_view(*cpu);
                let reason = self.reason(*cpu, *stop);
                return self.report(reason);
            }
            MachineEvent::Paused if self.runs => {
                // By Ctrl-C, or by somebody else.
                self.tell_of_view(0);
                return self.report(MultiThreadStopReason::SignalWithThread {
                    tid: thread(0),
                    signal: Signal::SIGINT,
                });
            }
            MachineEvent::Reset => self.tell("The machine was reset.\n"),
            MachineEvent::Ended(reason) => {
                return self.report(match reason {
                    ExitReason::TripleFault(_) | ExitReason::Panic => {
                        MultiThreadStopReason::Terminated(Signal::SIGABRT)
                    }
                    reason => MultiThreadStopReason::Exited(reason.debug_exit_code().unwrap_or(0)),
                });
            }
            _ => {}
        }
        Ok(None)
    }
    fn reason(&self, cpu: usize, stop: DebugStop) -> MultiThreadStopReason<u64> {
        let tid = thread(cpu);
        match stop {
            DebugStop::Breakpoint => {
                let linear = self.machine.state(cpu).ok().map(|state| program_counter(&state));
                if linear.is_some_and(|linear| self.machine.is_hardware(linear)) {
                    MultiThreadStopReason::HwBreak(tid)
                } else {
                    MultiThreadStopReason::SwBreak(tid)
                }
            }
            DebugStop::Watchpoint(hit) => {
                let kind = match hit.kind {
                    trimotor_cpu::WatchKind::Write => WatchKind::Write,
                    trimotor_cpu::WatchKind::Read => WatchKind::Read,
                    trimotor_cpu::WatchKind::Access => WatchKind::ReadWrite,
                };
                MultiThreadStopReason::Watch { tid, kind, addr: hit.address }
            }
            DebugStop::Step => MultiThreadStopReason::SignalWithThread { tid, signal: Signal::SIGTRAP },
            DebugStop::Shutdown => MultiThreadStopReason::SignalWithThread { tid, signal: Signal::SIGABRT },
        }
    }
    fn report(&mut self, reason: MultiThreadStopReason<u64>) -> Result<Option<End>, StubError> {
        let Some(GdbStubStateMachine::Running(running)) = self.stub.take() else {
            return Ok(Some(End::Left));
        };
        self.runs = false;
        let stub = running.report_stop(&mut self.machine, reason)?;
        let ended = matches!(stub, GdbStubStateMachine::Disconnected(_));
        self.stub = Some(stub);
        Ok(ended.then_some(End::MachineEnded))
    }
    /// Says once that a vCPU's registers are longer than the view shows them.
    fn tell_of_view(&mut self, cpu: usize) {
        let view = self.machine.view();
        let suits = self.machine.state(cpu).map_or(view, |state| View::of(&state));
        if suits == View::Bits64 && view < View::Bits64 && !self.told_of_view {
            self.told_of_view = true;
            self.tell(&format!(
                "CPU#{cpu} is in long mode now, and is shown as {}: `disconnect` and `target remote` show it whole.\n",
                view.architecture()
            ));
        }
    }
    /// Shows a text in gdb's console. gdb takes it while it waits for the machine to stop.
    fn tell(&mut self, text: &str) {
        let digits: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        self.put(&packet(&format!("O{digits}")));
    }
    fn put(&mut self, bytes: &[u8]) {
        if let Some(outgoing) = self.outgoing() {
            outgoing.0.extend(bytes);
        }
    }
    fn outgoing(&mut self) -> Option<&mut Outgoing> {
        Some(match self.stub.as_mut()? {
            GdbStubStateMachine::Idle(stub) => stub.borrow_conn(),
            GdbStubStateMachine::Running(stub) => stub.borrow_conn(),
            GdbStubStateMachine::CtrlCInterrupt(stub) => stub.borrow_conn(),
            GdbStubStateMachine::Disconnected(stub) => stub.borrow_conn(),
        })
    }
    /// Writes what waits to go out.
    fn send(&mut self, out: &mut impl Write) -> io::Result<()> {
        let bytes = self.outgoing().map(|outgoing| std::mem::take(&mut outgoing.0)).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(());
        }
        out.write_all(&bytes)?;
        out.flush()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.ended {
            self.machine.detach(!self.untouched);
        }
    }
}

fn thread(cpu: usize) -> Tid {
    NonZeroUsize::MIN.saturating_add(cpu)
}

/// A packet with its checksum.
fn packet(text: &str) -> Vec<u8> {
    let sum = text.bytes().fold(0u8, u8::wrapping_add);
    format!("${text}#{sum:02x}").into_bytes()
}
