//! Producers and consumer groups that go on whatever happens to the cluster, on a thread of their own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use castmq_client::{
    Client, Delivery, Filter, Message, Order, Producer, PushConsumer, ReceivedMessage, StartFrom,
};
use tokio::sync::watch;

use crate::account::{Account, GROUPS, Group, Place, Stored, wait_until};
use crate::support::cluster::Cluster;
use crate::support::history::Id;
use crate::support::{reader, run, stored};

pub(crate) const TOPICS: [&str; 3] = ["orders", "payments", "refunds"];
const QUEUES: &str = "4";

const BODY_BYTES: usize = 200;

/// Messages of a keyed producer that are under way at once.
const UNDER_WAY: usize = 16;

/// Messages of a queue that a consumer has at once. Few: the rest is still to be had from a slave when the master dies.
const WINDOW: u32 = 16;

/// How long groups may take in the end to catch up.
const RECEIVE_WITHIN: Duration = Duration::from_secs(60);

/// The group of the two consumers that take messages in any order.
const BILLING: &str = "billing";
/// The group of the one that takes them in order.
const LEDGER: &str = "ledger";

const COMMIT_EVERY: Duration = Duration::from_millis(200);

/// Who produces, and how much.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crowd {
    /// They send one message after the other, to any queue of any broker.
    pub(crate) plain: u32,
    /// They are idempotent, and have many messages under way, which have one ordering key.
    pub(crate) keyed: u32,
    /// Between two messages of a producer.
    pub(crate) pause: Duration,
}

/// Load that runs.
pub(crate) struct Load {
    pub(crate) account: Arc<Account>,
    sends: Arc<AtomicBool>,
    has_sent: Arc<AtomicBool>,
    /// Whether messages are handled; those that came wait meanwhile.
    handles: watch::Sender<bool>,
    consumes: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Makes the topics, and begins.
    pub(crate) fn start(cluster: &Cluster, crowd: Crowd) -> Self {
        for topic in TOPICS {
            let create = ["admin", "topic", "create", topic, "--queues", QUEUES];
            cluster.tool(&create).well();
        }
        let account = Arc::new(Account::default());
        let sends = Arc::new(AtomicBool::new(true));
        let has_sent = Arc::new(AtomicBool::new(false));
        let handles = watch::Sender::new(true);
        let consumes = watch::Sender::new(true);
        let worker = Worker {
            name_servers: cluster.name_servers(),
            crowd,
            account: account.clone(),
            sends: sends.clone(),
            has_sent: has_sent.clone(),
            handles: handles.subscribe(),
            consumes: consumes.subscribe(),
        };
        let thread = std::thread::spawn(move || run(worker.work()));
        account.reach_more(1);
        wait_until("the groups get messages", || {
            GROUPS.iter().all(|group| account.received(*group) > 0)
        });
        Self {
            account,
            sends,
            has_sent,
            handles,
            consumes,
            thread: Some(thread),
        }
    }

    /// Has the groups stop at the messages that it has, or go on.
    pub(crate) fn set_handling(&self, handles: bool) {
        self.handles.send_replace(handles);
    }

    /// Ends it when all that is stored was received, and returns what that is.
    pub(crate) fn finish(mut self, cluster: &Cluster) -> (Arc<Account>, Stored) {
        self.sends.store(false, Ordering::Release);
        wait_until("producers have come to their end", || {
            self.has_sent.load(Ordering::Acquire)
        });
        let stored = run(read(cluster));
        let late = || self.account.unreceived(&stored);
        let deadline = Instant::now() + RECEIVE_WITHIN;
        while !late().is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        // One that is on its way to a master says at its end that it could not commit there.
        wait_until("all consumers are members at all masters", || {
            run(are_members(cluster))
        });
        self.end();
        (self.account.clone(), stored)
    }

    fn end(&mut self) {
        self.sends.store(false, Ordering::Release);
        self.handles.send_replace(true);
        self.consumes.send_replace(false);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("producers and consumers do not panic");
        }
    }
}

async fn are_members(cluster: &Cluster) -> bool {
    let client = cluster.client().await;
    for master in client.admin().masters().await.expect("masters") {
        for (group, consumers) in [(BILLING, 2), (LEDGER, 1)] {
            let details = master.show_group(group).await;
            if !details.is_ok_and(|details| details.members.len() == consumers) {
                return false;
            }
        }
    }
    true
}

/// All that the cluster has.
async fn read(cluster: &Cluster) -> Stored {
    let client = cluster.client().await;
    let masters = client.admin().masters().await.expect("masters");
    let mut all = Stored::new();
    for topic in TOPICS {
        let mut count = 0;
        for master in &masters {
            count += stored(master, topic).await;
        }
        let mut consumer = reader(&client, topic).await;
        let mut left = count;
        while left > 0 {
            let messages = consumer.poll(Duration::from_secs(5)).await.expect("a poll");
            for message in messages {
                let ((queue, offset), id) = identify(&message);
                all.entry(queue).or_default().push((offset, id));
                left -= 1;
            }
        }
    }
    all
}

fn identify(message: &ReceivedMessage) -> (Place, Id) {
    let id = Id::parse(message.body().expect("a body")).expect("a body with an identity");
    ((message.queue(), message.offset().0), id)
}

struct Worker {
    name_servers: String,
    crowd: Crowd,
    account: Arc<Account>,
    sends: Arc<AtomicBool>,
    has_sent: Arc<AtomicBool>,
    handles: watch::Receiver<bool>,
    consumes: watch::Receiver<bool>,
}

impl Worker {
    async fn work(mut self) {
        let consumers = [
            self.consumer(Group::AnyOrder).await,
            self.consumer(Group::AnyOrder).await,
            self.consumer(Group::InOrder).await,
        ];
        let client = self.client().await;
        let plain = Arc::new(client.producer().build());
        let once = client.producer().idempotent(true);
        let once = Arc::new(once.send_timeout(Duration::from_secs(20)).build());
        let mut tasks = Vec::new();
        for number in 0..self.crowd.plain + self.crowd.keyed {
            let account = self.account.clone();
            let sends = self.sends.clone();
            let pause = self.crowd.pause;
            if number < self.crowd.plain {
                let producing = produce(number, plain.clone(), account, sends, pause);
                tasks.push(tokio::spawn(producing));
            } else {
                self.account.expect_once(number);
                let producing = produce_keyed(number, once.clone(), account, sends, pause);
                tasks.push(tokio::spawn(producing));
            }
        }
        for task in tasks {
            task.await.expect("a producer without a panic");
        }
        self.has_sent.store(true, Ordering::Release);
        let _ = self.consumes.wait_for(|consumes| !consumes).await;
        for consumer in consumers {
            consumer
                .shutdown()
                .await
                .expect("a consumer that ends well");
        }
    }

    async fn client(&self) -> Client {
        let client = Client::connect(self.name_servers.clone()).await;
        client.expect("the client connects")
    }

    async fn consumer(&self, group: Group) -> PushConsumer {
        let (name, order) = match group {
            Group::AnyOrder => (BILLING, Order::None),
            Group::InOrder => (LEDGER, Order::PerQueue),
        };
        let client = self.client().await;
        let mut consumer = client
            .push_consumer(name)
            .from(StartFrom::Earliest)
            .order(order)
            .window(WINDOW, 1 << 20)
            .commit_every(COMMIT_EVERY);
        for topic in TOPICS {
            consumer = consumer.subscribe(topic, Filter::All);
        }
        let (account, handles) = (self.account.clone(), self.handles.clone());
        let consumer = consumer.handler(move |message| {
            let (account, mut handles) = (account.clone(), handles.clone());
            async move {
                let (place, id) = identify(&message);
                // It changes as long as there is load.
                let _ = handles.wait_for(|handles| *handles).await;
                account.receive(group, place, id);
            }
        });
        consumer.start().await.expect("a member of the group")
    }
}

fn message(topic: &str, id: Id) -> castmq_client::MessageBuilder {
    Message::builder(topic, id.body(BODY_BYTES))
}

async fn produce(
    number: u32,
    producer: Arc<Producer>,
    account: Arc<Account>,
    sends: Arc<AtomicBool>,
    pause: Duration,
) {
    for (sequence, topic) in (0..).zip(TOPICS.into_iter().cycle()) {
        if !sends.load(Ordering::Acquire) {
            return;
        }
        let id = Id {
            producer: number,
            sequence,
        };
        account.begin(id);
        let message = message(topic, id).build().expect("a message");
        let result = producer.send(message).await;
        account.end(id, result);
        tokio::time::sleep(pause).await;
    }
}

async fn produce_keyed(
    number: u32,
    producer: Arc<Producer>,
    account: Arc<Account>,
    sends: Arc<AtomicBool>,
    pause: Duration,
) {
    let topic = TOPICS[number as usize % TOPICS.len()];
    let mut under_way: VecDeque<(Id, Delivery)> = VecDeque::new();
    for sequence in 0.. {
        if !sends.load(Ordering::Acquire) {
            break;
        }
        if under_way.len() >= UNDER_WAY
            && let Some((id, delivery)) = under_way.pop_front()
        {
            account.end(id, delivery.await);
        }
        let id = Id {
            producer: number,
            sequence,
        };
        account.begin(id);
        let message = message(topic, id).ordering_key(&number.to_string());
        let message = message.build().expect("a message");
        under_way.push_back((id, producer.enqueue(message)));
        tokio::time::sleep(pause).await;
    }
    for (id, delivery) in under_way {
        account.end(id, delivery.await);
    }
}
