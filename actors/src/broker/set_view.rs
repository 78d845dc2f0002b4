//! What name servers say of the set that the broker belongs to. Each says what it knows, and some may be behind.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use castmq_protocol::native::route::Registered;
use parking_lot::RwLock;
use tokio::sync::watch;

/// A set's master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Master {
    /// Where clients reach it.
    pub(crate) address: String,
    /// Where slaves reach it; empty when it takes none.
    pub(crate) ha_address: String,
    /// Its number in its configuration.
    pub(crate) configured_id: u64,
    pub(crate) epoch: u32,
}

/// What one name server said last.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    /// The connection to it stands.
    is_current: bool,
    epoch: u32,
    master: Option<Master>,
    members: BTreeMap<u64, String>,
}

impl Heard {
    fn new(registered: &Registered) -> Self {
        let epoch = registered.master_epoch;
        let master = Master {
            address: registered.master_address.clone(),
            ha_address: registered.master_ha_address.clone(),
            configured_id: registered.master_configured_id,
            epoch,
        };
        Self {
            is_current: true,
            epoch,
            master: Some(master).filter(|master| !master.address.is_empty()),
            members: registered.members.iter().cloned().collect(),
        }
    }
}

/// See the module. Registrars write it.
#[derive(Debug)]
pub(crate) struct BrokerSetView {
    by_name_server: RwLock<BTreeMap<String, Heard>>,
    changes: watch::Sender<()>,
}

impl Default for BrokerSetView {
    fn default() -> Self {
        Self {
            by_name_server: RwLock::default(),
            changes: watch::Sender::new(()),
        }
    }
}

impl BrokerSetView {
    /// A name server has said this.
    pub(crate) fn hear(&self, name_server: &str, registered: &Registered) {
        let heard = Heard::new(registered);
        let mut table = self.by_name_server.write();
        if table.get(name_server) != Some(&heard) {
            table.insert(name_server.to_owned(), heard);
            self.changes.send_replace(());
        }
    }

    /// The connection to a name server is lost: what it said is remembered, for as long as no other knows better.
    pub(crate) fn lose(&self, name_server: &str) {
        let mut table = self.by_name_server.write();
        if let Some(heard) = table.get_mut(name_server).filter(|heard| heard.is_current) {
            heard.is_current = false;
            self.changes.send_replace(());
        }
    }

    /// The set's master: the one with the greatest epoch. When name servers name two of one epoch, those that can be asked
    /// count for more, and among them nobody is turned back and forth.
    pub(crate) fn master(&self) -> Option<Master> {
        let table = self.by_name_server.read();
        let known = table.values().filter_map(|heard| {
            let master = heard.master.as_ref()?;
            Some((master, heard.is_current))
        });
        let (master, _) = known.max_by_key(|(master, is_current)| {
            (master.epoch, *is_current, Reverse(&master.address))
        })?;
        Some(master.clone())
    }

    /// The greatest epoch of which any name server has told. A master with a smaller one is none any more.
    pub(crate) fn epoch(&self) -> u32 {
        let table = self.by_name_server.read();
        table.values().map(|heard| heard.epoch).max().unwrap_or(0)
    }

    /// The brokers that are registered with any name server, by id. While none can be asked, those that were.
    pub(crate) fn members(&self) -> BTreeMap<u64, String> {
        let table = self.by_name_server.read();
        let can_ask = table.values().any(|heard| heard.is_current);
        let heard = table.values().filter(|heard| heard.is_current == can_ask);
        heard.flat_map(|heard| heard.members.clone()).collect()
    }

    /// Told whenever a name server says something else than before.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registered(master: &str, epoch: u32, members: &[(u64, &str)]) -> Registered {
        Registered {
            master_address: master.into(),
            master_epoch: epoch,
            members: members.iter().map(|(id, at)| (*id, (*at).into())).collect(),
            ..Registered::default()
        }
    }

    fn master(view: &BrokerSetView) -> String {
        view.master()
            .map_or_else(String::new, |master| master.address)
    }

    #[test]
    fn the_greatest_epoch_is_the_masters() {
        let view = BrokerSetView::default();
        assert_eq!((view.master(), view.epoch()), (None, 0));
        view.hear("n1", &registered("a:1", 1, &[]));
        view.hear("n2", &registered("b:1", 2, &[]));
        assert_eq!((master(&view).as_str(), view.epoch()), ("b:1", 2));
        view.lose("n2");
        assert_eq!(master(&view), "b:1");
        view.hear("n1", &registered("", 3, &[]));
        assert_eq!((master(&view).as_str(), view.epoch()), ("b:1", 3));
        view.hear("n1", &registered("c:1", 3, &[]));
        assert_eq!(master(&view), "c:1");
    }

    #[test]
    fn of_one_epoch_whom_a_name_server_knows_now_is_the_master() {
        let view = BrokerSetView::default();
        view.hear("n1", &registered("a:1", 1, &[]));
        view.hear("n2", &registered("b:1", 1, &[]));
        assert_eq!(master(&view), "a:1");
        view.lose("n1");
        assert_eq!(master(&view), "b:1");
        view.lose("n2");
        assert_eq!(master(&view), "a:1");
    }

    #[test]
    fn members_are_those_of_all_name_servers() {
        let view = BrokerSetView::default();
        view.hear("n1", &registered("", 0, &[(0, "a:1")]));
        view.hear("n2", &registered("", 0, &[(0, "a:1"), (2, "c:1")]));
        assert_eq!(view.members().into_keys().collect::<Vec<_>>(), [0, 2]);
        view.lose("n2");
        assert_eq!(view.members().len(), 1);
        view.lose("n1");
        assert_eq!(view.members().len(), 2);
    }

    #[test]
    fn changes_are_told_and_repetitions_are_not() {
        let view = BrokerSetView::default();
        let mut changes = view.changes();
        view.hear("n1", &registered("a:1", 1, &[]));
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        view.hear("n1", &registered("a:1", 1, &[]));
        assert!(!changes.has_changed().unwrap());
        view.lose("n1");
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        view.lose("n1");
        assert!(!changes.has_changed().unwrap());
    }
}
