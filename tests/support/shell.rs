//! The real binary as it is used from a shell.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::process::Process;

/// Small files, and nothing acknowledged that is not on the disk.
pub const SMALL: [(&str, &str); 5] = [
    ("store.commit_log_segment_bytes", "1048576"),
    ("store.index_hash_slots", "100"),
    ("store.index_max_entries", "1000"),
    ("store.flush", "sync"),
    ("limits.max_message_bytes", "65536"),
];

/// How often something that others have to do first is tried.
pub const ATTEMPTS: usize = 500;

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub error: String,
}

impl Ran {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Sees to it that it did what it was asked to.
    pub fn well(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// Sees to it that it failed and said why, in this way.
    pub fn fails(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.error.starts_with("castmq: "), "{self:?}");
        for part in parts {
            assert!(self.error.contains(part), "{part:?} is missing in {self:?}");
        }
    }
}

pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_castmq"));
    command.args(args).env_remove("NAMESRV_ADDR");
    command
}

/// Waits for the line with which a server says that it is ready.
pub fn ready_line(server: &mut Child) -> String {
    let mut line = String::new();
    let out = server.stdout.take().expect("its output");
    BufReader::new(out).read_line(&mut line).expect("a line");
    assert!(line.contains("ready"), "{line:?}");
    line
}

pub fn run_with_input(args: &[&str], input: &str) -> Ran {
    let mut child = command(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // What does not read its input may have ended before it got it.
    let _ = child
        .stdin
        .take()
        .expect("its input")
        .write_all(input.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("text"),
        error: String::from_utf8(output.stderr).expect("text"),
    }
}

pub fn run(args: &[&str]) -> Ran {
    run_with_input(args, "")
}

/// Name server and broker of one process, and the commands that ask them.
pub struct Broker {
    pub process: Process,
    pub data: PathBuf,
    _folder: tempfile::TempDir,
}

impl Broker {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        let mut broker = Self {
            process: Process::spawn(&data, &SMALL),
            data,
            _folder: folder,
        };
        broker.ready();
        broker
    }

    pub fn ready(&mut self) {
        self.process.ready();
        until_registered(&self.process.name_server, 1);
    }

    /// Starts it again after it ended.
    pub fn restart(&mut self) {
        self.process = Process::spawn(&self.data, &SMALL);
        self.ready();
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        self.run_with_input(args, "")
    }

    pub fn run_with_input(&self, args: &[&str], input: &str) -> Ran {
        let mut all = args.to_vec();
        all.extend(["-n", &self.process.name_server]);
        run_with_input(&all, input)
    }

    pub fn produce(&self, topic: &str, count: usize) {
        let lines: String = (0..count).map(|n| format!("message {n:03}\n")).collect();
        self.run_with_input(&["produce", topic], &lines).well();
    }

    /// Name servers hear of a topic a moment later.
    pub fn until_listed(&self, topic: &str) {
        let is_listed = || {
            let listed = self.run(&["admin", "topic", "list"]).well();
            listed.out.contains(topic)
        };
        assert!((0..ATTEMPTS).any(|_| is_listed()), "{topic} is not listed");
    }

    pub fn stop(&self) -> Ran {
        run(&["stop", "--data", text(&self.data)])
    }

    pub fn store(&self, args: &[&str]) -> Ran {
        let mut all = vec!["store", args[0], text(&self.data)];
        all.extend(&args[1..]);
        run(&all)
    }
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

/// Brokers register once they are ready.
pub fn until_registered(name_server: &str, count: usize) {
    for _ in 0..ATTEMPTS {
        let listed = run(&["admin", "cluster", "list", "--json", "-n", name_server]);
        if listed.code == Some(0)
            && listed
                .json()
                .as_array()
                .is_some_and(|all| all.len() == count)
        {
            return;
        }
    }
    panic!("{count} brokers do not register with {name_server}");
}

/// An address at which nobody listens.
pub fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").to_string()
}

/// Any other server, killed when it is dropped.
pub struct Server(Child);

impl Server {
    /// Returns it with the line that says that it is ready.
    pub fn start(args: &[&str], settings: &[(&str, &str)]) -> (Self, String) {
        Self::start_in(args, settings, &[])
    }

    /// The same, with these variables, too.
    pub fn start_in(
        args: &[&str],
        settings: &[(&str, &str)],
        environment: &[(&str, &str)],
    ) -> (Self, String) {
        let mut command = command(args);
        for (key, value) in settings {
            let variable = key.to_uppercase().replace('.', "__");
            command.env(format!("CASTMQ_{variable}"), value);
        }
        command.envs(environment.iter().copied());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let line = ready_line(&mut child);
        (Self(child), line)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
