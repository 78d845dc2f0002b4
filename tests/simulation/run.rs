//! One run: a storm, then fair weather in which everything has to arrive, then the check.

use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use castmq_actors::{Node, Parts, Surroundings};
use fastrand::Rng;
use turmoil::{Builder, Sim};

use super::machine::{EPOCH, Machine, folder};
use super::record::{Record, Wrong};
use super::shape::Shape;
use super::storm::Storm;
use super::trace::Trace;
use super::{consuming, operating, producing};

/// How long something may take in fair weather, all timeouts and pauses of clients and brokers included.
const PATIENCE: Duration = Duration::from_secs(90);

/// Calm before the storm.
const CALM: Duration = Duration::from_millis(500);

/// What came of a run.
pub struct Outcome {
    pub figures: String,
    pub wrong: Vec<Wrong>,
}

/// Runs a seed.
pub fn run(seed: u64, trace: &Trace) -> Outcome {
    // What clients and brokers choose.
    fastrand::seed(seed);
    let mut dice = Rng::with_seed(seed);
    let shape = Rc::new(Shape::of(&mut dice));
    let record = Record::new(trace.clone(), &shape);
    let mut sim = Builder::new()
        .rng_seed(seed)
        .epoch(UNIX_EPOCH + EPOCH)
        .simulation_duration(Duration::MAX)
        .tick_duration(shape.tick)
        .min_message_latency(Duration::ZERO)
        .max_message_latency(shape.latency)
        .tcp_capacity(4096)
        .enable_random_order()
        .build();
    trace.note(Duration::ZERO, format_args!("{shape:?}"));
    let machines = hosts(&mut sim, &shape, &record);
    let mut storm = Storm::new(&shape, &machines, &record, dice);
    let course = Course {
        sim: &mut sim,
        record: &record,
    };
    let result = course.go(&shape, &mut storm);
    let faults = storm.faults;
    let time = sim.elapsed();
    let (summary, mut wrong) = record.lock().check(faults == 0);
    if let Err(stuck) = result {
        wrong = vec![Wrong::Stuck(stuck)];
    }
    let figures = format!("{faults} faults in {:.1} s, {summary}", time.as_secs_f64());
    trace.note(time, format_args!("{figures}"));
    Outcome { figures, wrong }
}

fn hosts(sim: &mut Sim<'_>, shape: &Rc<Shape>, record: &Record) -> Vec<Rc<Machine>> {
    for name in &shape.name_servers {
        let folder = Rc::new(folder());
        let settings = shape.name_server_settings(folder.path());
        sim.host(&**name, move || {
            let (settings, folder) = (settings.clone(), folder.clone());
            async move {
                let surroundings = Surroundings::default().one_thread();
                let node = Node::start_in(surroundings, &settings, Parts::NameServer).await?;
                let failure = node.failed().await;
                drop(folder);
                Err(failure.to_string().into())
            }
        });
    }
    let mut machines = Vec::new();
    for seat in shape.seats() {
        let address = sim.lookup(&*seat.host).to_string();
        let machine = Machine::new(shape, &seat, address, record);
        machines.push(machine.clone());
        sim.host(&*seat.host, move || machine.clone().live());
    }
    let lanes = shape.places().count();
    record.lock().lanes = lanes * shape.producers.len();
    for (number, name) in shape.producers.iter().enumerate() {
        let first = (number * lanes) as u32;
        let (shape, record, own) = (shape.clone(), record.clone(), name.clone());
        sim.host(&**name, move || {
            producing::produce(shape.clone(), record.clone(), own.clone(), first)
        });
    }
    for name in &shape.consumers {
        let (shape, record, own) = (shape.clone(), record.clone(), name.clone());
        sim.host(&**name, move || {
            consuming::consume(shape.clone(), record.clone(), own.clone())
        });
    }
    machines
}

struct Course<'s, 'a> {
    sim: &'s mut Sim<'a>,
    record: &'s Record,
}

impl Course<'_, '_> {
    fn go(mut self, shape: &Rc<Shape>, storm: &mut Storm<'_>) -> Result<(), String> {
        let operating = operating::operate(shape.clone(), self.record.clone());
        self.sim.client("operator", operating);
        self.until("the topic is not there", |record| record.lock().is_ready)?;
        // A master that has never stored a message cannot follow another.
        self.until("nothing is sent", |record| {
            shape
                .places()
                .all(|place| record.lock().begun.contains(&place))
        })?;
        let begin = self.sim.elapsed() + CALM;
        let end = begin + shape.storm;
        while self.sim.elapsed() < end {
            if self.sim.elapsed() >= begin {
                storm.blow(self.sim);
            }
            self.step()?;
        }
        storm.calm(self.sim);
        self.record.lock().is_over = true;
        self.until("producers have not ended", |record| {
            record.lock().lanes == 0
        })?;
        self.until("acknowledged messages were not handled", |record| {
            record.lock().unhandled().0 == 0
        })?;
        let looking = operating::look(shape.clone(), self.record.clone());
        self.sim.client("inspector", looking);
        self.until("not all is read", |record| record.lock().stored.is_some())?;
        self.until("stored messages were not handled", |record| {
            let inner = record.lock();
            let stored = inner.stored.as_ref();
            stored.is_some_and(|stored| inner.is_all_handled(stored))
        })
    }

    fn until(&mut self, otherwise: &str, is_done: impl Fn(&Record) -> bool) -> Result<(), String> {
        let end = self.sim.elapsed() + PATIENCE;
        while !is_done(self.record) {
            self.step()?;
            if self.sim.elapsed() > end {
                let inner = self.record.lock();
                let (left, first) = inner.unhandled();
                let lanes = inner.lanes;
                return Err(format!(
                    "{otherwise}: {lanes} lanes send, {left} messages are not handled, the first {first:?}"
                ));
            }
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), String> {
        let stepped = self.sim.step();
        stepped
            .map(drop)
            .map_err(|error| format!("a host failed: {error}"))
    }
}
