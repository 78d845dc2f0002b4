//! The cluster of RocketMQ's 2m-2s-sync files, as they are: only addresses come from outside, since all is on one machine.

use std::path::{Path, PathBuf};

use super::support::process::address_of;
use super::support::shell::{Ran, Server, run, text, until_registered};

/// However full the machine's disk is by other things.
const ON_ANY_DISK: [(&str, &str); 1] = [("retention.disk_refuse_writes_percent", "95")];

/// One of the two machines: where RocketMQ is on it.
struct Machine {
    home: PathBuf,
    servers: Vec<Server>,
}

impl Machine {
    fn new(folder: &Path, name: &str) -> Self {
        Self {
            home: folder.join(name),
            servers: Vec::new(),
        }
    }

    /// Starts a name server, and returns its address.
    fn name_server(&mut self) -> String {
        let data = self.home.join("namesrv");
        let args = [
            "namesrv",
            "--namesrv-listen",
            "127.0.0.1:0",
            "--data",
            text(&data),
        ];
        let (server, line) = Server::start(&args, &[]);
        self.servers.push(server);
        address_of(&line, "name server").expect("an address")
    }

    /// Starts a broker with its addresses from flags.
    fn broker_by_flags(&mut self, name: &str, name_servers: &str) {
        let file = file(name);
        let addresses = ["--listen", "127.0.0.1:0", "--namesrv", name_servers];
        let args = [&["broker", "-c", text(&file)], &addresses[..]].concat();
        self.start(&args, &[], &[]);
    }

    /// Starts a broker with its addresses from the environment.
    fn broker_by_environment(&mut self, name: &str, name_servers: &str) {
        let file = file(name);
        let args = ["broker", "-c", text(&file)];
        let listen = [("broker.listen", "127.0.0.1:0")];
        self.start(&args, &listen, &[("NAMESRV_ADDR", name_servers)]);
    }

    fn start(&mut self, args: &[&str], settings: &[(&str, &str)], variables: &[(&str, &str)]) {
        let settings = [&ON_ANY_DISK[..], settings].concat();
        let variables = [&[("ROCKETMQ_HOME", text(&self.home))], variables].concat();
        let (server, _) = Server::start_in(args, &settings, &variables);
        self.servers.push(server);
    }
}

fn file(name: &str) -> PathBuf {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/tests/fixtures/2m-2s-sync");
    files.join(format!("{name}.properties"))
}

#[test]
fn rocketmqs_own_files_start_two_masters_and_two_slaves() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut one = Machine::new(folder.path(), "one");
    let mut two = Machine::new(folder.path(), "two");
    let each = [one.name_server(), two.name_server()];
    let name_servers = each.join(";");
    one.broker_by_flags("broker-a", &name_servers);
    one.broker_by_environment("broker-b-s", &name_servers);
    two.broker_by_environment("broker-b", &name_servers);
    two.broker_by_flags("broker-a-s", &name_servers);

    for address in &each {
        until_registered(address, 4);
        let listed = run(&["admin", "cluster", "list", "--json", "-n", address]);
        let brokers = listed.well().json();
        let brokers = brokers.as_array().expect("brokers");
        let ids = brokers.iter().map(|broker| {
            assert_eq!(broker["cluster"], "rocketmq-cluster");
            (broker["broker"].as_str(), broker["broker_id"].as_u64())
        });
        let (a, b) = (Some("broker-a"), Some("broker-b"));
        let expected = [(a, Some(0)), (a, Some(1)), (b, Some(0)), (b, Some(1))];
        assert_eq!(ids.collect::<Vec<_>>(), expected);
    }

    let tool = |args: &[&str]| -> Ran { run(&[args, &["-n", &name_servers]].concat()).well() };
    for master in ["broker-a", "broker-b"] {
        let topic = format!("of-{master}");
        tool(&["admin", "topic", "create", &topic, "--broker", master]);
        tool(&["produce", &topic, "--body", &format!("for {master}")]);
        let read = tool(&["consume", &topic, "--group", "g", "--max", "1"]).out;
        assert!(read.contains(&format!("for {master}")), "{read}");
    }
    for machine in [&one, &two] {
        let store = machine.home.join("data/store");
        assert!(store.join("commitlog").is_dir() && store.join("index").is_dir());
        assert!(store.join("slave/commitlog").is_dir());
    }
}
