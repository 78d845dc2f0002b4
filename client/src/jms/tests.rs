//! What becomes of messages whose broker does not answer, or refuses.

use std::sync::Arc;
use std::time::Duration;

use castmq_protocol::model::{QueueId, QueueOffset};
use castmq_protocol::native::request::PopReceipt;
use castmq_protocol::native::response::{Acknowledged, RefusedReceipt};
use castmq_protocol::native::{ErrorCode, Failure, Request, Response};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::consumer::{ConsumerCore, GRACE};
use super::delivery::{ASKED_AT_ONCE, Held};
use super::feed::Feed;
use super::{Acknowledge, ConnectionFactory, Destination, Error, MessageConsumer, Session};
use crate::client::Client;
use crate::consumer::PoppedMessage;
use crate::message::{ReceivedMessage, stored_record};
use crate::testing::{FakeCluster, Listener, Network, Peer, welcome};

const LEASE: Duration = Duration::from_secs(3);

/// A message that was popped just now from the broker at this address.
fn popped(network: &Network, address: &str, place: u64) -> Arc<Held> {
    let client = Client::builder().offline(Arc::new(network.clone()));
    let record = stored_record(place, b"", b"", 0);
    let message = ReceivedMessage::from_record(record.into()).unwrap();
    let receipt = PopReceipt {
        queue: QueueId(0),
        offset: QueueOffset(place),
        popped_at_ms: 1,
        invisible_ms: 3000,
        attempt: 1,
    };
    let message = PoppedMessage::of(&client, address, message, receipt);
    Arc::new(Held::popped(message, LEASE))
}

/// A broker that greets, and answers nothing else.
async fn silent(mut listener: Listener) {
    let _peer = listener.greet(welcome("silent")).await;
    std::future::pending().await
}

/// A broker that lets leases end when it is asked to, and tells in how many milliseconds.
async fn extend(mut listener: Listener, extended: mpsc::UnboundedSender<u32>) {
    loop {
        let peer = listener.greet(welcome("b")).await;
        tokio::spawn(extend_on(peer, extended.clone()));
    }
}

async fn extend_on(mut peer: Peer, extended: mpsc::UnboundedSender<u32>) {
    while let Some((header, _)) = peer.next().await {
        let response = match header.request {
            Request::ChangeInvisible(change) => {
                let _ = extended.send(change.invisible_ms);
                Response::InvisibleChanged {
                    receipt: change.receipt,
                }
            }
            other => greeted(other),
        };
        peer.reply(header.correlation, response).await;
    }
}

/// A broker that refuses acknowledgements by their offsets, one in a request, and tells of each.
async fn refuse(
    mut listener: Listener,
    refusals: [Option<ErrorCode>; 3],
    asked: mpsc::UnboundedSender<u64>,
) {
    loop {
        let mut peer = listener.greet(welcome("b")).await;
        let asked = asked.clone();
        tokio::spawn(async move {
            while let Some((header, _)) = peer.next().await {
                let response = match header.request {
                    Request::Acknowledge(request) => {
                        let offset = request.receipts[0].offset.0;
                        let _ = asked.send(offset);
                        let code = refusals[offset as usize];
                        let refused = code.map(|code| RefusedReceipt {
                            place: 0,
                            failure: Failure::never(code, "no"),
                        });
                        Response::Acknowledged(Acknowledged {
                            refused: refused.into_iter().collect(),
                        })
                    }
                    other => greeted(other),
                };
                peer.reply(header.correlation, response).await;
            }
        });
    }
}

/// What any broker says to what comes before a request.
fn greeted(request: Request) -> Response {
    match request {
        Request::Heartbeat => Response::Done,
        Request::AnnounceGroup { alias, .. } => Response::GroupAnnounced { alias },
        Request::AnnounceTopic { alias, .. } => Response::TopicAnnounced {
            alias,
            write_queues: 1,
            read_queues: 1,
        },
        other => panic!("{other:?}"),
    }
}

/// A session whose connection is started.
async fn session(mode: Acknowledge) -> Session {
    let client = FakeCluster::start(&[]).client().await;
    let factory = ConnectionFactory::from_client(&client).lease(LEASE);
    let connection = factory.create_connection().await.unwrap();
    connection.start().unwrap();
    connection.create_session(mode).unwrap()
}

/// A consumer that has taken messages and not delivered them.
fn consumer(session: &Session, buffer: impl IntoIterator<Item = Arc<Held>>) -> MessageConsumer {
    let core = session.core();
    let consumer = core.connection.client.pop_consumer("workers").topic("jobs");
    let feed = Feed::Pop {
        consumer: consumer.build().unwrap(),
        lease: LEASE,
        buffer: buffer.into_iter().inspect(|held| core.keep(held)).collect(),
    };
    let jobs = Destination::queue("jobs").unwrap();
    let consumer = ConsumerCore::new(core, &jobs, feed, None);
    core.add(&consumer);
    MessageConsumer::new(consumer)
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_does_not_answer_costs_no_lease_of_another() {
    let network = Network::default();
    tokio::spawn(silent(network.listen("silent:1")));
    let (extended, mut extensions) = mpsc::unbounded_channel();
    tokio::spawn(extend(network.listen("b:1"), extended));
    let session = session(Acknowledge::Client).await;
    let others = (0..=ASKED_AT_ONCE).map(|place| popped(&network, "silent:1", place as u64));
    let others: Vec<_> = others.collect();
    let one = popped(&network, "b:1", 0);
    for held in others.iter().chain([&one]) {
        session.core().keep(held);
    }
    for _ in 0..3 {
        let extension = timeout(LEASE, extensions.recv()).await;
        assert!(extension.is_ok(), "its lease ended");
    }
    assert!(!one.is_lost());
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_back_comes_again_though_nobody_waits_for_that_to_its_end() {
    for mode in [Acknowledge::Transacted, Acknowledge::Client] {
        let network = Network::default();
        let (extended, mut extensions) = mpsc::unbounded_channel();
        tokio::spawn(extend(network.listen("b:1"), extended));
        let session = session(mode).await;
        let held = [0, 1].map(|place| popped(&network, "b:1", place));
        for one in &held {
            session.core().keep(one);
            session.core().hold(one.clone());
        }
        let dropped = match mode {
            Acknowledge::Transacted => timeout(Duration::ZERO, session.rollback()).await,
            _ => timeout(Duration::ZERO, session.recover()).await,
        };
        assert!(dropped.is_err(), "{dropped:?}");
        let delay = session.core().connection.settings.redelivery_delay;
        for _ in &held {
            let told = extensions.recv().await;
            assert_eq!(told, Some(delay.as_millis() as u32), "{mode:?}");
        }
        // The application has them, and they are kept no longer all the same.
        let more = timeout(LEASE * 2, extensions.recv()).await;
        assert!(more.is_err(), "{mode:?}: {more:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn those_that_are_lost_are_acknowledged_once_and_those_that_are_refused_otherwise_again() {
    let network = Network::default();
    let (asking, mut asked) = mpsc::unbounded_channel();
    let refusals = [None, Some(ErrorCode::Busy), Some(ErrorCode::ReceiptExpired)];
    tokio::spawn(refuse(network.listen("b:1"), refusals, asking));
    let session = session(Acknowledge::Client).await;
    for place in 0..3 {
        session.core().hold(popped(&network, "b:1", place));
    }
    let rounds: [(_, &[u64]); 3] = [
        (ErrorCode::ReceiptExpired, &[0, 1, 2]),
        (ErrorCode::Busy, &[1]),
        (ErrorCode::Busy, &[1]),
    ];
    for (code, offsets) in rounds {
        let told = session.core().settle_all().await;
        let told = told.expect_err("one is refused");
        assert!(
            matches!(&told, Error::Client(error) if error.code() == Some(code)),
            "{told}"
        );
        let asked: Vec<_> = std::iter::from_fn(|| asked.try_recv().ok()).collect();
        assert_eq!(asked, offsets);
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_does_not_answer_keeps_no_acknowledgement_from_another() {
    let network = Network::default();
    let (asking, mut asked) = mpsc::unbounded_channel();
    tokio::spawn(silent(network.listen("silent:1")));
    tokio::spawn(refuse(network.listen("b:1"), [None; 3], asking));
    let session = session(Acknowledge::Client).await;
    for address in ["silent:1", "b:1"] {
        session.core().hold(popped(&network, address, 0));
    }
    let told = session.core().settle_all().await;
    assert!(told.is_err(), "of one it is not known");
    assert_eq!(asked.try_recv(), Ok(0));
}

#[tokio::test(start_paused = true)]
async fn what_a_commit_received_is_kept_no_longer_though_nobody_waits_for_that_to_its_end() {
    let network = Network::default();
    tokio::spawn(silent(network.listen("silent:1")));
    let session = session(Acknowledge::Transacted).await;
    let held = popped(&network, "silent:1", 0);
    session.core().hold(held.clone());
    let dropped = timeout(Duration::ZERO, session.commit()).await;
    assert!(dropped.is_err(), "{dropped:?}");
    assert!(held.is_lost());
}

#[tokio::test(start_paused = true)]
async fn messages_that_are_here_are_delivered_though_their_broker_does_not_make_their_leases_longer()
 {
    let network = Network::default();
    tokio::spawn(silent(network.listen("silent:1")));
    let session = session(Acknowledge::Client).await;
    let consumer = consumer(
        &session,
        (0..2).map(|place| popped(&network, "silent:1", place)),
    );
    // The broker is being asked to make them longer.
    sleep(LEASE / 2).await;
    let start = Instant::now();
    let first = consumer.receive_timeout(Duration::from_millis(100)).await;
    assert!(first.unwrap().is_some());
    assert!(consumer.receive_no_wait().await.unwrap().is_some());
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn whoever_receives_waits_no_longer_though_the_broker_does_not_say_that_it_has_the_acknowledgement()
 {
    let network = Network::default();
    tokio::spawn(silent(network.listen("silent:1")));
    let session = session(Acknowledge::Auto).await;
    let consumer = consumer(&session, [popped(&network, "silent:1", 0)]);
    let start = Instant::now();
    assert!(consumer.receive_no_wait().await.unwrap().is_none());
    assert_eq!(start.elapsed(), GRACE);
    let soon = Duration::from_millis(100);
    let start = Instant::now();
    assert!(consumer.receive_timeout(soon).await.unwrap().is_none());
    assert_eq!(start.elapsed(), soon + GRACE);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_closes_though_it_waits_for_a_broker_that_does_not_answer() {
    let network = Network::default();
    tokio::spawn(silent(network.listen("silent:1")));
    let session = session(Acknowledge::Auto).await;
    let messages = (0..10).map(|place| popped(&network, "silent:1", place));
    let consumer = consumer(&session, messages);
    let close = async {
        tokio::task::yield_now().await;
        let start = Instant::now();
        consumer.close().await.unwrap();
        start.elapsed()
    };
    let (received, took) = tokio::join!(consumer.receive(), close);
    assert!(received.unwrap().is_none());
    // After the acknowledgement all are given back, in vain too.
    assert!(took < Duration::from_secs(10), "{took:?}");
}
