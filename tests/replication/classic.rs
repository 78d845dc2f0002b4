//! RocketMQ's stream, spoken by hand: what a RocketMQ slave would say to this master, and a RocketMQ master to this slave.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use castmq_actors::Parts;
use castmq_client::model::{PhysicalOffset, QueueId, QueueOffset};
use castmq_config::Role;
use castmq_protocol::record::Record;

use crate::set::{Running, admin, broker, client, name_server, send};
use crate::support::{run, until};

const SEGMENT_BYTES: u64 = 8 << 20;

fn read_block(socket: &mut TcpStream) -> (u64, Vec<u8>) {
    let mut header = [0; 12];
    socket.read_exact(&mut header).expect("a header");
    let at = u64::from_be_bytes(header[..8].try_into().expect("8 bytes"));
    let length = i32::from_be_bytes(header[8..].try_into().expect("4 bytes"));
    let mut body = vec![0; usize::try_from(length).expect("no length below zero")];
    socket.read_exact(&mut body).expect("a body");
    (at, body)
}

#[test]
fn a_slave_that_reports_where_its_log_ends_is_sent_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let name_server = name_server(folder.path()).await;
        // Nobody to ask about slaves.
        let mut settings = broker(folder.path(), 0, Role::AsyncMaster, &[]);
        settings.broker.name_servers = vec![name_server.address.clone()];
        let master = Running::start(&settings, Parts::Broker).await;
        let client = client(&name_server).await;
        send(&client, "orders", 0..1000).await;
        let at_master = admin(&client, &master.address);
        let details = at_master.show_broker().await.unwrap();
        let end = details.log_appended.0;
        let ha_address = details.replication.ha_address;

        // A slave registers with the name server first, which is how its master knows it.
        let slave = broker(folder.path(), 1, Role::Slave, &[&name_server]);
        let slave = Running::start(&slave, Parts::Broker).await;
        let copied = thread::spawn(move || {
            let mut socket = TcpStream::connect(ha_address).expect("a connection");
            socket.write_all(&0_u64.to_be_bytes()).expect("a report");
            let mut copied = Vec::new();
            while (copied.len() as u64) < end {
                let (at, body) = read_block(&mut socket);
                assert_eq!(at, copied.len() as u64);
                assert!(body.len() <= 32 * 1024);
                copied.extend_from_slice(&body);
                let report = (copied.len() as u64).to_be_bytes();
                socket.write_all(&report).expect("a report");
            }
            copied
        });
        until(async || copied.is_finished()).await;
        let copied = copied.join().unwrap();
        slave.stop().await;
        master.stop().await;
        let file = folder
            .path()
            .join("broker-0/commitlog/00000000000000000000");
        let written = std::fs::read(file).unwrap();
        assert!(copied[..] == written[..copied.len()]);
        name_server.stop().await;
    });
}

/// Records of a log that begins with its third file.
fn records(first: u64, count: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 0..count {
        let body = format!("message {number}");
        let record = Record {
            topic: "orders",
            queue: QueueId(0),
            queue_offset: QueueOffset(500 + number),
            physical_offset: PhysicalOffset(first + bytes.len() as u64),
            flag: 0,
            sys_flag: 0,
            born_timestamp_ms: 1,
            born_host: "127.0.0.1:1".parse().expect("an address"),
            store_timestamp_ms: 1_700_000_000_000,
            store_host: "127.0.0.1:2".parse().expect("an address"),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: body.as_bytes(),
            body_crc: None,
            properties: b"",
        };
        let mut encoded = vec![0; record.encoded_bytes()];
        record.encode(&mut encoded);
        bytes.extend_from_slice(&encoded);
    }
    bytes
}

#[test]
fn a_slave_of_a_rocketmq_master_begins_with_the_file_that_it_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let first = 2 * SEGMENT_BYTES;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let master = thread::spawn(move || {
        let log = records(first, 1000);
        loop {
            let (mut socket, _) = listener.accept().expect("a connection");
            let mut report = [0; 8];
            socket.read_exact(&mut report).expect("a report");
            let at = match u64::from_be_bytes(report) {
                0 => first,
                reported => reported,
            };
            let rest = &log[usize::try_from(at - first).expect("a place")..];
            for (number, block) in rest.chunks(1000).enumerate() {
                let mut out = (at + number as u64 * 1000).to_be_bytes().to_vec();
                out.extend_from_slice(&(block.len() as i32).to_be_bytes());
                out.extend_from_slice(block);
                if socket.write_all(&out).is_err() {
                    break;
                }
            }
            // Until everything is there, or the slave comes back for it.
            while socket.read_exact(&mut report).is_ok() {
                if u64::from_be_bytes(report) == first + log.len() as u64 {
                    return first + log.len() as u64;
                }
            }
        }
    });
    run(async {
        let mut settings = broker(folder.path(), 1, Role::Slave, &[]);
        settings.replication.ha_master_address = Some(address);
        settings.replication.ha_master_is_rocketmq = true;
        let slave = Running::start(&settings, Parts::Broker).await;
        until(async || master.is_finished()).await;
        let end = master.join().unwrap();
        let admin = castmq_client::Client::connect(&slave.address)
            .await
            .unwrap();
        let at_slave = crate::set::admin(&admin, &slave.address);
        let details = at_slave.show_broker().await.unwrap();
        assert_eq!(details.log_begin.0, first);
        assert_eq!(details.log_appended.0, end);
        assert_eq!(details.log_dispatched.0, end);
        slave.stop().await;
    });
}
