//! How requests are carried out, a part at a time, and given back.

use super::request::{Op, Phase, Request, Shared};
use super::{Blk, HEADER_BYTES, MOST_TOKEN, Status};
use crate::disk_work::{Follows, Outcome, RETRY_NS, Work, follows};
use crate::virtio::device::VirtioDevice;
use crate::virtio::io::Io;
use crate::virtio::queue::Chain;
use trimotor_bus::GuestTime;

impl Blk {
    /// A number that no request has.
    pub(super) fn token(&mut self) -> u64 {
        loop {
            let token = self.next_token;
            self.next_token = (token + 1) & MOST_TOKEN;
            if !self.under_way.contains_key(&token) && !self.draining.contains_key(&token) {
                return token;
            }
        }
    }
    /// Begins the next part of a request; `None` where its data cannot be read.
    pub(super) fn begin_part(
        &self,
        token: u64,
        request: &mut Request,
        io: &mut Io<'_>,
        now: GuestTime,
    ) -> Option<()> {
        if request.op == Op::Write {
            let mut data = vec![0; request.part() as usize];
            let from = HEADER_BYTES + request.done;
            io.read(request.chain.readable_segments(), from, &mut data)?;
            request.set_data(data);
        }
        request.through = !self.may_keep_back(io.features());
        self.send(token, request, now);
        Some(())
    }
    /// Gives a part to a worker.
    pub(super) fn send(&self, token: u64, request: &mut Request, now: GuestTime) {
        let work = self.work(request);
        let due = self.drive.due(work, request.data(), now);
        request.phase = Phase::Working { due_ns: due.ns() };
        self.give(token, due, work, request.share());
    }
    /// Gives it to a worker, which completes at `due`.
    pub(super) fn give(&self, token: u64, due: GuestTime, work: Work, data: Shared) {
        self.drive.give(&self.outside, token, due, work.job(self.drive.medium(), data));
    }
    pub(super) fn work(&self, request: &Request) -> Work {
        let offset = request.offset + request.done;
        match request.op {
            Op::Read => Work::Read { offset, bytes: request.part() as u32 },
            Op::Write => Work::Write { offset, through: request.through },
            Op::Flush => Work::Flush,
            Op::Discard => Work::Discard,
            Op::Zero => Work::Zero { unmap: self.drive.config().discard },
        }
    }
    /// A part is done.
    pub(super) fn part_done(
        &mut self,
        token: u64,
        mut request: Request,
        read: &[u8],
        io: &mut Io<'_>,
        now: GuestTime,
    ) -> Option<()> {
        self.told = false;
        let part = request.part();
        if request.op == Op::Read {
            // A worker's answer that is too short can only be one of a failure that is ignored.
            let zeroes;
            let read = if read.len() as u64 == part {
                read
            } else {
                zeroes = vec![0; part as usize];
                &zeroes[..]
            };
            io.write(request.chain.writable_segments(), request.done, read)?;
        }
        request.done += part;
        if matches!(request.op, Op::Read | Op::Write) && request.done < request.bytes {
            self.begin_part(token, &mut request, io, now)?;
            self.under_way.insert(token, request);
            return Some(());
        }
        let written = if request.op == Op::Read { request.bytes } else { 0 };
        self.end(request.queue.into(), request.chain, Status::Ok, written, io)
    }
    pub(super) fn failed(
        &mut self,
        token: u64,
        mut request: Request,
        failure: &Outcome<'_>,
        io: &mut Io<'_>,
        now: GuestTime,
    ) -> Option<()> {
        let work = self.work(&request);
        match follows(self.drive.config(), work, failure, &mut self.told, &self.requests) {
            Follows::Again => {
                request.phase = Phase::Stopped { retry_ns: (now + RETRY_NS).ns() };
                self.under_way.insert(token, request);
                Some(())
            }
            Follows::Success => self.part_done(token, request, &[], io, now),
            Follows::Error => {
                let written = if request.op == Op::Read { request.done } else { 0 };
                self.end(request.queue.into(), request.chain, Status::Failed, written, io)
            }
        }
    }
    /// Gives a request back, of whose data so many bytes were written.
    pub(super) fn end(
        &mut self,
        queue: usize,
        chain: Chain,
        status: Status,
        written: u64,
        io: &mut Io<'_>,
    ) -> Option<()> {
        let last = chain.writable() - 1;
        io.write(chain.writable_segments(), last, &[status as u8])?;
        // The status counts where nothing is missing in front of it.
        let written = if written == last { last + 1 } else { written };
        io.push(queue, chain, written);
        Some(())
    }
    /// Looks at the queues that waited for others' requests.
    pub(super) fn go_on(&mut self, io: &mut Io<'_>, now: GuestTime) {
        if self.waiting != 0 && self.has_room() {
            let waiting = std::mem::take(&mut self.waiting);
            for queue in (0..usize::from(self.queues)).filter(|queue| waiting >> queue & 1 != 0) {
                self.look(queue, io, now);
            }
        }
    }
    /// Forgets requests; workers' answers for them are waited for.
    pub(super) fn forget(&mut self, which: impl Fn(&Request) -> bool) {
        let draining = &mut self.draining;
        self.under_way.retain(|token, request| {
            let stays = !which(request);
            if let (false, Phase::Working { due_ns }) = (stays, request.phase) {
                draining.insert(*token, due_ns);
            }
            stays
        });
    }
}
