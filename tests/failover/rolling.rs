//! All servers of a cluster started anew, one after the other, under load.

use std::time::{Duration, Instant};

use crate::load::{Crowd, Load};
use crate::support::cluster::Cluster;
use crate::window::Window;

const CROWD: Crowd = Crowd {
    plain: 8,
    keyed: 0,
    pause: Duration::from_millis(5),
};

#[test]
fn a_rolling_restart_fails_no_send_and_loses_and_doubles_nothing() {
    let cluster = Cluster::up(2, 2, 2, &[]);
    let load = Load::start(&cluster, CROWD);
    let mut failed = Vec::new();
    for member in cluster.status() {
        let name = member["name"].as_str().expect("a name");
        let from = Instant::now();
        cluster.restart(name);
        let window = Window::of(&load.account, CROWD.plain, from, Instant::now());
        println!("{name} started anew:\n{window}");
        failed.extend(window.errors);
    }
    let (account, stored) = load.finish(&cluster);
    let verdict = account.check(&stored);
    println!("{:?}", verdict.figures);
    assert_eq!(failed, Vec::<String>::new());
    assert_eq!(verdict.figures.failed, 0);
    assert_eq!(verdict.figures.duplicates, 0);
    assert!(verdict.violations.is_empty(), "{:#?}", verdict.violations);
    assert!(verdict.lost.is_empty(), "{:#?}", verdict.lost);
    assert!(verdict.vanished.is_empty(), "{:#?}", verdict.vanished);
    assert_eq!(verdict.figures.less_lost, 0);
    assert_eq!(verdict.figures.less_vanished, 0);
}
