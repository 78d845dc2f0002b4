//! `castmq`: a message broker in the RocketMQ tradition, as a cast of supervised actors in one binary.
//!
//! # Layout
//!
//! - [`command_line`]: what can be typed.
//! - [`bench`]: measures a broker.
//! - [`settings`]: from flags, files and environment to settings.
//! - [`serve`]: runs name server and broker until a signal comes.
//! - [`tools`]: producing and consuming from a shell.
//! - [`logging`]: where the log goes.

mod bench;
mod command_line;
mod logging;
mod serve;
mod settings;
mod tools;

use std::process::ExitCode;

use clap::Parser;

use crate::command_line::{Command, CommandLine};
use castmq_actors::Parts;

fn main() -> ExitCode {
    let line = CommandLine::parse();
    let result = match line.command {
        None => serve::run(Parts::Standalone, &line.serve),
        Some(Command::Broker(flags)) => serve::run(Parts::Broker, &flags),
        Some(Command::Namesrv(flags)) => serve::run(Parts::NameServer, &flags),
        Some(Command::Produce(flags)) => return end(tools::produce(&flags)),
        Some(Command::Consume(flags)) => return end(tools::consume(&flags)),
        Some(Command::Bench { bench }) => return end(bench::run(&bench)),
    };
    end(result)
}

fn end<E: std::fmt::Display>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("castmq: {error}");
            ExitCode::FAILURE
        }
    }
}
