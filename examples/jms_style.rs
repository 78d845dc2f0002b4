//! JMS's model: a queue and a topic, a transaction, subscriptions with selectors, a listener, request and reply.
//!
//! `cargo run --example jms_style [NAME_SERVER]`, with a broker running (`cargo run --release`).

#![allow(clippy::print_stdout)]

use std::time::Duration;

use castmq_client::DEFAULT_NAME_SERVER;
use castmq_client::jms::{
    Acknowledge, Connection, ConnectionFactory, DeliveryMode, Destination, Error, Message, Result,
};
use tokio::sync::mpsc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let factory = ConnectionFactory::new(name_server()).client_id("shop");
    let connection = factory.create_connection().await?;
    connection.set_exception_listener(|error| eprintln!("{error}"));
    connection.start()?;

    bill_orders(&connection).await?;
    publish_prices(&connection).await?;
    ask(&connection).await?;

    connection.close().await
}

/// Point-to-point: what is taken from one queue and put into another is one transaction.
async fn bill_orders(connection: &Connection) -> Result<()> {
    let (orders, bills) = (
        Destination::queue("jms-orders")?,
        Destination::queue("jms-bills")?,
    );
    let shop = connection.create_session(Acknowledge::Auto)?;
    let producer = shop.create_producer(&orders)?;
    producer.send(&mut Message::text("3 apples")).await?;

    let billing = connection.create_session(Acknowledge::Transacted)?;
    let taking = billing.create_consumer(&orders, None).await?;
    let putting = billing.create_producer(&bills)?;
    for attempt in 1..=2 {
        let Some(order) = taking.receive().await? else {
            break;
        };
        println!(
            "order of {}, redelivered: {}",
            order.as_text()?,
            order.redelivered()
        );
        let mut bill = Message::map();
        bill.map_mut()?.set("order", order.as_text()?)?;
        bill.map_mut()?.set("cents", 147_i64)?;
        putting.send(&mut bill).await?;
        match attempt {
            1 => billing.rollback().await?,
            _ => billing.commit().await?,
        }
    }

    let paying = shop.create_consumer(&bills, None).await?;
    if let Some(bill) = paying.receive().await? {
        let map = bill.as_map()?;
        let (order, cents) = (map.get::<String>("order")?, map.get::<i64>("cents")?);
        println!(
            "bill for {}: {} cents",
            order.unwrap_or_default(),
            cents.unwrap_or_default()
        );
    }
    Ok(())
}

/// Publish and subscribe: each subscription gets what its selector takes.
async fn publish_prices(connection: &Connection) -> Result<()> {
    let prices = Destination::topic("jms-prices")?;
    let session = connection.create_session(Acknowledge::Auto)?;
    let everything = session.create_consumer(&prices, None).await?;
    // It belongs to the client id "shop", and goes on when the program starts again.
    let cheap = session
        .create_durable_consumer(&prices, "cheap", Some("cents < 100 AND fruit LIKE 'a%'"))
        .await?;
    let (seen, mut seeing) = mpsc::unbounded_channel();
    everything.set_listener(move |message| {
        let seen = seen.clone();
        async move {
            let fruit = message.property::<String>("fruit")?.unwrap_or_default();
            // Nobody listens any more when the example ends.
            let _ = seen.send(fruit);
            // An error would let the message come again.
            Ok::<_, Error>(())
        }
    })?;

    let mut producer = session.create_producer(&prices)?;
    producer.set_delivery_mode(DeliveryMode::NonPersistent);
    producer.set_time_to_live(Duration::from_secs(60));
    for (fruit, cents) in [
        ("apple", 49),
        ("apricot", 120),
        ("banana", 30),
        ("avocado", 99),
    ] {
        let mut price = Message::new();
        price.set_property("fruit", fruit)?;
        price.set_property("cents", cents)?;
        producer.send(&mut price).await?;
    }
    for _ in 0..4 {
        if let Some(fruit) = seeing.recv().await {
            println!("a price of {fruit}");
        }
    }
    for _ in 0..2 {
        if let Some(price) = cheap.receive().await? {
            let fruit = price.property::<String>("fruit")?.unwrap_or_default();
            println!("cheap: {fruit}");
        }
    }
    Ok(())
}

/// Request and reply, through a queue that goes with its connection.
async fn ask(connection: &Connection) -> Result<()> {
    let requests = Destination::queue("jms-requests")?;
    let session = connection.create_session(Acknowledge::Auto)?;
    let replier = session.create_any_producer()?;
    let answering = connection.create_session(Acknowledge::Auto)?;
    let from_requests = answering.create_consumer(&requests, None).await?;
    let answers = session.create_temporary_queue().await?;
    let from_answers = session.create_consumer(&answers, None).await?;

    let mut question = Message::object(&[2, 2])?;
    question.set_reply_to(&answers);
    replier.send_to(&requests, &mut question).await?;

    if let Some(request) = from_requests.receive().await?
        && let (Some(reply_to), Some(id)) = (request.reply_to(), request.message_id())
    {
        let numbers: Vec<i32> = request.as_object()?;
        let mut answer = Message::object(&numbers.iter().sum::<i32>())?;
        answer.set_correlation_id(id);
        replier.send_to(reply_to, &mut answer).await?;
    }
    if let Some(answer) = from_answers.receive_timeout(Duration::from_secs(5)).await? {
        let is_ours = answer.correlation_id() == question.message_id();
        println!(
            "2 + 2 = {}, the answer to our question: {is_ours}",
            answer.as_object::<i32>()?
        );
    }
    Ok(())
}

/// The first argument, with or without `-n` before it.
fn name_server() -> String {
    let mut arguments = std::env::args().skip(1).filter(|given| given != "-n");
    arguments
        .next()
        .unwrap_or_else(|| DEFAULT_NAME_SERVER.into())
}
