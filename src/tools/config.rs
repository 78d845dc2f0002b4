//! `castmq config`: the settings a server would run with, and whether a file can be used.

use std::path::{Path, PathBuf};

use castmq_actors::Parts;
use castmq_config::{Loaded, Row};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::ToolError;
use super::print::{self, Table, left};
use crate::command_line::ServeFlags;
use crate::settings;

/// What is done with settings.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the settings in force, and where each comes from.
    Show(ShowFlags),
    /// Say what is wrong with a file, and what to look at.
    Check {
        /// The file: TOML, or RocketMQ's .properties.
        file: PathBuf,
        /// What the file is for.
        #[arg(long = "for", value_enum, default_value_t = Kind::Standalone)]
        kind: Kind,
    },
}

/// Whose settings.
#[derive(Debug, Clone, Args)]
pub(crate) struct ShowFlags {
    #[command(flatten)]
    serve: ServeFlags,
    /// What they are for.
    #[arg(long = "for", value_enum, default_value_t = Kind::Standalone)]
    kind: Kind,
    /// Only what somebody gave: no defaults.
    #[arg(long)]
    given: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What a process is to be; RocketMQ's files name some keys alike for both servers.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Kind {
    Standalone,
    Broker,
    Namesrv,
}

impl From<Kind> for Parts {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Standalone => Self::Standalone,
            Kind::Broker => Self::Broker,
            Kind::Namesrv => Self::NameServer,
        }
    }
}

pub(super) fn run(command: &ConfigCommand) -> Result<(), ToolError> {
    match command {
        ConfigCommand::Show(flags) => show(flags),
        ConfigCommand::Check { file, kind } => check(file, *kind),
    }
}

fn show(flags: &ShowFlags) -> Result<(), ToolError> {
    let loaded = settings::load(flags.kind.into(), &flags.serve)?;
    let is_default = |row: &Row| row.origin == castmq_config::Origin::Default;
    let rows = loaded.rows().filter(|row| !flags.given || !is_default(row));
    let rows: Vec<_> = rows.collect();
    let described: Vec<_> = rows.iter().map(describe).collect();
    print::either(flags.json, &described, || {
        let mut table = Table::new([left("KEY"), left("VALUE"), left("FROM")]);
        for row in rows {
            table.row([row.key.to_owned(), row.value, row.origin.to_string()]);
        }
        table.to_string()
    })?;
    warn(&loaded);
    Ok(())
}

fn describe(row: &Row) -> Value {
    json!({ "key": row.key, "value": row.value, "from": row.origin.to_string() })
}

/// Warnings go beside the output, so that they do not get into what is made of it.
fn warn(loaded: &Loaded) {
    for warning in &loaded.warnings {
        super::remark(&format!("warning: {warning}"));
    }
}

fn check(file: &Path, kind: Kind) -> Result<(), ToolError> {
    let serve = ServeFlags {
        config: Some(file.to_owned()),
        ..ServeFlags::default()
    };
    let loaded = settings::load(kind.into(), &serve)?;
    warn(&loaded);
    for unused in &loaded.without_effect {
        super::remark(&format!("note: {unused}"));
    }
    let given = loaded.origins.len();
    let counted = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    };
    Ok(print::text(format!(
        "{} can be used: {}, {}, {} without effect",
        file.display(),
        counted(given, "setting"),
        counted(loaded.warnings.len(), "warning"),
        loaded.without_effect.len(),
    ))?)
}
