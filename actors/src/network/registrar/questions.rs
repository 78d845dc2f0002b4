//! Where topics are, for others who want to know: a name server is asked over the connection over which the broker registers.

use castmq_protocol::native::route::TopicRoute;
use castmq_protocol::native::{ErrorCode, Failure as Refusal};

use super::Registrar;
use super::link::{Link, RegisterError};
use crate::supervision::{Answer, Ctx, Reply};

/// Questions that may wait.
const MAX_WAITING: usize = 1024;

/// Asks the name server where a topic is; `None` when no broker has it.
#[derive(Debug)]
pub(crate) struct FindRoute(pub(crate) String);

type Route = Result<Option<TopicRoute>, Refusal>;

/// Those that wait for the connection.
#[derive(Default)]
pub(super) struct Questions(Vec<(String, Reply<Route>)>);

impl Questions {
    /// Nobody is asked: there is no connection.
    pub(super) fn forget(&mut self) {
        for (topic, reply) in self.0.drain(..) {
            reply.send(Err(cannot_ask(&topic)));
        }
    }
}

fn cannot_ask(topic: &str) -> Refusal {
    Refusal::safe(
        ErrorCode::Busy,
        format!("no name server can be asked at the moment where topic {topic} is: ask again"),
    )
}

impl Registrar {
    /// Asks what waits, if nothing else goes on.
    pub(super) fn ask_on(&mut self, ctx: &mut Ctx<'_, Self>) {
        if self.is_busy || self.questions.0.is_empty() {
            return;
        }
        let Some(link) = self.link.take() else {
            return self.questions.forget();
        };
        self.is_busy = true;
        let questions = std::mem::take(&mut self.questions.0);
        ctx.then(ask_all(link, questions), |registrar, asked, ctx| {
            registrar.is_busy = false;
            match asked {
                Ok(link) => registrar.link = Some(link),
                Err(error) => {
                    registrar.not_registered(error.to_string());
                    registrar.questions.forget();
                    registrar.pause(super::RECONNECT, ctx);
                    return;
                }
            }
            if std::mem::take(&mut registrar.is_called_again) {
                registrar.register(ctx);
            }
            registrar.ask_on(ctx);
        });
    }
}

/// Whoever waits behind one that cannot be asked hears that from its reply's end.
async fn ask_all(
    mut link: Link,
    questions: Vec<(String, Reply<Route>)>,
) -> Result<Link, RegisterError> {
    for (topic, reply) in questions {
        reply.send(Ok(link.find_route(&topic).await?));
    }
    Ok(link)
}

impl Answer<FindRoute> for Registrar {
    type Reply = Route;

    fn answer(
        &mut self,
        FindRoute(topic): FindRoute,
        reply: Reply<Self::Reply>,
        ctx: &mut Ctx<'_, Self>,
    ) {
        let can_ask = self.is_busy || self.link.is_some();
        if !can_ask || self.questions.0.len() >= MAX_WAITING {
            return reply.send(Err(cannot_ask(&topic)));
        }
        self.questions.0.push((topic, reply));
        self.ask_on(ctx);
    }
}
