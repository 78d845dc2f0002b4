//! A server's port, and its end.

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use super::support::shell::{Broker, run, text};

#[test]
fn a_port_in_use_is_named_with_the_flag_for_another() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let free = "127.0.0.1:0";
    for (flag, other) in [
        ("--listen", "--namesrv-listen"),
        ("--namesrv-listen", "--listen"),
    ] {
        let args = ["--data", text(&data), flag, &address, other, free];
        let failed = run(&args);
        failed.fails(
            1,
            &[
                &address,
                "castmq stop",
                &format!("another address with {flag}"),
            ],
        );
        assert!(!data.exists(), "a folder is left");
    }
}

#[test]
fn a_server_is_stopped_and_its_pid_file_goes_with_it() {
    let broker = Broker::start();
    let pid_file = broker.data.join("broker.pid");
    let written = fs::read_to_string(&pid_file).expect("a pid file");
    assert_eq!(written.trim(), broker.process.id().to_string());
    let stopped = broker.stop().well();
    assert!(stopped.out.contains("stopped in"), "{stopped:?}");
    assert!(!pid_file.exists());
    assert!(
        !broker.data.join("abort").exists(),
        "the stop was not clean"
    );
    assert!(!broker.process.log().contains('\x1b'), "colors in a file");
    broker.stop().fails(1, &["no server runs in", "--data"]);
}

#[test]
fn a_process_that_only_has_the_number_in_a_pid_file_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bystander = Command::new("cat")
        .stdin(Stdio::piped())
        .spawn()
        .expect("cat");
    let pid_file = folder.path().join("broker.pid");
    fs::write(&pid_file, bystander.id().to_string()).expect("a pid file");
    let stop = run(&["stop", "--data", text(folder.path())]);
    stop.fails(1, &["has gone without removing its pid file"]);
    assert!(!pid_file.exists());
    assert!(
        bystander.try_wait().expect("its state").is_none(),
        "it was killed"
    );
    drop(bystander.stdin.take());
    assert!(bystander.wait().expect("its end").success());
}
