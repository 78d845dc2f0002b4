//! What should not be said to a name server, or by one.

use castmq_client::raw::route::TopicsReport;
use castmq_client::raw::{ErrorCode, Request, Response, Role};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::cluster::{
    address, addresses, any_port, broker, broker_settings, last_error, name_server, registration,
};
use crate::support::wire::Wire;
use crate::support::{run, until};

#[test]
fn garbage_is_refused_and_the_connection_goes_on() {
    run(async {
        let server = name_server(any_port()).await;
        let at = address(&server);
        let mut wire = Wire::open(at, Role::Broker).await;
        let good = registration("a", 0, 1, "10.0.0.1:1");
        let nowhere = registration("a", 0, 1, "nowhere");
        let refusal = wire.refused(Request::RegisterBroker(nowhere)).await;
        assert!(refusal.message.contains("IP:PORT"), "{refusal}");
        let other = registration("b", 0, 1, "10.0.0.1:1");
        let refusal = wire.refused(Request::RegisterBroker(other)).await;
        assert_eq!(refusal.code, ErrorCode::Conflict);
        let registered = wire.ask(Request::RegisterBroker(good)).await;
        assert!(matches!(registered, Response::Registered(_)));
        let mut stranger = Wire::open(at, Role::Broker).await;
        let goodbye = Request::UnregisterBroker {
            cluster: "DefaultCluster".into(),
            broker: "a".into(),
            broker_id: 0,
        };
        assert_eq!(stranger.ask(goodbye).await, Response::Done);
        assert_eq!(addresses(at, "t").await, ["10.0.0.1:1"]);
        server.stop().await.expect("a clean stop");
    });
}

#[test]
fn parts_that_never_end_are_bounded_and_never_shown() {
    run(async {
        let server = name_server(any_port()).await;
        let at = address(&server);
        let mut wire = Wire::open(at, Role::Broker).await;
        let mut part = registration("a", 0, 1, "10.0.0.1:1");
        part.topics = TopicsReport {
            changed: vec![part.topics.changed[0].clone(); 20_000],
            more: true,
            ..TopicsReport::default()
        };
        let mut taken = 0;
        let refusal = loop {
            match wire.ask(Request::RegisterBroker(part.clone())).await {
                Response::Done => taken += 1,
                Response::Failed(refusal) => break refusal,
                other => panic!("neither taken nor refused: {other:?}"),
            }
        };
        assert_eq!(refusal.code, ErrorCode::LimitReached);
        assert!(refusal.message.contains("limits.max_topics"), "{refusal}");
        assert_eq!(taken, 300_000 / 20_000);
        assert!(addresses(at, "t").await.is_empty());
        server.stop().await.expect("a clean stop");
    });
}

#[test]
fn a_name_server_that_is_none_is_named_and_holds_up_no_other() {
    run(async {
        let listener = TcpListener::bind(any_port()).await.expect("a port");
        let none = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let _ = socket.write_all(b"\x04\x00\x00\x00\xff\xff\xff\xff").await;
            }
        });
        let server = name_server(any_port()).await;
        let at = address(&server);
        let folder = tempfile::tempdir().expect("a folder");
        let broker = broker(&broker_settings(folder.path(), &[none, at])).await;
        until(async || addresses(at, "TBW102").await.len() == 1).await;
        until(async || !last_error(&broker, none).await.is_empty()).await;
        let said = last_error(&broker, none).await;
        assert!(said.contains(&none.to_string()), "{said}");
        for node in [broker, server] {
            node.stop().await.expect("a clean stop");
        }
    });
}
