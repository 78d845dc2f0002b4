//! Whoever connects to the port for slaves and is none: nothing is acknowledged because of it, and no master steps back.

use std::time::Duration;

use castmq_actors::Parts;
use castmq_client::model::PhysicalOffset;
use castmq_client::raw::{ErrorCode, Request, Response, Role as Speaker};
use castmq_client::{BrokerAdmin, Client, Message, SendStatus};
use castmq_config::{Role, Settings};
use castmq_protocol::native::replication::{Follow, LogEpoch, SyncMetadata};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::set::{
    Running, admin, broker, client, details, name_server, patient, send, slave, standing, step,
};
use crate::support::proxy::{Pace, Proxy};
use crate::support::wire::Wire;
use crate::support::{run, until};

/// A master that waits for a slave, and a slave that is known to name servers and does not follow while its proxy is
/// stalled.
struct Set {
    name_server: Running,
    master: Running,
    slave: Running,
    proxy: Proxy,
    client: Client,
    at: BrokerAdmin,
    ha_address: String,
    _folder: TempDir,
}

impl Set {
    async fn start(change: impl Fn(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let name_server = name_server(folder.path()).await;
        let mut settings = broker(folder.path(), 0, Role::SyncMaster, &[&name_server]);
        settings.replication.slave_timeout_ms = 300;
        change(&mut settings);
        let master = Running::start(&settings, Parts::Broker).await;
        let client = client(&name_server).await;
        let at = admin(&client, &master.address);
        let ha_address = standing(&at).await.ha_address;
        let proxy = Proxy::to(&ha_address).await;
        proxy.set(Pace::Stalled);
        let mut settings = broker(folder.path(), 1, Role::Slave, &[&name_server]);
        settings.replication.ha_master_address = Some(proxy.address);
        let slave = Running::start(&settings, Parts::Broker).await;
        until(async || {
            let sets = client.admin().brokers().await.expect("brokers");
            sets.iter().any(|set| set.addresses.len() == 2)
        })
        .await;
        Self {
            name_server,
            master,
            slave,
            proxy,
            client,
            at,
            ha_address,
            _folder: folder,
        }
    }

    /// What the slave would say, were it here.
    async fn follow(&self) -> Follow {
        let end = details(&self.at).await.log_appended;
        Follow {
            cluster: "DefaultCluster".into(),
            broker: "broker-a".into(),
            broker_id: 1,
            address: self.slave.address.clone(),
            segment_bytes: 8 << 20,
            log_begin: PhysicalOffset(0),
            log_end: end,
            epochs: Vec::new(),
        }
    }

    /// Sends one message; how it was stored.
    async fn send(&self) -> SendStatus {
        send(&self.client, "orders", 0..1).await[0].status
    }

    /// Nothing has happened to the master, and its slave follows.
    async fn end(self) {
        assert_eq!(standing(&self.at).await.role, "sync_master");
        self.proxy.set(Pace::Free);
        step(&self.at, 1, true).await;
        until(async || self.send().await == SendStatus::Stored).await;
        self.slave.stop().await;
        self.master.stop().await;
        self.name_server.stop().await;
    }
}

/// Follows as RocketMQ's slaves do, and claims to have everything that it is sent; ends with its connection.
async fn claim_all(address: String) -> std::io::Result<()> {
    let mut socket = TcpStream::connect(address).await?;
    socket.write_all(&0_i64.to_be_bytes()).await?;
    loop {
        let at = socket.read_i64().await?;
        let length = socket.read_i32().await?;
        let mut body = vec![0; usize::try_from(length).unwrap_or(0)];
        socket.read_exact(&mut body).await?;
        let end = at + i64::from(length);
        socket.write_all(&end.to_be_bytes()).await?;
    }
}

#[test]
fn one_who_speaks_as_rocketmqs_slaves_from_a_slaves_machine_releases_nothing() {
    run(async {
        let set = Set::start(|_| ()).await;
        let stranger = actix_rt::spawn(claim_all(set.ha_address.clone()));
        until(async || {
            slave(&set.at, 1)
                .await
                .is_some_and(|slave| slave.is_in_step)
        })
        .await;
        for _ in 0..10 {
            assert_eq!(set.send().await, SendStatus::SlaveNotAvailable);
        }
        // Nor does it keep the slave away.
        set.proxy.set(Pace::Free);
        until(async || {
            let slave = slave(&set.at, 1).await;
            slave.is_some_and(|slave| slave.address == set.slave.address)
        })
        .await;
        until(async || set.send().await == SendStatus::Stored).await;
        assert!(stranger.await.expect("no panic").is_err());
        // While that follows there is no place for another.
        let ended = claim_all(set.ha_address.clone()).await;
        assert!(ended.is_err());
        assert_eq!(set.send().await, SendStatus::Stored);
        set.end().await;
    });
}

#[test]
fn rocketmqs_slaves_count_where_a_setting_says_so() {
    run(async {
        let set = Set::start(|settings| settings.replication.count_classic_slaves = true).await;
        let classic = actix_rt::spawn(claim_all(set.ha_address.clone()));
        until(async || set.send().await == SendStatus::Stored).await;
        classic.abort();
        set.end().await;
    });
}

#[test]
fn one_whom_name_servers_do_not_know_follows_nobody() {
    run(async {
        let set = Set::start(|_| ()).await;
        let known = set.follow().await;
        let lies = [
            (
                Follow {
                    broker_id: 2,
                    ..known.clone()
                },
                "no name server knows a slave 2",
            ),
            (
                Follow {
                    broker_id: 0,
                    ..known.clone()
                },
                "broker id 0",
            ),
            (
                Follow {
                    address: "127.0.0.1:1".into(),
                    ..known.clone()
                },
                "give one of them another id",
            ),
            (
                Follow {
                    segment_bytes: 0,
                    ..known.clone()
                },
                "commit_log_segment_bytes",
            ),
            (
                Follow {
                    address: set.master.address.clone(),
                    ..known.clone()
                },
                "pointed at itself",
            ),
        ];
        for (lie, reason) in lies {
            let mut wire = Wire::open(&set.ha_address, Speaker::Broker).await;
            let refused = wire.refused(Request::Follow(lie)).await;
            assert!(refused.message.contains(reason), "{refused}");
        }
        let mut wire = Wire::open(&set.ha_address, Speaker::Broker).await;
        let (broker_id, offsets) = (2, Vec::new());
        let sync = Request::SyncMetadata(SyncMetadata { broker_id, offsets });
        assert_eq!(wire.refused(sync).await.code, ErrorCode::NotAuthorized);
        assert_eq!(set.send().await, SendStatus::SlaveNotAvailable);
        set.end().await;
    });
}

#[test]
fn no_master_steps_back_for_an_epoch_that_somebody_makes_up() {
    run(async {
        let set = Set::start(|_| ()).await;
        assert_eq!(set.send().await, SendStatus::SlaveNotAvailable);
        let known = set.follow().await;
        let start = PhysicalOffset(0);
        for (epoch, run, log_end) in [
            (2, 7, known.log_end),
            (u32::MAX, 7, known.log_end),
            (u32::MAX, 0, PhysicalOffset(u64::MAX)),
            (1, 7, PhysicalOffset(u64::MAX)),
            (0, 0, known.log_end),
        ] {
            let epochs = vec![LogEpoch { epoch, run, start }];
            let lie = Follow {
                log_end,
                epochs,
                ..known.clone()
            };
            let mut wire = Wire::open(&set.ha_address, Speaker::Broker).await;
            let refused = wire.refused(Request::Follow(lie)).await;
            assert!(refused.message.contains("empty data folder"), "{refused}");
        }
        set.end().await;
    });
}

#[test]
fn a_slave_that_acknowledges_what_it_was_not_sent_or_less_than_before_is_sent_away() {
    run(async {
        let set = Set::start(|_| ()).await;
        let known = Follow {
            log_end: PhysicalOffset(0),
            ..set.follow().await
        };
        for reports in [[0, 1 << 40], [0, -1], [0, i64::MAX]] {
            let mut wire = Wire::open(&set.ha_address, Speaker::Broker).await;
            let followed = wire.ask(Request::Follow(known.clone())).await;
            assert!(matches!(followed, Response::Followed(_)), "{followed:?}");
            for report in reports {
                wire.say(&i64::to_be_bytes(report)).await;
            }
            until(async || slave(&set.at, 1).await.is_none()).await;
        }
        assert_eq!(set.send().await, SendStatus::SlaveNotAvailable);
        set.end().await;
    });
}

#[test]
fn a_slave_that_is_silent_or_never_reads_is_sent_away() {
    run(async {
        let set = Set::start(|settings| {
            settings.replication.housekeeping_interval_ms = 1_000;
        })
        .await;
        let known = Follow {
            log_end: PhysicalOffset(0),
            ..set.follow().await
        };
        let follows = async || {
            let mut wire = Wire::open(&set.ha_address, Speaker::Broker).await;
            let followed = wire.ask(Request::Follow(known.clone())).await;
            assert!(matches!(followed, Response::Followed(_)), "{followed:?}");
            until(async || slave(&set.at, 1).await.is_some()).await;
            wire
        };
        let silent = follows().await;
        until(async || slave(&set.at, 1).await.is_none()).await;
        drop(silent);
        let mut deaf = follows().await;
        // Nothing that could be compressed, and more than sockets hold.
        let body = std::iter::repeat_with(|| fastrand::u8(..)).take(500_000);
        let body: Vec<_> = body.collect();
        let producer = patient(&set.client);
        while details(&set.at).await.log_appended.0 < 30_000_000 {
            let sent = producer.send(Message::new("orders", body.clone())).await;
            sent.expect("it is stored");
        }
        producer.close().await;
        while slave(&set.at, 1).await.is_some() {
            // Its word that it is there does not help it.
            deaf.try_say(&i64::to_be_bytes(0)).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        set.end().await;
    });
}
