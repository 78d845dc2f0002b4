//! Two that are one broker.

use castmq_client::raw::{Request, Response, Role};

use crate::cluster::{
    address, addresses, any_port, broker, broker_settings, last_error, name_server, registrar,
    registration,
};
use crate::support::wire::Wire;
use crate::support::{run, until};

const TOPIC: &str = "TBW102";

#[test]
fn the_second_of_two_masters_waits_for_the_end_of_the_first_and_says_why() {
    run(async {
        let server = name_server(any_port()).await;
        let at = address(&server);
        let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
        let first = broker(&broker_settings(folders[0].path(), &[at])).await;
        let first_at = first.broker_address().expect("a broker").to_string();
        until(async || addresses(at, TOPIC).await == [first_at.clone()]).await;
        let second = broker(&broker_settings(folders[1].path(), &[at])).await;
        let second_at = second.broker_address().expect("a broker").to_string();
        until(async || !last_error(&second, at).await.is_empty()).await;
        let said = last_error(&second, at).await;
        for part in [&at.to_string(), &first_at, &second_at, "broker.name"] {
            assert!(said.contains(part), "{said}");
        }
        assert_eq!(addresses(at, TOPIC).await, [first_at]);
        first.stop().await.expect("a clean stop");
        until(async || addresses(at, TOPIC).await == [second_at.clone()]).await;
        assert_eq!(last_error(&second, at).await, "");
        for node in [second, server] {
            node.stop().await.expect("a clean stop");
        }
    });
}

#[test]
fn a_master_that_was_replaced_goes_from_all_name_servers() {
    run(async {
        let servers = [name_server(any_port()).await, name_server(any_port()).await];
        let at = [address(&servers[0]), address(&servers[1])];
        let folder = tempfile::tempdir().expect("a folder");
        let old = broker(&broker_settings(folder.path(), &at)).await;
        for server in at {
            until(async || addresses(server, TOPIC).await.len() == 1).await;
        }
        // One name server only has heard of the new one.
        let mut new = Wire::open(at[0], Role::Broker).await;
        let registered = new
            .ask(Request::RegisterBroker(registration(
                "broker-a",
                0,
                2,
                "10.0.0.1:1",
            )))
            .await;
        assert!(matches!(registered, Response::Registered(_)));
        for server in at {
            until(async || addresses(server, TOPIC).await.is_empty()).await;
            until(async || last_error(&old, server).await.contains("in epoch 2")).await;
            let state = registrar(&old, server).await;
            assert_eq!(state["is_registered"], false);
            assert_eq!(state["master"], "10.0.0.1:1");
        }
        assert_eq!(addresses(at[0], "t").await, ["10.0.0.1:1"]);
        old.stop().await.expect("a clean stop");
        assert_eq!(addresses(at[0], "t").await, ["10.0.0.1:1"]);
        for server in servers {
            server.stop().await.expect("a clean stop");
        }
    });
}
