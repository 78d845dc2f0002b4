//! A cluster of real processes, as `castmq cluster` runs it.

use std::fs;
use std::path::{Path, PathBuf};

use castmq_client::Client;
use serde_json::Value;
use tempfile::TempDir;

use super::process::SMALL_FILES;
use super::shell::{Ran, run, text};

/// How long members may take to stop at the end of a test, in seconds, before they are killed.
const END_WITHIN_S: &str = "20";

/// However full the machine's disk is by other things.
const ON_ANY_DISK: [(&str, &str); 2] = [
    ("retention.force_clean_enabled", "false"),
    ("retention.disk_refuse_writes_percent", "95"),
];

/// A cluster in a folder of its own, stopped and removed when it is dropped.
///
/// Members have the names that `castmq cluster` gives them: `broker-a`, `broker-a-s`, `namesrv-1`.
#[derive(Debug)]
pub struct Cluster {
    dir: PathBuf,
    _folder: TempDir,
}

impl Cluster {
    /// Makes one with small files and these settings, and waits until all brokers are registered.
    pub fn up(masters: u8, slaves: u8, name_servers: u8, settings: &[(&str, &str)]) -> Self {
        let (cluster, ran) = Self::up_with(masters, slaves, name_servers, settings, &[]);
        ran.well();
        cluster
    }

    /// The same, whatever comes of it, with further flags.
    pub fn up_with(
        masters: u8,
        slaves: u8,
        name_servers: u8,
        settings: &[(&str, &str)],
        flags: &[&str],
    ) -> (Self, Ran) {
        let folder = tempfile::tempdir().expect("a folder");
        let cluster = Self {
            dir: folder.path().join("cluster"),
            _folder: folder,
        };
        let all = SMALL_FILES.iter().chain(&ON_ANY_DISK).chain(settings);
        let all = all.flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]);
        let numbers = [
            ("--masters", masters),
            ("--slaves", slaves),
            ("--namesrv", name_servers),
        ];
        let numbers = numbers
            .iter()
            .flat_map(|(flag, count)| [(*flag).to_owned(), count.to_string()]);
        let args: Vec<_> = numbers.chain(all).collect();
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let ran = cluster.run("up", &[&args[..], flags].concat());
        (cluster, ran)
    }

    /// `castmq cluster COMMAND` on it.
    pub fn run(&self, command: &str, args: &[&str]) -> Ran {
        let place = ["cluster", command, "--dir", text(&self.dir)];
        run(&[&place[..], args].concat())
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Ends a member at once, as nothing can prevent.
    pub fn kill(&self, name: &str) {
        self.run("kill", &[name]).well();
    }

    /// Suspends a member: its connections stay open, and nothing answers.
    pub fn suspend(&self, name: &str) {
        self.run("kill", &[name, "--signal", "stop"]).well();
    }

    /// Has a suspended member go on.
    pub fn resume(&self, name: &str) {
        self.run("kill", &[name, "--signal", "cont"]).well();
    }

    /// Stops a member gracefully, and waits until it has gone.
    pub fn stop(&self, name: &str) {
        self.run("down", &[name]).well();
    }

    /// Starts a member, after stopping it if it runs, and waits until it is registered.
    pub fn restart(&self, name: &str) {
        self.run("restart", &[name]).well();
    }

    /// Its members, as `castmq cluster status --json` shows them.
    pub fn status(&self) -> Vec<Value> {
        let status = self.run("status", &["--json"]).json();
        status.as_array().expect("members").clone()
    }

    /// One of them.
    pub fn member(&self, name: &str) -> Value {
        let found = self.status().into_iter();
        let mut found = found.filter(|member| member["name"] == name);
        found.next().expect("a member of this name")
    }

    /// `running`, `suspended`, `died` or `stopped`.
    pub fn state(&self, name: &str) -> String {
        let state = &self.member(name)["state"];
        state.as_str().expect("a state").to_owned()
    }

    /// The number of a member's process.
    pub fn pid(&self, name: &str) -> Option<u64> {
        self.member(name)["pid"].as_u64()
    }

    /// Where a member listens.
    pub fn address(&self, name: &str) -> String {
        let address = &self.member(name)["address"];
        address.as_str().expect("an address").to_owned()
    }

    /// All its name servers, as `-n` takes them.
    pub fn name_servers(&self) -> String {
        let members = self.status();
        let those = members
            .iter()
            .filter(|member| member["kind"] == "name server");
        let addresses = those.map(|member| member["address"].as_str().expect("an address"));
        addresses.collect::<Vec<_>>().join(",")
    }

    /// A member's data folder.
    pub fn data(&self, name: &str) -> PathBuf {
        self.dir.join(name).join("data")
    }

    /// What a member printed and logged.
    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(name).join("castmq.log")).unwrap_or_default()
    }

    /// A client of it.
    pub async fn client(&self) -> Client {
        let client = Client::builder().name_servers([self.name_servers()]);
        client.build().await.expect("the client connects")
    }

    /// A tool that takes `-n`.
    pub fn tool(&self, args: &[&str]) -> Ran {
        run(&[args, &["-n", &self.name_servers()]].concat())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let ended = self.run("down", &["--delete", "--wait", END_WITHIN_S]);
        if ended.code == Some(0) || !self.dir.join("cluster.toml").exists() {
            return;
        }
        // It has failed already, or a member hangs.
        let members = self.run("status", &["--json"]).out;
        let members: Vec<Value> = serde_json::from_str(&members).unwrap_or_default();
        let running = members.iter().filter(|member| !member["pid"].is_null());
        for name in running.filter_map(|member| member["name"].as_str()) {
            self.run("kill", &[name]);
        }
    }
}
