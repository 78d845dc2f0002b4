//! Name servers and brokers that end and begin.

use std::time::{Duration, Instant};

use castmq_client::raw::admin::AdminRequest;
use castmq_client::raw::route::Registered;
use castmq_client::raw::{ErrorCode, Request, Response, Role};
use castmq_config::Settings;

use crate::cluster::{
    address, addresses, any_port, broker, broker_settings, name_server, name_server_with,
    registration, route,
};
use crate::support::wire::Wire;
use crate::support::{run, until};

/// A topic that every broker has.
const TOPIC: &str = "TBW102";

#[test]
fn a_name_server_that_comes_back_empty_learns_everything_from_the_brokers() {
    run(async {
        let mut servers = Vec::new();
        for _ in 0..3 {
            servers.push(name_server(any_port()).await);
        }
        let at: Vec<_> = servers.iter().map(address).collect();
        let mut brokers = Vec::new();
        let mut folders = Vec::new();
        for name in ["broker-a", "broker-b"] {
            let folder = tempfile::tempdir().expect("a folder");
            let mut settings = broker_settings(folder.path(), &at);
            settings.broker.name = name.to_owned();
            folders.push(folder);
            brokers.push(broker(&settings).await);
        }
        let knows_both = async |server| addresses(server, TOPIC).await.len() == 2;
        for server in &at {
            until(async || knows_both(*server).await).await;
        }
        servers.remove(1).stop().await.expect("a clean stop");
        assert!(knows_both(at[0]).await && knows_both(at[2]).await);
        servers.push(name_server(at[1]).await);
        let began = Instant::now();
        until(async || knows_both(at[1]).await).await;
        let took = began.elapsed();
        println!("a name server that came back knew all brokers after {took:?}");
        assert!(took < Duration::from_secs(3), "{took:?}");
        for node in brokers.into_iter().chain(servers) {
            node.stop().await.expect("a clean stop");
        }
    });
}

/// What is told unasked, up to what is waited for.
async fn heard(wire: &mut Wire, is_it: impl Fn(&Registered) -> bool) -> Registered {
    loop {
        match wire.answer().await {
            Response::Registered(told) if is_it(&told) => return told,
            Response::Registered(_) => {}
            other => panic!("not told of the set: {other:?}"),
        }
    }
}

#[test]
fn a_slave_hears_at_once_where_its_master_is_and_when_it_goes() {
    run(async {
        let server = name_server(any_port()).await;
        let at = address(&server);
        let mut slave = Wire::open(at, Role::Broker).await;
        let registered = slave
            .ask(Request::RegisterBroker(registration(
                "broker-a",
                1,
                0,
                "10.0.0.1:1",
            )))
            .await;
        let Response::Registered(alone) = registered else {
            panic!("not registered: {registered:?}");
        };
        assert_eq!(alone.master_address, "");
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = broker_settings(folder.path(), &[at]);
        settings.replication.ha_listen_port = Some(4711);
        let master = broker(&settings).await;
        let led = heard(&mut slave, |told| !told.master_address.is_empty()).await;
        let master_at = master.broker_address().expect("a broker").to_string();
        assert_eq!(led.master_address, master_at);
        assert_eq!(led.master_ha_address, "127.0.0.1:4711");
        assert_eq!(led.master_epoch, 1);
        assert_eq!(led.members.len(), 2);
        master.stop().await.expect("a clean stop");
        let alone = heard(&mut slave, |told| told.master_address.is_empty()).await;
        assert_eq!(alone.master_epoch, 1);
        assert_eq!(alone.members.len(), 1);
        server.stop().await.expect("a clean stop");
    });
}

#[test]
fn a_broker_that_has_registered_may_be_silent_for_longer_than_others() {
    run(async {
        let impatient = |settings: &mut Settings| settings.limits.idle_timeout_ms = 1000;
        let server = name_server_with(any_port(), impatient).await;
        let at = address(&server);
        let mut registered = Wire::open(at, Role::Broker).await;
        let registration = registration("broker-a", 0, 0, "10.0.0.1:1");
        let answer = registered.ask(Request::RegisterBroker(registration)).await;
        assert!(matches!(answer, Response::Registered(_)), "{answer:?}");
        // Others come later and are closed.
        for role in [Role::Broker, Role::Admin] {
            let reason = Wire::open(at, role).await.closed().await;
            assert_eq!(reason.code, ErrorCode::InvalidRequest);
            assert!(reason.message.contains("nothing came for 1s"), "{reason}");
        }
        assert!(route(at, "t").await.is_some());
        let list = Request::Admin(AdminRequest::ListTopics);
        let answer = registered.ask(list).await;
        assert!(matches!(answer, Response::Admin(_)), "{answer:?}");
        server.stop().await.expect("a clean stop");
    });
}
