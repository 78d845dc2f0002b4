//! Slaves that do not fit their master: each is told why where its operator looks, keeps what it has, and follows once that is
//! mended.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use castmq_actors::Parts;
use castmq_client::{BrokerAdmin, SendStatus};
use castmq_config::{Role, Settings};
use tempfile::TempDir;

use crate::set::{
    Running, admin, ails, broker, client, details, in_step, name_server, send, standing, step,
};
use crate::support::run;

/// A master with messages, and the settings of a slave of it.
struct Master {
    folder: TempDir,
    name_server: Running,
    running: Running,
    client: castmq_client::Client,
    at: BrokerAdmin,
    settings: Settings,
    ha_address: SocketAddr,
    slave: Settings,
}

impl Master {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let name_server = name_server(folder.path()).await;
        let settings = broker(folder.path(), 0, Role::SyncMaster, &[&name_server]);
        let slave = broker(folder.path(), 1, Role::Slave, &[&name_server]);
        let running = Running::start(&settings, Parts::Broker).await;
        let client = client(&name_server).await;
        let at = admin(&client, &running.address);
        send(&client, "orders", 0..100).await;
        let ha_address = standing(&at).await.ha_address.parse();
        Self {
            folder,
            name_server,
            running,
            at,
            client,
            settings,
            ha_address: ha_address.expect("an address"),
            slave,
        }
    }

    /// Starts a slave with wrong settings, sees to it that all these words are said about it, and starts it again with
    /// right ones.
    async fn refuses(self, wrong: impl FnOnce(&mut Settings), words: &[&str]) {
        let mut settings = self.slave.clone();
        settings.replication.ha_master_address = Some(self.ha_address);
        wrong(&mut settings);
        let slave = Running::start(&settings, Parts::Broker).await;
        let at_slave = admin(&self.client, &slave.address);
        let health = ails(&at_slave, words[0]).await;
        for word in words {
            assert!(health.contains(word), "{word:?} is missing: {health}");
        }
        assert!(standing(&self.at).await.slaves.is_empty());
        slave.stop().await;
        let _ = fs::remove_dir_all(&settings.store.data_dir);
        self.follows().await;
    }

    /// A slave with right settings follows.
    async fn follows(self) {
        let slave = Running::start(&self.slave, Parts::Broker).await;
        let at_slave = admin(&self.client, &slave.address);
        step(&self.at, 1, true).await;
        in_step(&self.at, &at_slave).await;
        assert_eq!(details(&at_slave).await.health, "ok");
        slave.stop().await;
        self.stop().await;
    }

    async fn stop(self) {
        self.running.stop().await;
        self.name_server.stop().await;
    }
}

#[test]
fn a_slave_of_another_cluster_is_told_both_names() {
    run(async {
        let other = |settings: &mut Settings| settings.broker.cluster_name = "other".into();
        let words = [
            "cluster other",
            "DefaultCluster",
            "give the slave the names",
        ];
        Master::start().await.refuses(other, &words).await;
    });
}

#[test]
fn a_slave_of_another_set_is_told_both_names() {
    run(async {
        let other = |settings: &mut Settings| settings.broker.name = "broker-z".into();
        let words = [
            "belongs to broker-z",
            "broker-a",
            "give the slave the names",
        ];
        Master::start().await.refuses(other, &words).await;
    });
}

#[test]
fn a_slave_with_other_segments_is_told_both_sizes() {
    run(async {
        let other = |settings: &mut Settings| {
            settings.store.commit_log_segment_bytes = 4 << 20;
        };
        let words = ["4194304 bytes", "8388608", "commit_log_segment_bytes"];
        Master::start().await.refuses(other, &words).await;
    });
}

/// The port on which a broker takes slaves, or says that it takes none.
async fn ha_port(at: &BrokerAdmin) -> u16 {
    let tree = at.actors().await.expect("the tree").to_string();
    let (_, rest) = tree.split_once("ha-listener(").expect("a listener");
    let (port, _) = rest.split_once(')').expect("a port");
    port.parse().expect("a number")
}

#[test]
fn a_slave_that_was_pointed_at_itself_or_at_another_slave_is_told_so() {
    run(async {
        let master = Master::start().await;
        let mut other = broker(master.folder.path(), 2, Role::Slave, &[&master.name_server]);
        let slave = Running::start(&master.slave, Parts::Broker).await;
        let at_slave = admin(&master.client, &slave.address);
        step(&master.at, 1, true).await;
        let port = ha_port(&at_slave).await;
        let wrong = SocketAddr::from(([127, 0, 0, 1], port));

        other.replication.ha_master_address = Some(wrong);
        let running = Running::start(&other, Parts::Broker).await;
        let at_other = admin(&master.client, &running.address);
        let health = ails(&at_other, "is itself a slave").await;
        assert!(
            health.contains("point the slave at their master"),
            "{health}"
        );
        running.stop().await;
        slave.stop().await;

        let mut itself = master.slave.clone();
        itself.replication.ha_listen_port = Some(port);
        itself.replication.ha_master_address = Some(wrong);
        let slave = Running::start(&itself, Parts::Broker).await;
        let at_slave = admin(&master.client, &slave.address);
        let health = ails(&at_slave, "pointed at itself").await;
        assert!(health.contains("replication.ha_master_address"), "{health}");
        slave.stop().await;
        master.follows().await;
    });
}

#[test]
fn a_slave_says_that_no_name_server_knows_a_master() {
    run(async {
        let master = Master::start().await;
        let mut alone = master.slave.clone();
        alone.broker.name = "broker-z".into();
        alone.store.data_dir = master.folder.path().join("alone");
        let slave = Running::start(&alone, Parts::Broker).await;
        let at_slave = admin(&master.client, &slave.address);
        let health = ails(&at_slave, "no name server knows a master of broker-z").await;
        assert!(health.contains("start it"), "{health}");
        slave.stop().await;
        master.follows().await;
    });
}

#[test]
fn a_slave_with_another_history_is_refused_and_loses_nothing() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let other = name_server(folder.path()).await;
        let mut settings = broker(folder.path(), 1, Role::AsyncMaster, &[&other]);
        settings.broker.id = 0;
        let own = Running::start(&settings, Parts::Broker).await;
        let client = client(&other).await;
        send(&client, "mine", 0..500).await;
        let end = details(&admin(&client, &own.address)).await.log_appended;
        own.stop().await;

        let mut master = Master::start().await;
        master.slave.store.data_dir = settings.store.data_dir.clone();
        let slave = Running::start(&master.slave, Parts::Broker).await;
        let at_slave = admin(&master.client, &slave.address);
        let health = ails(&at_slave, "nothing in common").await;
        assert!(health.contains("empty data folder"), "{health}");
        assert_eq!(details(&at_slave).await.log_appended, end);
        slave.stop().await;
        fs::remove_dir_all(&settings.store.data_dir).expect("an empty folder");
        master.follows().await;
        other.stop().await;
    });
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy_folder(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).expect("a copy")),
        }
    }
}

#[test]
fn a_slave_ahead_of_its_master_is_refused_loses_nothing_and_can_take_over() {
    run(async {
        let master = Master::start().await;
        let slave = Running::start(&master.slave, Parts::Broker).await;
        let at_slave = admin(&master.client, &slave.address);
        in_step(&master.at, &at_slave).await;
        step(&master.at, 1, true).await;
        let Master {
            folder,
            name_server,
            running,
            client,
            settings,
            slave: slave_settings,
            ..
        } = master;
        running.stop().await;
        let data = &settings.store.data_dir;
        let backup = folder.path().join("backup");
        copy_folder(data, &backup);

        let running = Running::start(&settings, Parts::Broker).await;
        let at_master = admin(&client, &running.address);
        step(&at_master, 1, true).await;
        let sent = send(&client, "orders", 100..200).await;
        assert!(sent.iter().all(|r| r.status == SendStatus::Stored));
        let end = details(&at_slave).await.log_appended;
        slave.stop().await;
        running.stop().await;
        fs::remove_dir_all(data).expect("it is gone");
        copy_folder(&backup, data);

        let running = Running::start(&settings, Parts::Broker).await;
        let slave = Running::start(&slave_settings, Parts::Broker).await;
        let at_slave = admin(&client, &slave.address);
        let health = ails(&at_slave, "in the same epoch").await;
        assert!(health.contains("castmq admin broker promote"), "{health}");
        assert_eq!(details(&at_slave).await.log_appended, end);

        // As it says.
        at_slave
            .promote(false)
            .await
            .expect("it becomes the master");
        let at_old = admin(&client, &running.address);
        in_step(&at_slave, &at_old).await;
        step(&at_slave, 1, true).await;
        assert_eq!(details(&at_old).await.log_appended, end);
        slave.stop().await;
        running.stop().await;
        name_server.stop().await;
    });
}
