//! `bench produce`: acknowledged sends, alone and beside what they are compared with.

use serde::Serialize;

use super::BenchError;
use super::consume::{Backlog, Follower, From};
use super::dialect::Dialect;
use super::disk::{GroupCommit, GroupCommitRound};
use super::flags::{Beside, Load, ProduceFlags};
use super::load::Generator;
use super::peer::{Amount, Peer};
use super::report::{self, Round, median, median_ratio};

/// Records of the backlog that a cold consumer reads: more than it gets through in a round.
const COLD_BYTES: u64 = 4 << 30;

/// How much a consumer stands back that reads old messages beside producers, as `nice` counts: it stands for one on
/// another machine.
const STANDS_BACK: i32 = 10;

#[derive(Serialize)]
struct Outcome<'a> {
    #[serde(flatten)]
    broker: Round,
    echo: Option<Round>,
    ratio_to_echo: Option<f64>,
    other_queues: Option<Round>,
    ratio_to_other_queues: Option<f64>,
    native: Option<Round>,
    ratio_to_native: Option<f64>,
    disk: Option<GroupCommitRound>,
    ratio_to_disk: Option<f64>,
    beside: Option<BesideOutcome>,
    settings: Settings<'a>,
}

#[derive(Serialize)]
struct BesideOutcome {
    consumer: Beside,
    #[serde(flatten)]
    round: Round,
    consumed: u64,
    rate_ratio: Option<f64>,
    p99_ratio: Option<f64>,
}

#[derive(Serialize)]
struct Settings<'a> {
    #[serde(flatten)]
    load: &'a Load,
    flush: Option<&'static str>,
}

/// Measures and prints.
pub(crate) async fn run(flags: &ProduceFlags) -> Result<(), BenchError> {
    let load = &flags.load.settled()?;
    let amount = match (load.rate, flags.beside) {
        (Some(_), None | Some(Beside::Consumer)) => Amount::Megabytes,
        // What a cold consumer reads takes memory, too.
        (None, _) | (_, Some(Beside::ColdConsumer)) => Amount::Gigabytes,
    };
    if flags.echo && load.wire != Dialect::Native {
        return Err(BenchError::EchoIsNative);
    }
    let broker = Peer::of(&flags.target, amount).await?;
    let echo = match flags.echo {
        true => Some(Peer::echo().await?),
        false => None,
    };
    let cold = match flags.beside {
        Some(Beside::ColdConsumer) => {
            broker.folder().ok_or(BenchError::NeedsEmbedded)?;
            let messages = COLD_BYTES / load.size.max(1) as u64;
            Some(Backlog::produce(&broker, "bench-cold", load.size, messages, 4).await?)
        }
        _ => None,
    };
    let generator = Generator::prepare(load, &broker, "bench").await?;
    let other_load = flags.against_queues.map(|queues| Load {
        queues: Some(queues),
        ..load.clone()
    });
    let other = match &other_load {
        Some(load) => Some(Generator::prepare(load, &broker, "bench-other").await?),
        None => None,
    };
    let native_load = flags.against_native.then(|| Load {
        wire: Dialect::Native,
        ..load.clone()
    });
    let native = match &native_load {
        Some(load) => Some(Generator::prepare(load, &broker, "bench").await?),
        None => None,
    };
    let in_flight = (load.connections * load.window) as u64;
    let disk = flags.disk.then_some(GroupCommit {
        size: load.size,
        in_flight,
        duration: load.duration,
    });
    let (mut alone, mut echoed, mut committed, mut beside) = (vec![], vec![], vec![], vec![]);
    let (mut other_queues, mut natively) = (vec![], vec![]);
    let mut consumed = 0;
    for _ in 0..load.rounds {
        if let Some(echo) = &echo {
            let generator = Generator::prepare(load, echo, "bench").await?;
            echoed.push(generator.round(echo, "echo").await?);
        }
        if let Some(disk) = disk {
            committed.push(disk.round().await?);
        }
        broker.spare_sent().await?;
        alone.push(generator.round(&broker, "broker").await?);
        if let Some(other) = &other {
            other_queues.push(other.round(&broker, "other queues").await?);
        }
        if let Some(native) = &native {
            natively.push(native.round(&broker, "broker on the native wire").await?);
        }
        if flags.beside.is_some() {
            let follower = match &cold {
                Some(backlog) => {
                    broker.chill_log()?;
                    let topics = backlog.topics();
                    Follower::start(&broker, topics, From::FirstMessage, STANDS_BACK).await?
                }
                None => Follower::start(&broker, topics(load), From::End, 0).await?,
            };
            beside.push(generator.round(&broker, "broker beside a consumer").await?);
            consumed = follower.stop()?;
        }
    }
    let Some(middle) = median(&alone) else {
        return Ok(());
    };
    let rate = |round: &Round| round.messages_per_second;
    let p99 = |round: &Round| round.latency_us.map_or(0.0, |latency| latency.p99);
    let commit_rounds: Vec<Round> = committed.iter().map(|round| round.round.clone()).collect();
    let outcome = Outcome {
        broker: middle,
        echo: median(&echoed),
        ratio_to_echo: median_ratio(&alone, &echoed, rate),
        other_queues: median(&other_queues),
        ratio_to_other_queues: median_ratio(&alone, &other_queues, rate),
        native: median(&natively),
        ratio_to_native: median_ratio(&alone, &natively, rate),
        ratio_to_disk: median_ratio(&alone, &commit_rounds, rate),
        disk: GroupCommitRound::median(&committed),
        beside: flags
            .beside
            .zip(median(&beside))
            .map(|(consumer, round)| BesideOutcome {
                consumer,
                round,
                consumed,
                rate_ratio: median_ratio(&beside, &alone, rate),
                p99_ratio: median_ratio(&beside, &alone, p99),
            }),
        settings: Settings {
            load,
            flush: flags.target.flush(),
        },
    };
    report::print(flags.target.json, &outcome, lines(&outcome))
}

fn topics(load: &Load) -> Vec<String> {
    (0..load.topics)
        .map(|number| format!("bench-{number}"))
        .collect()
}

fn lines(outcome: &Outcome<'_>) -> Vec<String> {
    let mut lines = vec![report::line("broker", &outcome.broker)];
    if let Some(echo) = &outcome.echo {
        lines.push(report::line("echo", echo));
    }
    if let Some(other) = &outcome.other_queues {
        lines.push(report::line("other queues", other));
    }
    if let Some(native) = &outcome.native {
        lines.push(report::line("broker on the native wire", native));
    }
    if let Some(disk) = &outcome.disk {
        lines.push(report::line("raw group commit", &disk.round));
    }
    if let Some(beside) = &outcome.beside {
        lines.push(report::line("broker beside a consumer", &beside.round));
        lines.push(format!(
            "the consumer got {} messages in the last round",
            beside.consumed
        ));
    }
    let ratios = [
        ("rate as a ratio to echo", outcome.ratio_to_echo),
        (
            "rate as a ratio to other queues",
            outcome.ratio_to_other_queues,
        ),
        (
            "rate as a ratio to the native wire",
            outcome.ratio_to_native,
        ),
        ("rate as a ratio to raw group commit", outcome.ratio_to_disk),
        (
            "rate beside a consumer as a ratio to alone",
            outcome.beside.as_ref().and_then(|beside| beside.rate_ratio),
        ),
        (
            "p99 beside a consumer as a ratio to alone",
            outcome.beside.as_ref().and_then(|beside| beside.p99_ratio),
        ),
    ];
    let ratios = ratios
        .into_iter()
        .filter_map(|(name, ratio)| Some(format!("{name}: {:.3}", ratio?)));
    lines.extend(ratios);
    lines
}
