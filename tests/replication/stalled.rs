//! Slaves that do not keep up: what producers are told and consumers see meanwhile, and that they catch up.

use std::sync::Arc;

use castmq_actors::{Parts, Surroundings};
use castmq_client::{BrokerAdmin, Client, Error, ErrorCode, Message, SendReceipt, SendStatus};
use castmq_config::{Role, Settings, WithoutSlaves};
use castmq_storage::disk::fault::FaultDisk;
use tempfile::TempDir;

use crate::set::{
    Running, admin, ails, broker, client, details, in_step, name_server, patient, send, slave,
    standing, step,
};
use crate::support::proxy::{Pace, Proxy};
use crate::support::{run, until};

/// A master that waits for slaves, and slaves behind proxies.
struct Set {
    name_server: Running,
    master: Running,
    slaves: Vec<Running>,
    proxies: Vec<Proxy>,
    client: Client,
    at_master: BrokerAdmin,
    at_slaves: Vec<BrokerAdmin>,
    _folder: TempDir,
}

impl Set {
    async fn start(slaves: u32, change: impl Fn(&mut Settings)) -> Self {
        Self::start_on(slaves, change, Surroundings::default).await
    }

    /// The same with slaves in other surroundings.
    async fn start_on(
        count: u32,
        change: impl Fn(&mut Settings),
        around_slave: impl Fn() -> Surroundings,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let name_server = name_server(folder.path()).await;
        let settings = |id, role| {
            let mut settings = broker(folder.path(), id, role, &[&name_server]);
            settings.replication.slave_timeout_ms = 300;
            change(&mut settings);
            settings
        };
        let master = Running::start(&settings(0, Role::SyncMaster), Parts::Broker).await;
        let client = client(&name_server).await;
        let at_master = admin(&client, &master.address);
        let ha_address = standing(&at_master).await.ha_address;
        // A disk of the test's own has no folders of the real one.
        let folders = (0..=count).map(|id| folder.path().join(format!("broker-{id}")));
        for folder in folders {
            std::fs::create_dir_all(folder).expect("a folder");
        }
        let (mut slaves, mut proxies, mut at_slaves) = (Vec::new(), Vec::new(), Vec::new());
        for id in 1..=count {
            let proxy = Proxy::to(&ha_address).await;
            let mut settings = settings(id, Role::Slave);
            settings.replication.ha_master_address = Some(proxy.address);
            let slave = Running::start_in(around_slave(), &settings, Parts::Broker).await;
            at_slaves.push(admin(&client, &slave.address));
            slaves.push(slave);
            proxies.push(proxy);
        }
        let set = Self {
            name_server,
            master,
            slaves,
            proxies,
            client,
            at_master,
            at_slaves,
            _folder: folder,
        };
        for id in 1..=count {
            step(&set.at_master, id.into(), true).await;
        }
        set
    }

    /// Sends until this comes of it.
    async fn send_until(&self, status: SendStatus) {
        until(async || {
            let sent = send(&self.client, "orders", 0..1).await;
            sent[0].status == status
        })
        .await;
    }

    async fn stop(self) {
        for slave in self.slaves {
            slave.stop().await;
        }
        self.master.stop().await;
        self.name_server.stop().await;
    }
}

fn all(sent: &[SendReceipt], status: SendStatus) -> bool {
    sent.iter().all(|receipt| receipt.status == status)
}

/// Messages that a broker has in a topic.
async fn stored(at: &BrokerAdmin, topic: &str) -> u64 {
    crate::support::stored(at, topic).await
}

/// What a producer is answered that does not try again.
async fn try_send(client: &Client) -> Result<SendStatus, Error> {
    let producer = client.producer().retries(0).build();
    let sent = producer.send(Message::new("orders", "one more")).await;
    producer.close().await;
    sent.map(|receipt| receipt.status)
}

fn one_stalls(without_slaves: WithoutSlaves) {
    run(async {
        let set = Set::start(1, |settings| {
            settings.replication.without_slaves = without_slaves;
        })
        .await;
        let sent = send(&set.client, "orders", 0..100).await;
        assert!(all(&sent, SendStatus::Stored));
        until(async || stored(&set.at_slaves[0], "orders").await == 100).await;
        set.proxies[0].set(Pace::Stalled);
        // It counts as one that keeps up until it is known that it does not.
        let status = try_send(&set.client).await.expect("it is stored");
        assert_ne!(status, SendStatus::Stored);
        step(&set.at_master, 1, false).await;
        let seen = details(&set.at_master).await;
        match without_slaves {
            WithoutSlaves::Accept => {
                set.send_until(SendStatus::SlaveNotAvailable).await;
                let seen = details(&set.at_master).await;
                assert_eq!(seen.log_committed, seen.log_appended);
            }
            WithoutSlaves::Wait => {
                let status = try_send(&set.client).await.expect("it is stored");
                assert_eq!(status, SendStatus::ReplicationTimeout);
                assert!(seen.log_committed < seen.log_appended);
            }
            WithoutSlaves::Refuse => {
                ails(&set.at_master, "replication.without_slaves").await;
                let refused = try_send(&set.client).await.expect_err("it is refused");
                assert_eq!(
                    refused.code(),
                    Some(ErrorCode::SlaveNotAvailable),
                    "{refused}"
                );
                assert!(seen.log_committed < seen.log_appended);
            }
        }
        assert_eq!(stored(&set.at_slaves[0], "orders").await, 100);
        set.proxies[0].set(Pace::Free);
        set.send_until(SendStatus::Stored).await;
        in_step(&set.at_master, &set.at_slaves[0]).await;
        assert_eq!(details(&set.at_master).await.health, "ok");
        let stored = (
            stored(&set.at_master, "orders").await,
            stored(&set.at_slaves[0], "orders").await,
        );
        assert_eq!(stored.0, stored.1);
        set.stop().await;
    });
}

#[test]
fn a_master_that_accepts_goes_on_when_its_slave_stalls_and_says_so() {
    one_stalls(WithoutSlaves::Accept);
}

#[test]
fn a_master_that_waits_calls_nothing_stored_and_shows_nothing_while_its_slave_stalls() {
    one_stalls(WithoutSlaves::Wait);
}

#[test]
fn a_master_that_refuses_takes_nothing_while_its_slave_stalls() {
    one_stalls(WithoutSlaves::Refuse);
}

#[test]
fn of_two_slaves_one_may_stall_when_one_is_enough() {
    run(async {
        let set = Set::start(2, |settings| {
            settings.replication.in_sync_replicas = Some(2);
            settings.replication.without_slaves = WithoutSlaves::Wait;
        })
        .await;
        set.send_until(SendStatus::Stored).await;
        for (stalled, other) in [(0, 1), (1, 0)] {
            set.proxies[stalled].set(Pace::Stalled);
            let sent = send(&set.client, "orders", 0..100).await;
            assert!(all(&sent, SendStatus::Stored));
            step(&set.at_master, stalled as u64 + 1, false).await;
            let sent = send(&set.client, "orders", 0..100).await;
            assert!(all(&sent, SendStatus::Stored));
            in_step(&set.at_master, &set.at_slaves[other]).await;
            set.proxies[stalled].set(Pace::Free);
            step(&set.at_master, stalled as u64 + 1, true).await;
        }
        for at_slave in &set.at_slaves {
            in_step(&set.at_master, at_slave).await;
        }
        set.stop().await;
    });
}

#[test]
fn of_two_slaves_none_may_stall_when_both_have_to_have_it() {
    run(async {
        let set = Set::start(2, |settings| {
            settings.replication.in_sync_replicas = Some(3);
        })
        .await;
        let sent = send(&set.client, "orders", 0..100).await;
        assert!(all(&sent, SendStatus::Stored));
        set.proxies[1].set(Pace::Stalled);
        let status = try_send(&set.client).await.expect("it is stored");
        assert_ne!(status, SendStatus::Stored);
        step(&set.at_master, 2, false).await;
        set.send_until(SendStatus::SlaveNotAvailable).await;
        // The other one has everything, and is shown to.
        in_step(&set.at_master, &set.at_slaves[0]).await;
        step(&set.at_master, 1, true).await;
        set.proxies[1].set(Pace::Free);
        set.send_until(SendStatus::Stored).await;
        in_step(&set.at_master, &set.at_slaves[1]).await;
        set.stop().await;
    });
}

#[test]
fn consumers_see_what_a_slave_has_that_is_never_fast_enough() {
    run(async {
        let set = Set::start(1, |settings| {
            settings.replication.without_slaves = WithoutSlaves::Wait;
        })
        .await;
        set.proxies[0].set(Pace::Trickle(200));
        let producer = patient(&set.client);
        let messages = (0..1000).map(|_| Message::new("orders", vec![b'x'; 1000]));
        let sent = producer.send_all(messages).await;
        assert!(sent.iter().all(Result::is_ok));
        producer.close().await;
        let out_of_step = || slave(&set.at_master, 1);
        until(async || out_of_step().await.is_some_and(|slave| !slave.is_in_step)).await;
        let before = details(&set.at_master).await;
        assert!(before.log_committed < before.log_appended);
        until(async || {
            let now = details(&set.at_master).await;
            let slave = &now.replication.slaves[0];
            assert!(!slave.is_in_step, "it was too fast for this test");
            now.log_committed > before.log_committed
        })
        .await;
        set.proxies[0].set(Pace::Free);
        in_step(&set.at_master, &set.at_slaves[0]).await;
        set.send_until(SendStatus::Stored).await;
        set.stop().await;
    });
}

/// Bytes of a segment where the disk is small.
const SEGMENT_BYTES: u64 = 1 << 20;

#[test]
fn a_slave_whose_disk_is_full_says_so_and_goes_on_when_there_is_room() {
    run(async {
        let disk = FaultDisk::new();
        let capacity = |segments| segments * SEGMENT_BYTES + SEGMENT_BYTES / 2;
        disk.set_capacity(capacity(4));
        let small = |settings: &mut Settings| {
            settings.store.commit_log_segment_bytes = SEGMENT_BYTES;
            settings.store.index_enabled = false;
            settings.store.consume_queue_file_bytes = 20_000;
            settings.limits.max_message_bytes = 100_000;
            settings.retention.disk_refuse_writes_percent = 100;
        };
        let around = || Surroundings::default().disk(Arc::new(disk.clone()));
        let set = Set::start_on(1, small, around).await;
        let fill = async |count| {
            let producer = patient(&set.client);
            // Nothing that could be compressed.
            let body = std::iter::repeat_with(|| fastrand::u8(..)).take(50_000);
            let body: Vec<_> = body.collect();
            let messages = (0..count).map(|_| Message::new("orders", body.clone()));
            let sent = producer.send_all(messages).await;
            let sent: Result<Vec<_>, _> = sent.into_iter().collect();
            producer.close().await;
            sent.expect("the master has room")
        };
        fill(120).await;
        let health = ails(&set.at_slaves[0], "no segment can be added").await;
        assert!(health.contains("free space"), "{health}");
        step(&set.at_master, 1, false).await;
        set.send_until(SendStatus::SlaveNotAvailable).await;
        let follows = standing(&set.at_slaves[0]).await.following;
        assert!(
            !follows.is_empty(),
            "it waits for room, and keeps its connection"
        );
        disk.set_capacity(capacity(20));
        in_step(&set.at_master, &set.at_slaves[0]).await;
        set.send_until(SendStatus::Stored).await;
        assert_eq!(details(&set.at_slaves[0]).await.health, "ok");
        set.stop().await;
    });
}
