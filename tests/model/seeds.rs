//! Which runs there are, and what is wrong with them.

use std::fmt;

use crate::support::number;

/// Operations of one run.
pub fn operations() -> u64 {
    number("CASTMQ_OPERATIONS", 10_000)
}

/// Runs a model with new seeds, `CASTMQ_RUNS` of them, or only with `CASTMQ_SEED`.
pub fn each(model: &str, run: impl Fn(u64) -> Findings) {
    let seeds: Vec<u64> = match std::env::var("CASTMQ_SEED") {
        Ok(seed) => vec![seed.parse().expect("CASTMQ_SEED is a number")],
        Err(_) => {
            let new = 0..number("CASTMQ_RUNS", 2);
            new.map(|_| fastrand::u64(..)).collect()
        }
    };
    for seed in seeds {
        println!("{model}: CASTMQ_SEED={seed}");
        let findings = run(seed);
        println!("{model}: {}", findings.figures);
        let some: Vec<_> = findings.violations.iter().take(10).collect();
        assert!(
            some.is_empty(),
            "{model}, CASTMQ_SEED={seed}: {} violations, the first: {some:#?}",
            findings.violations.len()
        );
    }
}

/// What must not happen to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// It was acknowledged, and is not there.
    Lost,
    /// It is there more often than what happened allows.
    Duplicated { times: usize, allowed: usize },
    /// It came before its time.
    Early { ms: i64 },
    /// It came long after its time.
    Late { ms: i64 },
    /// It came before one that has to come first.
    Reordered { before: u64 },
    /// It came although it was cancelled, rolled back or acknowledged.
    Undead,
    /// It came with a count of attempts that it cannot have.
    Attempts { expected: String, found: u32 },
    /// Nobody sent it, or not there.
    Phantom,
    /// Something else, which is said.
    Wrong(String),
}

/// What a run found.
#[derive(Debug, Default)]
pub struct Findings {
    /// What was done, for whoever reads the output.
    pub figures: String,
    pub violations: Vec<(u64, Violation)>,
}

impl Findings {
    /// Something is wrong with a message.
    pub fn add(&mut self, id: u64, violation: Violation) {
        self.violations.push((id, violation));
    }

    /// Adds what is wrong unless a condition holds.
    pub fn check(&mut self, holds: bool, id: u64, violation: Violation) {
        if !holds {
            self.add(id, violation);
        }
    }

    /// Says what was done.
    pub fn said(mut self, figures: impl fmt::Display) -> Self {
        self.figures = figures.to_string();
        self
    }
}
