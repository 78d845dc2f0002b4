//! `castmq`: a message broker in the RocketMQ tradition, as a cast of supervised actors in one binary.
//!
//! # Layout
//!
//! - [`command_line`]: what can be typed.
//! - [`mod@bench`]: measures a broker.
//! - [`settings`]: from flags, files and environment to settings.
//! - [`serve`]: runs name server and broker until a signal comes.
//! - [`pid_file`]: by which a running server is found.
//! - [`tools`]: what producers, consumers and operators do from a shell.
//! - [`memory`]: how much memory there is, and how little of it is kept unused.
//! - [`logging`]: where the log goes.

mod bench;
mod command_line;
mod logging;
mod memory;
mod open_files;
mod pid_file;
mod serve;
mod settings;
mod tools;

use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser;

use crate::command_line::{Command, CommandLine};
use crate::tools::ToolError;
use castmq_actors::Parts;

/// The exit code of a command that was not understood.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    memory::keep_little();
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) => return refuse(&error),
    };
    match line.command {
        None => end(serve::run(Parts::Standalone, &line.serve)),
        Some(Command::Broker(flags)) => end(serve::run(Parts::Broker, &flags)),
        Some(Command::Namesrv(flags)) => end(serve::run(Parts::NameServer, &flags)),
        Some(Command::Stop(flags)) => end_tool(tools::stop(&flags)),
        Some(Command::Produce(flags)) => end_tool(tools::produce(&flags)),
        Some(Command::Consume(flags)) => end_tool(tools::consume(&flags)),
        Some(Command::Admin(flags)) => end_tool(tools::admin(&flags)),
        Some(Command::Cluster { command }) => end_tool(tools::cluster(&command)),
        Some(Command::Store { command }) => end_tool(tools::store(&command)),
        Some(Command::Config { command }) => end_tool(tools::config(&command)),
        Some(Command::Bench { bench }) => end(bench::run(&bench)),
    }
}

/// Prints help where it was asked for, and what is wrong where it was not.
fn refuse(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Nothing is left to do when nobody reads it.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    complain(&text.trim_end());
    ExitCode::from(USAGE)
}

fn end_tool(result: Result<(), ToolError>) -> ExitCode {
    match result {
        Err(error) if error.is_quiet() => ExitCode::SUCCESS,
        result => end(result),
    }
}

fn end<E: Display>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Says what went wrong, if anybody reads it.
fn complain(what: &dyn Display) {
    let _ = writeln!(io::stderr(), "castmq: {what}");
}
