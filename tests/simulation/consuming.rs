//! The members of a consumer group.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use castmq_client::{Filter, ReceivedMessage, StartFrom};
use tokio::time::sleep;

use crate::support::history::Id;

use super::producing::{connect, wait_for_topic};
use super::record::Record;
use super::shape::{Shape, TOPIC};

const GROUP: &str = "billing";

/// The longest that a message takes to be handled.
const HANDLING_MS: u64 = 15;

/// A host with one member, which handles messages until the host crashes.
pub async fn consume(shape: Rc<Shape>, record: Record, name: String) -> turmoil::Result {
    wait_for_topic(&record).await;
    let client = connect(&shape, &name).await;
    let member = Arc::new(Member {
        shape: (*shape).clone(),
        record,
        name,
    });
    loop {
        let handler = member.clone();
        let consumer = client
            .push_consumer(GROUP)
            .subscribe(TOPIC, Filter::All)
            .from(StartFrom::Earliest)
            .order(shape.order)
            .commit_every(Duration::from_millis(500))
            .handler(move |message: ReceivedMessage| {
                let member = handler.clone();
                async move { member.handle(&message).await }
            });
        match consumer.start().await {
            Ok(_consumer) => std::future::pending().await,
            Err(_) => sleep(Duration::from_millis(200)).await,
        }
    }
}

struct Member {
    shape: Shape,
    record: Record,
    name: String,
}

impl Member {
    async fn handle(&self, message: &ReceivedMessage) {
        let id = message.body().ok().and_then(Id::parse);
        let (broker, queue) = (message.broker(), message.queue_id().0);
        let place = self.shape.place(broker, queue);
        let place = place.expect("a queue of the topic");
        let offset = message.offset().0;
        let _handling = self.record.begin(&self.name, place, offset);
        sleep(Duration::from_millis(fastrand::u64(..HANDLING_MS))).await;
        self.record.handled(place, offset, id);
        let what = format_args!("{} handled {broker}/{queue} {offset}", self.name);
        self.record.trace.note_here(what);
    }
}
