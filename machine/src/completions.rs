//! Requests of devices that workers carry out, and the instants at which they complete.
//!
//! A device begins a request under its lock ([`Outside::begin`]); a worker thread does the job and leaves the result
//! here; the machine's thread delivers it to the device. No worker ever touches a device or a wire.
//!
//! With the host's clock a result is delivered soon after the worker left it, or, where the device said so, not before a certain
//! guest time. With guest time from a count of
//! instructions it is delivered at the guest time that the device named, in the order of time, device and request; the machine
//! waits there for a worker that is not done, so that a run is a function of its inputs.

use crate::control::MachineControl;
use crate::registry::DeviceId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use trimotor_bus::GuestTime;
use trimotor_devices::{Job, Outside, OutsideRef};

/// Threads that do jobs: as many wait for the host at the same time.
const WORKERS: usize = 4;

/// A request: what it belongs to, and its number there.
pub(crate) type Request = (DeviceId, u64);

/// A result that is ready.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) request: Request,
    pub(crate) result: Vec<u8>,
}

/// A request as it was begun: a device may use a number again after a reset.
type Begun = (Request, u64);

/// A request under way.
#[derive(Clone, Copy)]
struct UnderWay {
    /// The number of its beginning.
    number: u64,
    /// With the host's clock: when its result may be delivered.
    not_before: GuestTime,
}

#[derive(Default)]
struct State {
    /// Requests under way.
    under_way: BTreeMap<Request, UnderWay>,
    /// Counted time: when each is due.
    due: BTreeSet<(GuestTime, Request)>,
    /// Results by request, in the order in which they came.
    finished: VecDeque<(Begun, Vec<u8>)>,
    /// The host's clock: results that may not be delivered before a certain time.
    held: BTreeMap<(GuestTime, Request), Vec<u8>>,
    beginnings: u64,
    /// Jobs that workers have, or will have: those of requests that were forgotten too.
    jobs: usize,
}

/// All requests under way.
pub(crate) struct Completions {
    state: Mutex<State>,
    arrived: Condvar,
    counted: bool,
    control: MachineControl,
    /// Results come from a log: nothing is carried out.
    replays: AtomicBool,
    workers: OnceLock<Sender<Box<dyn FnOnce() + Send>>>,
}

impl Completions {
    /// For a machine whose time is `counted` in instructions, or the host's.
    pub(crate) fn new(counted: bool, control: MachineControl) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            arrived: Condvar::new(),
            counted,
            control,
            replays: AtomicBool::new(false),
            workers: OnceLock::new(),
        })
    }
    /// The handle for a device.
    pub(crate) fn handle(self: &Arc<Self>, device: DeviceId) -> OutsideRef {
        Arc::new(Handle { completions: self.clone(), device })
    }
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on no request is carried out; each completes when it is due, without a byte.
    pub(crate) fn replay(&self) {
        self.replays.store(true, Ordering::Relaxed);
    }
    /// Whether time is counted. If it is not, only who delivers results need know when the next one is due.
    pub(crate) fn is_counted(&self) -> bool {
        self.counted
    }
    /// When a request is due next. With the host's clock: when the next of the results that are held is.
    pub(crate) fn next_due(&self) -> Option<GuestTime> {
        let state = self.state();
        let held = state.held.keys().next().map(|(at, _)| *at);
        state.due.first().map(|(due, _)| *due).or(held)
    }
    /// The next result to deliver at `now`, if there is one; with counted time, waits for its worker.
    pub(crate) fn take(&self, now: GuestTime) -> Option<Finished> {
        let mut state = self.state();
        if !self.counted {
            let (request, result) = match state.finished.pop_front() {
                Some(((request, _), result)) => (request, result),
                None => {
                    let first = state.held.first_entry().filter(|first| first.key().0 <= now)?;
                    let ((_, request), result) = first.remove_entry();
                    (request, result)
                }
            };
            state.under_way.remove(&request);
            return Some(Finished { request, result });
        }
        let (due, request) = *state.due.first()?;
        if due > now {
            return None;
        }
        state.due.pop_first();
        loop {
            if let Some(at) = state.finished.iter().position(|((done, _), _)| *done == request) {
                let result = state.finished.remove(at).map(|(_, result)| result).unwrap_or_default();
                state.under_way.remove(&request);
                return Some(Finished { request, result });
            }
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
    /// Forgets all requests: their devices were reset. Results that still come are dropped.
    pub(crate) fn forget(&self) {
        let mut state = self.state();
        state.under_way.clear();
        state.due.clear();
        state.finished.clear();
        state.held.clear();
    }

    /// Begins a request. With the host's clock its result is not delivered before `not_before`.
    fn begin(self: &Arc<Self>, request: Request, due: GuestTime, not_before: GuestTime, job: Job) {
        let mut state = self.state();
        state.beginnings += 1;
        let begun = (request, state.beginnings);
        state.under_way.insert(request, UnderWay { number: begun.1, not_before });
        if self.counted {
            state.due.insert((due, request));
        }
        if self.replays.load(Ordering::Relaxed) {
            state.finished.push_back((begun, Vec::new()));
            return;
        }
        state.jobs += 1;
        drop(state);
        let ending = Ending { completions: self.clone(), begun, result: Vec::new() };
        self.run(Box::new(move || ending.after(job)));
    }
    fn run(&self, work: Box<dyn FnOnce() + Send>) {
        let queue = self.workers.get_or_init(start_workers);
        if let Err(refused) = queue.send(work) {
            // There is no thread: the caller waits for its own job.
            (refused.0)();
        }
    }
    /// Returns when no worker has anything to do: what was begun reaches the host, though nobody asks for its result.
    pub(crate) fn finish(&self) {
        let mut state = self.state();
        while state.jobs > 0 {
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
    fn end(&self, begun: Begun, result: Vec<u8>) {
        let mut state = self.state();
        state.jobs -= 1;
        if state.jobs == 0 {
            self.arrived.notify_all();
        }
        let under_way = state.under_way.get(&begun.0).copied();
        let Some(UnderWay { not_before, .. }) = under_way.filter(|request| request.number == begun.1) else {
            return;
        };
        if self.counted || not_before == GuestTime::ZERO {
            state.finished.push_back((begun, result));
        } else {
            state.held.insert((not_before, begun.0), result);
        }
        drop(state);
        self.arrived.notify_all();
        self.control.wake();
    }
}

/// Leaves a job's result when it is dropped, whatever became of the job.
struct Ending {
    completions: Arc<Completions>,
    begun: Begun,
    result: Vec<u8>,
}
impl Ending {
    /// Does the job. Dropping leaves its result, where it panics too.
    fn after(mut self, job: Job) {
        self.result = job();
    }
}
impl Drop for Ending {
    fn drop(&mut self) {
        self.completions.end(self.begun, std::mem::take(&mut self.result));
    }
}

/// Starts the threads; they end when the queue is dropped.
fn start_workers() -> Sender<Box<dyn FnOnce() + Send>> {
    let (queue, jobs) = channel();
    let jobs = Arc::new(Mutex::new(jobs));
    for number in 0..WORKERS {
        let jobs = jobs.clone();
        let started = std::thread::Builder::new().name(format!("io{number}")).spawn(move || work(&jobs));
        if let Err(error) = started {
            log::error!("no thread for I/O: {error}");
        }
    }
    queue
}
fn work(jobs: &Mutex<Receiver<Box<dyn FnOnce() + Send>>>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
            log::error!("an I/O job panicked: its request completes without a result");
        }
    }
}

/// A device's handle.
struct Handle {
    completions: Arc<Completions>,
    device: DeviceId,
}
impl Outside for Handle {
    fn begin(&self, token: u64, due: GuestTime, job: Job) {
        self.completions.begin((self.device, token), due, GuestTime::ZERO, job);
    }
    fn begin_no_earlier(&self, token: u64, due: GuestTime, job: Job) {
        self.completions.begin((self.device, token), due, due, job);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;
    use trimotor_devices::post_port::PostPort;

    fn completions(counted: bool) -> (Arc<Completions>, MachineControl, DeviceId) {
        let control = MachineControl::default();
        let device = Registry::default().add("device", PostPort::new()).id();
        (Completions::new(counted, control.clone()), control, device)
    }
    fn job(byte: u8) -> Job {
        Box::new(move || vec![byte])
    }

    #[test]
    fn counted_requests_complete_when_they_are_due() {
        let (completions, _, device) = completions(true);
        let outside = completions.handle(device);
        let (let_go, wait) = channel::<()>();
        outside.begin(
            1,
            GuestTime(50),
            Box::new(move || {
                _ = wait.recv();
                vec![1]
            }),
        );
        outside.begin(2, GuestTime(70), job(2));
        outside.begin(3, GuestTime(50), job(3));
        assert_eq!(completions.next_due(), Some(GuestTime(50)));
        assert!(completions.take(GuestTime(49)).is_none());
        // The worker is done only after the machine began to wait, or before: the same.
        let_go.send(()).unwrap();
        let order: Vec<_> = std::iter::from_fn(|| completions.take(GuestTime(70))).collect();
        let order: Vec<_> = order.iter().map(|f| (f.request.1, f.result.as_slice())).collect();
        assert_eq!(order, [(1, [1].as_slice()), (3, &[3]), (2, &[2])]);
        assert_eq!(completions.next_due(), None);
    }

    #[test]
    fn with_the_hosts_clock_a_result_wakes_the_machine() {
        let (completions, control, device) = completions(false);
        completions.handle(device).begin(9, GuestTime(u64::MAX), job(7));
        while !control.wants_attention() {
            std::thread::yield_now();
        }
        let finished = completions.take(GuestTime::ZERO).unwrap();
        assert_eq!((finished.request, finished.result), ((device, 9), vec![7]));
        assert_eq!(completions.next_due(), None);
    }

    #[test]
    fn with_the_hosts_clock_a_result_is_held_where_its_device_says_so() {
        let (completions, control, device) = completions(false);
        let outside = completions.handle(device);
        outside.begin_no_earlier(1, GuestTime(70), job(1));
        outside.begin_no_earlier(2, GuestTime(50), job(2));
        completions.finish();
        // The machine is to look when the first is due.
        while !control.wants_attention() {
            std::thread::yield_now();
        }
        assert_eq!(completions.next_due(), Some(GuestTime(50)));
        assert!(completions.take(GuestTime(49)).is_none());
        outside.begin(3, GuestTime(u64::MAX), job(3));
        completions.finish();
        let take = |now| completions.take(GuestTime(now)).map(|finished| finished.result);
        assert_eq!([49, 49, 60, 60, 70].map(take), [Some(vec![3]), None, Some(vec![2]), None, Some(vec![1])]);
        assert_eq!(completions.next_due(), None);
        outside.begin_no_earlier(4, GuestTime(90), job(4));
        completions.finish();
        completions.forget();
        assert!(completions.take(GuestTime(90)).is_none() && completions.next_due().is_none());
    }

    #[test]
    fn the_end_waits_for_jobs_of_forgotten_requests_too() {
        let (completions, _, device) = completions(false);
        let done = Arc::new(AtomicBool::new(false));
        let (let_go, wait) = channel::<()>();
        let tell = done.clone();
        let slow = move || {
            _ = wait.recv();
            std::thread::yield_now();
            tell.store(true, Ordering::Relaxed);
            Vec::new()
        };
        completions.handle(device).begin(1, GuestTime::ZERO, Box::new(slow));
        completions.forget();
        drop(let_go);
        completions.finish();
        assert!(done.load(Ordering::Relaxed));
    }

    #[test]
    fn a_job_that_panics_completes_without_a_byte() {
        let (completions, _, device) = completions(true);
        completions.handle(device).begin(1, GuestTime(1), Box::new(|| panic!("on purpose")));
        assert_eq!(completions.take(GuestTime(1)).unwrap().result, []);
    }

    #[test]
    fn results_of_before_a_reset_are_dropped() {
        let (completions, _, device) = completions(true);
        let outside = completions.handle(device);
        let (let_go, wait) = channel::<()>();
        let old = move || {
            _ = wait.recv();
            vec![1]
        };
        outside.begin(1, GuestTime(5), Box::new(old));
        completions.forget();
        assert_eq!(completions.next_due(), None);
        outside.begin(1, GuestTime(6), job(2));
        let_go.send(()).unwrap();
        assert_eq!(completions.take(GuestTime(6)).unwrap().result, [2]);
    }
}
