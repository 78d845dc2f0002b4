//! The real binary, to be killed.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use castmq_client::Client;

/// So that a test does not reserve gigabytes.
pub const SMALL_FILES: [(&str, &str); 4] = [
    ("store.commit_log_segment_bytes", "8388608"),
    ("store.index_hash_slots", "1000"),
    ("store.index_max_entries", "10000"),
    ("limits.max_message_bytes", "1048576"),
];

/// A running process of name server and broker, killed when it is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    pub broker: String,
    pub name_server: String,
}

impl Process {
    /// Starts it on a folder, with ports of its own. It is not ready yet.
    pub fn spawn(data: &Path, settings: &[(&str, &str)]) -> Self {
        let log = data.with_extension("log");
        let file = File::options().create(true).append(true).open(&log);
        // Another build of the binary can be tested, one that is to be shipped for instance.
        let binary = std::env::var_os("CASTMQ_TEST_BINARY");
        let binary = binary.unwrap_or_else(|| env!("CARGO_BIN_EXE_castmq").into());
        let mut command = Command::new(binary);
        command
            .arg("--data")
            .arg(data)
            .args(["--listen", "127.0.0.1:0", "--namesrv-listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file.expect("a file for the log"));
        // However full the machine's disk is by other things.
        let full = [
            ("retention.force_clean_enabled", "false"),
            ("retention.disk_refuse_writes_percent", "95"),
        ];
        for (key, value) in full.iter().chain(settings) {
            let variable = key.to_uppercase().replace('.', "__");
            command.env(format!("CASTMQ_{variable}"), value);
        }
        Self {
            child: command.spawn().expect("the binary starts"),
            log,
            broker: String::new(),
            name_server: String::new(),
        }
    }

    /// Starts it on a folder with small files and these settings. It is not ready yet.
    pub fn spawn_small(data: &Path, settings: &[(&str, &str)]) -> Self {
        Self::spawn(data, &[&SMALL_FILES, settings].concat())
    }

    /// The same, and waits until it is ready.
    pub fn start_small(data: &Path, settings: &[(&str, &str)]) -> Self {
        let mut process = Self::spawn_small(data, settings);
        process.ready();
        process
    }

    /// Waits until it is ready.
    pub fn ready(&mut self) {
        let out = self.child.stdout.take().expect("its output");
        let mut line = String::new();
        let read = BufReader::new(out).read_line(&mut line);
        read.expect("its output can be read");
        match (
            address_of(&line, "name server"),
            address_of(&line, "broker"),
        ) {
            (Some(name_server), Some(broker)) => {
                self.name_server = name_server;
                self.broker = broker;
            }
            _ => panic!("not ready: {line:?}, {}", self.log()),
        }
    }

    /// A client of it.
    pub async fn client(&self) -> Client {
        let client = Client::connect(&self.name_server).await;
        client.expect("the client connects")
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it and those before it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Lines of its log that tell of a panic.
    pub fn panics(&self) -> Vec<String> {
        let log = self.log();
        let tells =
            |line: &&str| line.to_lowercase().contains("panic") || line.contains("actor failed");
        let lines = log.lines().filter(tells);
        lines.map(str::to_owned).collect()
    }

    /// Ends it at once, as nothing can prevent.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in what a process says when it is ready.
pub fn address_of(line: &str, what: &str) -> Option<String> {
    let (_, rest) = line.split_once(&format!("{what} "))?;
    rest.split([',', ' ']).next().map(str::to_owned)
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}
