//! Registrations that no honest broker sends.

use bytes::{BufMut, BytesMut};
use castmq_protocol::remoting::bodies::registration::Registration;
use castmq_protocol::remoting::headers::name_server::{QueryDataVersion, RegisterBroker};
use castmq_protocol::remoting::{Head, put_frame, request_code, response_code};

use crate::genuine_broker::{master, name_server, register, route, topics};
use crate::support::{run, stop, until};
use crate::wire::Wire;

const ADDRESS: &str = "10.0.0.1:10911";

/// Asks for what is to be refused, and hears why.
async fn refused(wire: &mut Wire, fields: &RegisterBroker<'_>, body: &[u8]) -> String {
    let came = wire.ask(request_code::REGISTER_BROKER, fields, body).await;
    assert_ne!(came.code, response_code::SUCCESS);
    came.remark
}

fn compressed<'a>() -> RegisterBroker<'a> {
    RegisterBroker {
        compressed: true,
        ..master("r", ADDRESS)
    }
}

#[test]
fn bodies_that_are_not_what_they_say_are_refused_and_the_connection_goes_on() {
    run(async {
        let (node, address) = name_server().await;
        let mut wire = Wire::open(&address).await;
        let fields = master("r", ADDRESS);
        let wrong_sum = RegisterBroker {
            body_crc: 1,
            ..fields
        };
        let said = refused(&mut wire, &wrong_sum, b"{}").await;
        assert!(said.contains("crc32"), "{said}");
        for body in [
            &b"{"[..],
            b"[]",
            b"{\"topicConfigSerializeWrapper\":7}",
            &[0xFF; 64],
        ] {
            let said = refused(&mut wire, &fields, body).await;
            assert!(said.contains("cannot be read"), "{said}");
            let said = refused(&mut wire, &compressed(), body).await;
            assert!(said.contains("cannot be unpacked"), "{said}");
        }
        let deep = ["{\"filler\":", &"[".repeat(100_000)].concat();
        let said = refused(&mut wire, &fields, deep.as_bytes()).await;
        assert!(said.contains("deeper"), "{said}");
        let many = format!(
            "{{\"topicConfigSerializeWrapper\":{{\"topicConfigTable\":{{{}}}}}}}",
            (0..400_000)
                .map(|number| format!("\"{number}\":{{}}"))
                .collect::<Vec<_>>()
                .join(",")
        );
        let said = refused(&mut wire, &fields, many.as_bytes()).await;
        assert!(said.contains("too many small values"), "{said}");
        assert!(route(&mut wire, "t").await.is_none());
        let good = register(&mut wire, &fields, &topics(1, &["t", "u"])).await;
        assert_eq!(good.code, response_code::SUCCESS, "{}", good.remark);
        assert!(route(&mut wire, "t").await.is_some());
        stop(node).await;
    });
}

#[test]
fn compressed_bodies_are_taken_and_bombs_are_not() {
    run(async {
        let (node, address) = name_server().await;
        let mut wire = Wire::open(&address).await;
        let good = topics(1, &["t", "u"]).to_compressed();
        let code = request_code::REGISTER_BROKER;
        let came = wire.ask(code, &compressed(), &good).await;
        assert_eq!(came.code, response_code::SUCCESS, "{}", came.remark);
        assert!(route(&mut wire, "u").await.is_some());
        // A filter server with a name of 20 MiB.
        let bomb = Registration {
            filter_servers: vec!["a".repeat(20 << 20)],
            ..Registration::default()
        };
        let bomb = bomb.to_compressed();
        assert!(bomb.len() < 1 << 20, "{}", bomb.len());
        let said = refused(&mut wire, &compressed(), &bomb).await;
        assert!(said.contains("longer than the limit"), "{said}");
        stop(node).await;
    });
}

#[test]
fn brokers_and_topics_that_cannot_be_are_refused_with_reasons() {
    run(async {
        let (node, address) = name_server().await;
        let mut wire = Wire::open(&address).await;
        let fields = master("r", ADDRESS);
        let many: Vec<_> = (0..300).map(|number| format!("t{number}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        let mut negative = topics(1, &["t", "u"]);
        negative
            .topics
            .topics
            .entry("t".into())
            .or_default()
            .read_queues = -1;
        let mut endless = topics(1, &["t", "u"]);
        endless
            .topics
            .topics
            .entry("t".into())
            .or_default()
            .write_queues = i32::MAX;
        let mut late = topics(1, &["t", "u"]);
        late.topics.data_version.state_version = -1;
        let long = "x".repeat(256);
        let two = topics(1, &["t", "u"]);
        let cases: [(RegisterBroker<'_>, &Registration, &str); 12] = [
            (fields, &topics(1, &many), "limits.max_topics"),
            (fields, &topics(1, &[&long, "u"]), "no name of a topic"),
            (fields, &topics(1, &["a b", "u"]), "no name of a topic"),
            (fields, &topics(1, &["t"]), "one topic only"),
            (fields, &negative, "readQueueNums"),
            (fields, &endless, "65536"),
            (fields, &late, "stateVersion"),
            (master("r r", ADDRESS), &two, "no name of a broker"),
            (master("r", "nowhere"), &two, "HOST:PORT"),
            (
                RegisterBroker {
                    broker_id: -1,
                    ..fields
                },
                &two,
                "brokerId",
            ),
            (
                RegisterBroker {
                    heartbeat_timeout_ms: Some(0),
                    ..fields
                },
                &two,
                "heartbeatTimeoutMillis",
            ),
            (
                RegisterBroker {
                    castmq: Some("0"),
                    ..fields
                },
                &two,
                "native wire",
            ),
        ];
        for (fields, registration, why) in cases {
            let came = register(&mut wire, &fields, registration).await;
            assert_ne!(came.code, response_code::SUCCESS, "{why}");
            assert!(came.remark.contains(why), "{}", came.remark);
        }
        assert!(route(&mut wire, "u").await.is_none());
        stop(node).await;
    });
}

#[test]
fn a_connection_has_room_for_a_few_brokers() {
    run(async {
        let (node, address) = name_server().await;
        let mut wire = Wire::open(&address).await;
        let names: Vec<_> = (0..17).map(|number| format!("r{number}")).collect();
        for name in &names[..16] {
            let came = register(&mut wire, &master(name, ADDRESS), &topics(1, &[])).await;
            assert_eq!(came.code, response_code::SUCCESS, "{}", came.remark);
        }
        let came = register(&mut wire, &master(&names[16], ADDRESS), &topics(1, &[])).await;
        assert!(came.remark.contains("open another"), "{}", came.remark);
        stop(node).await;
    });
}

#[test]
fn a_master_of_a_later_state_takes_the_place_and_the_other_hears_of_it() {
    run(async {
        let (node, address) = name_server().await;
        let mut first = Wire::open(&address).await;
        let fields = master("r", ADDRESS);
        register(&mut first, &fields, &topics(1, &["t", "u"])).await;
        let mut second = Wire::open(&address).await;
        let other = master("r", "10.0.0.2:10911");
        let same = register(&mut second, &other, &topics(1, &["t", "u"])).await;
        assert!(same.remark.contains(ADDRESS), "{}", same.remark);
        let mut later = topics(1, &["t", "u"]);
        later.topics.data_version.state_version = 1;
        let came = register(&mut second, &other, &later).await;
        assert_eq!(came.code, response_code::SUCCESS, "{}", came.remark);
        assert!(first.next().await.is_none(), "its connection is closed");
        let mut first = Wire::open(&address).await;
        let came = register(&mut first, &fields, &topics(2, &["t", "u"])).await;
        assert!(
            came.remark.contains("not the master any more"),
            "{}",
            came.remark
        );
        let found = route(&mut first, "t").await.expect("a route");
        assert_eq!(found.brokers[0].addresses[&0], "10.0.0.2:10911");
        stop(node).await;
    });
}

#[test]
fn lengths_that_lie_end_the_connection_and_its_brokers() {
    run(async {
        let (node, address) = name_server().await;
        let mut wire = Wire::open(&address).await;
        register(&mut wire, &master("r", ADDRESS), &topics(1, &["t", "u"])).await;
        let mut frame = BytesMut::new();
        let query = QueryDataVersion {
            broker_name: "r",
            broker_address: ADDRESS,
            cluster: "c",
            broker_id: 0,
        };
        let head = Head::request(request_code::QUERY_DATA_VERSION, 9);
        put_frame(&head, &query, b"{}", &mut frame);
        // The header is said to end behind its frame.
        (&mut frame[4..8]).put_u32(0x00FF_FFFF);
        wire.say(&frame).await;
        assert!(wire.next().await.is_none());
        let gone = async || {
            let mut asking = Wire::open(&address).await;
            route(&mut asking, "t").await.is_none()
        };
        until(gone).await;
        stop(node).await;
    });
}
