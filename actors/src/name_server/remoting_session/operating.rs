//! What operators do: configuration, and brokers that producers leave out.

use castmq_config::{Node, check_changes, rocketmq_pairs};
use castmq_protocol::remoting::headers::name_server::{
    AddWritePermissionResponse, WipeWritePermissionResponse, WritePermission,
};

use super::*;
use crate::name_server::route_keeper::{LetWrite, ListFlagged};
use crate::network::remoting_session::{change_refused, escaped};

/// Bits of a topic's flag (RocketMQ `TopicSysFlag`).
const UNIT: u32 = 1;
const UNIT_SUBSCRIBED: u32 = 2;

impl NameServerRemotingSession {
    /// Requests of operators that name servers of RocketMQ serve besides.
    pub(super) fn operate(
        &mut self,
        command: &Command<'_>,
        body: &[u8],
        ctx: &mut Ctx<'_, Self>,
    ) -> Handled {
        let asker = Asker::of(command);
        let flagged = |has, lacks| ListFlagged { has, lacks };
        match command.code {
            request_code::WIPE_WRITE_PERM_OF_BROKER => self.let_write(command, false, ctx)?,
            request_code::ADD_WRITE_PERM_OF_BROKER => self.let_write(command, true, ctx)?,
            request_code::GET_UNIT_TOPIC_LIST => self.list(asker, flagged(UNIT, 0), ctx),
            request_code::GET_HAS_UNIT_SUB_TOPIC_LIST => {
                self.list(asker, flagged(UNIT_SUBSCRIBED, 0), ctx);
            }
            request_code::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => {
                self.list(asker, flagged(UNIT_SUBSCRIBED, UNIT), ctx);
            }
            request_code::UPDATE_NAMESRV_CONFIG => {
                let text = String::from_utf8_lossy(body);
                let checked = check_changes(&self.shared.settings, Node::NameServer, &text);
                checked.map_err(|refused| change_refused(&refused))?;
                return Ok(Some(Bytes::new()));
            }
            request_code::GET_NAMESRV_CONFIG => return Ok(Some(self.config())),
            _ => return self.handle_broker(command, body, ctx),
        }
        Ok(None)
    }

    /// Has producers leave a broker out, or use it again.
    fn let_write(
        &mut self,
        command: &Command<'_>,
        writes: bool,
        ctx: &mut Ctx<'_, Self>,
    ) -> Result<(), Refused> {
        let asker = Asker::of(command);
        let broker = WritePermission::from_fields(&command.fields)?.broker_name;
        let asked = self.keeper.ask(LetWrite {
            broker: broker.to_owned(),
            writes,
        });
        self.under_way += 1;
        ctx.then(asked, move |session, topics, _| {
            session.under_way -= 1;
            let connection = &mut session.connection;
            match (topics, writes) {
                (Ok(topics), true) => {
                    let topics = i32::try_from(topics).unwrap_or(i32::MAX);
                    connection.respond(asker, &AddWritePermissionResponse { topics }, b"");
                }
                (Ok(topics), false) => {
                    let topics = i32::try_from(topics).unwrap_or(i32::MAX);
                    connection.respond(asker, &WipeWritePermissionResponse { topics }, b"");
                }
                (Err(error), _) => {
                    let refused = Refused::new(response_code::SYSTEM_ERROR, error.to_string());
                    connection.refuse(asker, &refused);
                }
            }
        });
        Ok(())
    }

    fn list(&mut self, asker: Asker, flagged: ListFlagged, ctx: &mut Ctx<'_, Self>) {
        let asked = self.keeper.ask(flagged);
        let body = |topics: Vec<String>| Ok(body_of(topic_list(topics, None)));
        self.reply(asker, asked, body, ctx);
    }

    /// Settings under the names that RocketMQ has for them.
    fn config(&self) -> Bytes {
        let Shared {
            settings, address, ..
        } = &*self.shared;
        let mut config: BTreeMap<_, _> = rocketmq_pairs(settings, Node::NameServer)
            .into_iter()
            .collect();
        config.extend([
            ("listenPort", address.port().to_string()),
            // What is always so.
            ("orderMessageEnable", true.to_string()),
        ]);
        let lines = config.into_iter();
        let text: String = lines
            .map(|(name, value)| format!("{name}={}\n", escaped(&value)))
            .collect();
        text.into()
    }
}
