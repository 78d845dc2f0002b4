//! What goes on while name servers, masters or slaves are stopped: the table of what is affected by what.
//!
//! `CASTMQ_AVAILABILITY_SECONDS` says for how long each row is looked at.

use std::time::{Duration, Instant};

use castmq_client::{Client, Error};

use crate::account::{wait_until, wait_until_all};
use crate::load::{Crowd, Load};
use crate::support::cluster::Cluster;
use crate::support::{number, run};
use crate::window::Window;

const CROWD: Crowd = Crowd {
    plain: 6,
    keyed: 0,
    pause: Duration::from_millis(5),
};

/// What counts as no interruption: a machine that has other things to do takes as long for no reason.
const UNNOTICED: Duration = Duration::from_secs(2);

/// How soon what was interrupted has to go on. Clients look for a broker that is missing every second.
const SOON: Duration = Duration::from_secs(10);

/// For so long messages gather that a slave is to have for the group.
const GATHER: Duration = Duration::from_millis(500);

/// After this a send fails that no broker has taken.
const SEND_TIMEOUT: Duration = Duration::from_secs(3);

/// A cluster of two sets under load, and what its rows are looked at with.
struct Table {
    cluster: Cluster,
    load: Load,
    look: Duration,
}

impl Table {
    fn window(&self, from: Instant) -> Window {
        Window::of(&self.load.account, CROWD.plain, from, Instant::now())
    }

    /// Does it, and looks at what happens meanwhile and for a while after.
    fn row(&self, what: &str, action: impl FnOnce(&Cluster)) -> Window {
        let from = Instant::now();
        action(&self.cluster);
        let acted = from.elapsed();
        std::thread::sleep(self.look);
        let window = self.window(from);
        println!("{what} (done after {} ms):\n{window}", acted.as_millis());
        window
    }

    /// Starts what was stopped, and waits until everything goes on as before.
    fn restore(&self, members: &[&str]) {
        let from = Instant::now();
        self.cluster.run("restart", members).well();
        let back = Instant::now();
        wait_until("both sets store and are read", || {
            let window = self.window(back);
            ["broker-a", "broker-b"]
                .iter()
                .all(|set| window.stored_at(set) > 0 && window.received_from(set) > 0)
        });
        let used = back.elapsed();
        assert!(used < SOON);
        wait_until("groups have left the slaves", || {
            let slaves = ["broker-a-s", "broker-b-s"];
            slaves
                .iter()
                .all(|slave| !run(is_read(&self.cluster, slave)))
        });
        println!(
            "{} back after {} ms, used again {} ms later, and read by all {} ms later:\n{}",
            members.join(" and "),
            (back - from).as_millis(),
            used.as_millis(),
            back.elapsed().as_millis(),
            self.window(from)
        );
    }

    /// Kills masters that have messages which the group has not handled, has the group go on, and waits until it was given
    /// them by slaves.
    ///
    /// A slave shows what its master said that it may: not yet the last messages that the master acknowledged.
    fn kill_unread(&self, masters: &[&str]) {
        self.load.set_handling(false);
        std::thread::sleep(GATHER);
        let before = Instant::now();
        self.cluster.run("kill", masters).well();
        self.load.set_handling(true);
        let from = Instant::now();
        let count = |before| -> usize {
            let waiting = masters.iter();
            waiting
                .map(|set| self.load.account.waiting(set, before))
                .sum()
        };
        let waited = count(before);
        wait_until_all("what was stored is received", || count(before));
        let took = from.elapsed();
        let hidden = count(from);
        println!(
            "{waited} messages that waited at {} came from slaves within {} ms, {hidden} of the last moment are not shown",
            masters.join(" and "),
            took.as_millis()
        );
        assert!(waited > 0 && took < SOON);
    }
}

/// Whether a broker has a consumer's session.
async fn is_read(cluster: &Cluster, member: &str) -> bool {
    let client = cluster.client().await;
    let broker = client.admin().at(&cluster.address(member));
    let actors = broker.actors().await.expect("its actors");
    actors.contains("\"Consumer(")
}

/// Sees to it that nobody sending or receiving noticed anything.
fn assert_unnoticed(window: &Window) {
    assert_sends(window);
    assert!(window.longest_without_receipt < UNNOTICED, "{window}");
    assert_eq!(window.redelivered, 0, "{window}");
}

fn assert_sends(window: &Window) {
    assert_eq!(window.failed, 0, "{window}");
    assert!(window.longest_without_send < UNNOTICED, "{window}");
}

fn connect(name_servers: &str) -> Result<Client, Error> {
    run(Client::connect(name_servers))
}

#[test]
fn what_is_affected_when_servers_are_stopped_is_what_the_table_says() {
    let cluster = Cluster::up(2, 2, 2, &[]);
    let name_servers = cluster.name_servers();
    let load = Load::start(&cluster, CROWD);
    let look = Duration::from_secs(number("CASTMQ_AVAILABILITY_SECONDS", 1));
    let table = Table {
        cluster,
        load,
        look,
    };
    let calm = table.row("nothing is stopped", |_| {});
    assert_unnoticed(&calm);
    assert_eq!(calm.less, 0);

    let one = table.row("one name server is stopped", |cluster| {
        cluster.kill("namesrv-1")
    });
    assert_unnoticed(&one);
    assert!(connect(&name_servers).is_ok());

    let all = table.row("all name servers are stopped", |cluster| {
        cluster.kill("namesrv-2")
    });
    assert_unnoticed(&all);
    let refused = connect(&name_servers).expect_err("a new client needs a name server");
    println!("  a new client: {refused}");
    assert!(matches!(refused, Error::Connect { .. }), "{refused}");
    table.restore(&["namesrv-1", "namesrv-2"]);
    assert!(connect(&name_servers).is_ok());

    let master = table.row("one master is stopped", |_| {
        table.kill_unread(&["broker-a"])
    });
    assert_sends(&master);
    assert!(
        master.stored_at("broker-b") > master.stored_at("broker-a"),
        "{master}"
    );
    assert!(master.received_from("broker-a") > 0, "{master}");
    table.restore(&["broker-a"]);

    let killed = Instant::now();
    let masters = table.row("all masters are stopped", |_| {
        table.kill_unread(&["broker-a", "broker-b"]);
        std::thread::sleep(SEND_TIMEOUT);
    });
    assert!(masters.failed > 0, "{masters}");
    let after = table.window(killed + GATHER + SEND_TIMEOUT);
    assert_eq!(after.stored, 0, "{after}");
    let any = table.row("any master is back", |cluster| cluster.restart("broker-b"));
    assert!(any.stored_at("broker-b") > 0, "{any}");
    assert!(any.received_from("broker-b") > 0, "{any}");
    table.restore(&["broker-a"]);

    let slaves = table.row("all slaves are stopped", |cluster| {
        cluster.run("kill", &["broker-a-s", "broker-b-s"]).well();
    });
    assert_unnoticed(&slaves);
    assert!(slaves.less > 0, "{slaves}");
    table.restore(&["broker-a-s", "broker-b-s"]);
    let again = table.row("all are back", |_| {});
    assert_unnoticed(&again);
    assert_eq!(again.less, 0, "{again}");

    let (account, stored) = table.load.finish(&table.cluster);
    let verdict = account.check(&stored);
    println!("{:?}", verdict.figures);
    assert!(verdict.violations.is_empty(), "{:#?}", verdict.violations);
    assert!(verdict.lost.is_empty(), "{:#?}", verdict.lost);
    assert!(verdict.vanished.is_empty(), "{:#?}", verdict.vanished);
    // Nobody was promoted: what the disks have is there.
    assert_eq!(verdict.figures.less_lost, 0);
    assert_eq!(verdict.figures.less_vanished, 0);
}
