//! The universe of one check: names that nothing else uses, and clients that end with it.

// The classic pull consumer is one of those that are checked.
#![allow(deprecated)]

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use rocketmq_client_rust::{
    ClientConfig, ClientOptions, ClientResult, ClientRuntime, ClientRuntimeConfig,
    ConsumeConcurrentlyContext, ConsumeConcurrentlyStatus, ConsumeOrderlyContext,
    ConsumeOrderlyStatus, DefaultLitePullConsumer, DefaultMQProducer, DefaultMQPullConsumer,
    DefaultMQPushConsumer, MQPushConsumer, MessageListenerConcurrently, MessageListenerOrderly,
    MessageSelector,
};
use rocketmq_model::common::consumer::consume_from_where::ConsumeFromWhere;
use rocketmq_model::common::message::message_ext::MessageExt;
use rocketmq_observability::{install_global, TelemetryBootstrapConfig, TelemetryRuntimeGuard};
use rocketmq_runtime::{RuntimeConfig, RuntimeOwner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::message;

type Failure = Box<dyn Error + Send + Sync>;

/// How long a check waits for something.
pub const LIMIT: Duration = Duration::from_secs(60);

static NAMES: AtomicUsize = AtomicUsize::new(0);

pub fn body(message: &MessageExt) -> String {
    String::from_utf8_lossy(&message.body().unwrap_or_default()).into_owned()
}

/// Until the condition holds; fails after a minute.
pub async fn soon(what: &str, mut condition: impl FnMut() -> bool) -> Result<(), Failure> {
    let end = Instant::now() + LIMIT;
    while !condition() {
        if Instant::now() >= end {
            return Err(format!("not within {LIMIT:?}: {what}").into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// The body of the answer to one request without fields.
async fn ask(address: &str, code: u16, body: &str) -> Result<String, Failure> {
    let header = format!(r#"{{"code":{code},"flag":0,"language":"OTHER","opaque":1,"version":0}}"#);
    let mut connection = TcpStream::connect(address).await?;
    connection
        .write_u32((4 + header.len() + body.len()) as u32)
        .await?;
    connection.write_u32(header.len() as u32).await?;
    connection
        .write_all(format!("{header}{body}").as_bytes())
        .await?;
    let length = connection.read_u32().await? as usize;
    let mut answer = vec![0; length];
    connection.read_exact(&mut answer).await?;
    let header_length = u32::from_be_bytes(answer[..4].try_into()?) as usize & 0xff_ffff;
    let (header, body) = answer[4..].split_at(header_length);
    if !String::from_utf8_lossy(header).contains("\"code\":0,") {
        return Err(format!("refused: {}", String::from_utf8_lossy(header)).into());
    }
    Ok(String::from_utf8_lossy(body).into_owned())
}

/// What a consumer says to its messages.
#[derive(Clone, Copy)]
pub enum Answer {
    Take,
    RefuseOnce,
    /// Never takes one; the group gives up after so many retries.
    Refuse {
        most: i32,
    },
}

/// The messages that a consumer was given, in the order it was given them.
#[derive(Clone, Default)]
pub struct Received(Arc<Mutex<Vec<MessageExt>>>);

impl Received {
    fn add(&self, messages: &[&MessageExt]) {
        self.0
            .lock()
            .unwrap()
            .extend(messages.iter().map(|&message| message.clone()));
    }

    pub fn messages(&self) -> Vec<MessageExt> {
        self.0.lock().unwrap().clone()
    }

    pub fn bodies(&self) -> Vec<String> {
        self.messages().iter().map(body).collect()
    }

    /// How often each had been given before.
    pub fn reconsume_times(&self) -> Vec<i32> {
        let messages = self.messages();
        messages.iter().map(MessageExt::reconsume_times).collect()
    }

    pub async fn at_least(&self, count: usize) -> Result<(), Failure> {
        soon(&format!("{count} messages"), || {
            self.0.lock().unwrap().len() >= count
        })
        .await
    }

    /// These bodies, in any order, and nothing else.
    pub async fn exactly(&self, bodies: &[String]) -> Result<(), Failure> {
        self.at_least(bodies.len()).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (mut seen, mut expected) = (self.bodies(), bodies.to_vec());
        seen.sort();
        expected.sort();
        if seen != expected {
            return Err(format!("received {seen:?}").into());
        }
        Ok(())
    }
}

struct Listener {
    received: Received,
    answer: Answer,
}

impl MessageListenerConcurrently for Listener {
    fn consume_message(
        &self,
        messages: &[&MessageExt],
        _: &ConsumeConcurrentlyContext,
    ) -> ClientResult<ConsumeConcurrentlyStatus> {
        self.received.add(messages);
        let refuse = match self.answer {
            Answer::Take => false,
            Answer::RefuseOnce => messages
                .iter()
                .any(|message| message.reconsume_times() == 0),
            Answer::Refuse { .. } => true,
        };
        Ok(if refuse {
            ConsumeConcurrentlyStatus::ReconsumeLater
        } else {
            ConsumeConcurrentlyStatus::ConsumeSuccess
        })
    }
}

impl MessageListenerOrderly for Listener {
    fn consume_message(
        &self,
        messages: &[&MessageExt],
        _: &mut ConsumeOrderlyContext,
    ) -> ClientResult<ConsumeOrderlyStatus> {
        self.received.add(messages);
        Ok(ConsumeOrderlyStatus::Success)
    }
}

pub struct Scene {
    owner: RuntimeOwner,
    runtime: Arc<ClientRuntime>,
    telemetry: TelemetryRuntimeGuard,
    producer: Option<DefaultMQProducer>,
    consumers: Vec<DefaultMQPushConsumer>,
}

impl Scene {
    pub fn new() -> Self {
        let owner = RuntimeOwner::plan(RuntimeConfig {
            thread_name: "interop".into(),
            ..Default::default()
        })
        .expect("a valid configuration of the runtime")
        .build()
        .expect("a runtime");
        let telemetry =
            install_global(&TelemetryBootstrapConfig::default()).expect("telemetry, which is off");
        let runtime = ClientRuntime::try_new(
            owner.root_context().component("client"),
            ClientRuntimeConfig::default(),
            telemetry.handle(),
        )
        .expect("a runtime of clients");
        Self {
            owner,
            runtime,
            telemetry,
            producer: None,
            consumers: Vec::new(),
        }
    }

    pub fn runtime(&self) -> Arc<ClientRuntime> {
        self.runtime.clone()
    }

    pub fn fresh(&self, kind: &str) -> String {
        static RUN: std::sync::OnceLock<u128> = std::sync::OnceLock::new();
        let run = RUN.get_or_init(|| {
            SystemTime::UNIX_EPOCH
                .elapsed()
                .unwrap_or_default()
                .as_millis()
        });
        format!("rs-{kind}-{run}-{}", NAMES.fetch_add(1, Ordering::Relaxed))
    }

    /// Of a client of its own among those of this process, which looks for what is new as often as it may.
    pub fn options(&self) -> ClientOptions {
        let mut config = ClientConfig::new();
        let address = std::env::var("NAMESRV_ADDR")
            .expect("NAMESRV_ADDR says where the name server is, as 127.0.0.1:9876");
        config.set_namesrv_addr(address.into());
        config.set_instance_name(self.fresh("instance").into());
        config.set_poll_name_server_interval(10_000);
        config.set_heartbeat_broker_interval(10_000);
        ClientOptions::legacy(config)
    }

    /// A started producer, the same at each call.
    pub async fn producer(&mut self) -> Result<&mut DefaultMQProducer, Failure> {
        if self.producer.is_none() {
            let mut producer = DefaultMQProducer::builder(self.runtime())
                .client_options(self.options())
                .producer_group(self.fresh("producer"))
                .send_msg_timeout(10_000)
                .build();
            producer.start().await?;
            self.producer = Some(producer);
        }
        Ok(self.producer.as_mut().expect("just started"))
    }

    /// Sends a message with this body.
    pub async fn send(&mut self, topic: &str, body: &str) -> Result<(), Failure> {
        self.producer().await?.send(message(topic, body)).await?;
        Ok(())
    }

    /// What a new group of one push consumer receives of the topic.
    pub async fn receive(&mut self, topic: &str) -> Result<Received, Failure> {
        let group = self.fresh("group");
        self.start_push(topic, &group, Answer::Take).await
    }

    pub async fn start_push(
        &mut self,
        topic: &str,
        group: &str,
        answer: Answer,
    ) -> Result<Received, Failure> {
        let all = MessageSelector::by_tag("*");
        self.start_push_with(topic, all, group, answer, true).await
    }

    pub async fn start_push_with(
        &mut self,
        topic: &str,
        selector: MessageSelector,
        group: &str,
        answer: Answer,
        client_rebalance: bool,
    ) -> Result<Received, Failure> {
        let received = Received::default();
        let mut builder = DefaultMQPushConsumer::builder(self.runtime())
            .client_options(self.options())
            .consumer_group(group)
            .consume_from_where(ConsumeFromWhere::ConsumeFromFirstOffset)
            .client_rebalance(client_rebalance);
        if let Answer::Refuse { most } = answer {
            builder = builder.max_reconsume_times(most);
        }
        let mut consumer = builder.build();
        consumer
            .subscribe_with_selector(topic, Some(selector))
            .await?;
        consumer.register_message_listener_concurrently(Listener {
            received: received.clone(),
            answer,
        });
        consumer.start().await?;
        self.consumers.push(consumer);
        Ok(received)
    }

    pub async fn start_orderly(&mut self, topic: &str) -> Result<Received, Failure> {
        let received = Received::default();
        let mut consumer = DefaultMQPushConsumer::builder(self.runtime())
            .client_options(self.options())
            .consumer_group(self.fresh("group"))
            .consume_from_where(ConsumeFromWhere::ConsumeFromFirstOffset)
            .build();
        consumer.subscribe(topic, "*").await?;
        consumer.register_message_listener_orderly(Listener {
            received: received.clone(),
            answer: Answer::Take,
        });
        consumer.start().await?;
        self.consumers.push(consumer);
        Ok(received)
    }

    pub async fn pull_consumer(&self) -> Result<DefaultMQPullConsumer, Failure> {
        let consumer = DefaultMQPullConsumer::builder(self.runtime())
            .client_options(self.options())
            .consumer_group(self.fresh("group"))
            .build()?;
        consumer.start().await?;
        Ok(consumer)
    }

    pub async fn lite_pull_consumer(
        &self,
        topic: &str,
    ) -> Result<DefaultLitePullConsumer, Failure> {
        let consumer = DefaultLitePullConsumer::builder(self.runtime())
            .client_options(self.options())
            .consumer_group(self.fresh("group"))
            .consume_from_where(ConsumeFromWhere::ConsumeFromFirstOffset)
            .build()?;
        consumer.subscribe(topic).await?;
        consumer.start().await?;
        Ok(consumer)
    }

    /// Has the broker hand out the topic to the group by POP.
    pub async fn set_pop(&self, topic: &str, group: &str) -> Result<(), Failure> {
        let cluster = ask(&std::env::var("NAMESRV_ADDR")?, 106, "").await?;
        let after = cluster
            .split("brokerAddrs\":{")
            .nth(1)
            .ok_or("no broker in the cluster")?;
        // Its id, a key, may stand without quotes.
        let broker = after
            .split(":\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .ok_or("no address of the broker")?;
        let body = format!(
            r#"{{"consumerGroup":"{group}","mode":"POP","popShareQueueNum":8,"topic":"{topic}"}}"#
        );
        ask(broker, 401, &body).await.map(drop)
    }

    pub async fn stop_consumers(&mut self) {
        for mut consumer in self.consumers.drain(..) {
            consumer.shutdown().await;
        }
    }

    pub async fn end(mut self) {
        self.stop_consumers().await;
        if let Some(mut producer) = self.producer.take() {
            producer.shutdown().await;
        }
        self.runtime.shutdown().await;
        self.owner.shutdown_tasks().await;
        self.owner.shutdown_background();
        self.telemetry.shutdown();
    }
}
