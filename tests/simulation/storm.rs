//! What goes wrong, and when it is mended.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use castmq_config::Flush;
use fastrand::Rng;
use turmoil::Sim;

use super::machine::{Ending, Machine};
use super::record::Record;
use super::shape::{Shape, Slaves};

/// What may happen.
#[derive(Debug, Clone)]
enum Fault {
    /// Nothing that one of two hosts sends reaches the other, and what was on its way is gone.
    Cut(Pair),
    /// Nothing that the first sends reaches the second.
    OneWay(Pair),
    /// What two hosts send each other arrives when this is over.
    Held(Pair),
    /// It arrives late.
    Slow(Pair),
    /// Now and then all that is on its way between them is lost.
    Lossy(Pair),
    /// A broker's process ends.
    Broker(usize, Ending),
    /// A name server's or a consumer's process is killed.
    Process(String),
    /// The operator makes the slave of a set its master, and the master of before is killed, or not.
    Promotion { set: String, killed: Option<usize> },
}

type Pair = (String, String);

/// See the module.
pub struct Storm<'a> {
    dice: Rng,
    shape: &'a Shape,
    machines: &'a [Rc<Machine>],
    record: Record,
    next: Duration,
    /// What has gone wrong and is not mended, by the time when it will be.
    present: BTreeMap<(Duration, u32), Fault>,
    /// Pairs and hosts of which something is wrong: one thing at a time.
    troubled: BTreeSet<String>,
    pub faults: u32,
}

impl<'a> Storm<'a> {
    pub fn new(shape: &'a Shape, machines: &'a [Rc<Machine>], record: &Record, dice: Rng) -> Self {
        Self {
            dice,
            shape,
            machines,
            record: record.clone(),
            next: Duration::ZERO,
            present: BTreeMap::new(),
            troubled: BTreeSet::new(),
            faults: 0,
        }
    }

    /// Whatever is due now.
    pub fn blow(&mut self, sim: &mut Sim<'_>) {
        let now = sim.elapsed();
        while let Some(entry) = self.present.first_entry()
            && entry.key().0 <= now
        {
            let fault = entry.remove();
            self.end(sim, fault);
        }
        if now >= self.next {
            self.next = now + Duration::from_millis(self.dice.u64(20..1_200));
            let fault = self.any();
            let subjects = fault.subjects();
            if subjects
                .iter()
                .all(|subject| !self.troubled.contains(subject))
            {
                self.troubled.extend(subjects);
                self.begin(sim, fault);
            }
        }
    }

    /// It is over: everything is mended.
    pub fn calm(&mut self, sim: &mut Sim<'_>) {
        for (_, fault) in std::mem::take(&mut self.present) {
            self.end(sim, fault);
        }
    }

    fn any(&mut self) -> Fault {
        match self.dice.u8(..14) {
            0 | 1 => Fault::Cut(self.pair()),
            2 => Fault::OneWay(self.pair()),
            3 | 4 => Fault::Held(self.pair()),
            5 => Fault::Slow(self.pair()),
            6 => Fault::Lossy(self.pair()),
            7..=9 => {
                let broker = self.dice.usize(..self.machines.len());
                Fault::Broker(broker, self.ending(broker))
            }
            12 | 13 if self.shape.has_promotions => self.promotion(),
            _ => {
                let processes = self.shape.name_servers.iter().chain(&self.shape.consumers);
                let one = self.dice.choose_multiple(processes, 1);
                Fault::Process(one[0].clone())
            }
        }
    }

    fn promotion(&mut self) -> Fault {
        let set = self.dice.usize(..self.shape.brokers.len());
        let set = self.shape.brokers[set].clone();
        let master = self.record.lock().masters[&set].clone();
        let master = self.machines.iter().position(|m| m.seat == master);
        let killed = master.filter(|_| self.dice.bool());
        Fault::Promotion { set, killed }
    }

    fn pair(&mut self) -> Pair {
        let mut hosts = self.shape.hosts();
        self.dice.shuffle(&mut hosts);
        (hosts.swap_remove(1), hosts.swap_remove(0))
    }

    /// Any that loses nothing of what was acknowledged.
    fn ending(&mut self, broker: usize) -> Ending {
        match self.dice.u8(..4) {
            0 => Ending::Stop,
            1 | 2 if self.may_lose_power(broker) => Ending::PowerCut,
            _ => Ending::Kill,
        }
    }

    /// A master that has lost what its slave has is not followed any more until an operator decides which of both logs is right, and
    /// a slave that has lost what it said it has is none to promote.
    fn may_lose_power(&self, broker: usize) -> bool {
        let is_kept = match self.shape.slaves {
            Slaves::None => true,
            Slaves::Behind | Slaves::InStep => {
                self.machines[broker].seat.id > 0 && !self.shape.has_promotions
            }
        };
        is_kept && self.shape.flush == Flush::Sync
    }

    fn begin(&mut self, sim: &mut Sim<'_>, fault: Fault) {
        self.faults += 1;
        let lasts = Duration::from_millis(self.dice.u64(50..3_000));
        let what = format_args!("{fault:?} for {} ms", lasts.as_millis());
        self.record.trace.note(sim.elapsed(), what);
        match &fault {
            Fault::Cut((one, other)) => sim.partition(&**one, &**other),
            Fault::OneWay((from, to)) => sim.partition_oneway(&**from, &**to),
            Fault::Held((one, other)) => sim.hold(&**one, &**other),
            Fault::Slow((one, other)) => {
                sim.set_link_max_message_latency(&**one, &**other, self.shape.latency * 20);
            }
            Fault::Lossy((one, other)) => sim.set_link_fail_rate(&**one, &**other, 0.02),
            Fault::Broker(broker, ending) => self.end_broker(sim, *broker, *ending),
            Fault::Process(process) => sim.crash(&**process),
            Fault::Promotion { set, killed } => {
                if let Some(master) = killed {
                    self.end_broker(sim, *master, Ending::Kill);
                }
                let record = &mut *self.record.lock();
                let seats = self.shape.seats().into_iter();
                let mut slaves = seats.filter(|seat| {
                    record
                        .masters
                        .get(set)
                        .is_some_and(|m| m != seat && m.broker == seat.broker)
                });
                record.promotions.extend(slaves.next());
            }
        }
        let due = sim.elapsed() + lasts;
        self.present.insert((due, self.faults), fault);
    }

    fn end(&mut self, sim: &mut Sim<'_>, fault: Fault) {
        self.record
            .trace
            .note(sim.elapsed(), format_args!("{fault:?} is over"));
        for subject in fault.subjects() {
            self.troubled.remove(&subject);
        }
        match &fault {
            Fault::Cut((one, other)) => sim.repair(&**one, &**other),
            Fault::OneWay((from, to)) => sim.repair_oneway(&**from, &**to),
            Fault::Held((one, other)) => sim.release(&**one, &**other),
            Fault::Slow((one, other)) => {
                sim.set_link_max_message_latency(&**one, &**other, self.shape.latency);
            }
            Fault::Lossy((one, other)) => {
                sim.set_link_fail_rate(&**one, &**other, 0.0);
                sim.repair(&**one, &**other);
            }
            Fault::Broker(broker, _) => {
                // It takes too long to stop.
                if sim.is_host_running(&*self.machines[*broker].seat.host) {
                    self.end_broker(sim, *broker, Ending::Kill);
                }
                sim.bounce(&*self.machines[*broker].seat.host);
            }
            Fault::Process(process) => sim.bounce(&**process),
            Fault::Promotion { killed, .. } => {
                if let Some(master) = killed {
                    sim.bounce(&*self.machines[*master].seat.host);
                }
            }
        }
    }

    fn end_broker(&mut self, sim: &mut Sim<'_>, broker: usize, ending: Ending) {
        let machine = &self.machines[broker];
        if ending == Ending::Stop {
            return machine.stop();
        }
        // A machine without power does not say that its connections end.
        let is_silent = ending == Ending::PowerCut && self.dice.bool();
        let others: Vec<_> = self
            .shape
            .hosts()
            .into_iter()
            .filter(|host| is_silent && !self.is_troubled(&machine.seat.host, host))
            .collect();
        let left = machine.left_by(ending, &mut self.dice);
        others
            .iter()
            .for_each(|host| sim.partition(&*machine.seat.host, &**host));
        sim.crash(&*machine.seat.host);
        others
            .iter()
            .for_each(|host| sim.repair(&*machine.seat.host, &**host));
        machine.bury(left);
    }

    /// Whether something is wrong between two hosts, or they are one.
    fn is_troubled(&self, one: &str, other: &str) -> bool {
        one == other || self.troubled.contains(&between(one, other))
    }
}

impl Fault {
    /// What is in trouble.
    fn subjects(&self) -> Vec<String> {
        match self {
            Self::Cut(pair)
            | Self::OneWay(pair)
            | Self::Held(pair)
            | Self::Slow(pair)
            | Self::Lossy(pair) => vec![between(&pair.0, &pair.1)],
            Self::Broker(broker, _) => vec![process(*broker)],
            Self::Process(process) => vec![process.clone()],
            Self::Promotion { set, killed } => {
                let killed = killed.iter().map(|broker| process(*broker));
                killed.chain([format!("set {set}")]).collect()
            }
        }
    }
}

fn process(broker: usize) -> String {
    format!("broker {broker}")
}

fn between(one: &str, other: &str) -> String {
    format!("{}, {}", one.min(other), one.max(other))
}
