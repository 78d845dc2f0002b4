//! A server's port, and its end.

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use super::support::shell::{Broker, ready_line, run, text};

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

#[test]
fn the_limit_of_open_files_is_raised_and_one_that_is_too_low_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let limited = "ulimit -S -n 100 && ulimit -H -n 2000 && exec \"$0\" \"$@\"";
    let mut server = Command::new("sh")
        .args([
            "-c",
            limited,
            env!("CARGO_BIN_EXE_castmq"),
            "--data",
            text(&data),
        ])
        .args(["--listen", "127.0.0.1:0", "--namesrv-listen", "127.0.0.1:0"])
        .env("CASTMQ_STORE__COMMIT_LOG_SEGMENT_BYTES", "8388608")
        .env("CASTMQ_RETENTION__DISK_REFUSE_WRITES_PERCENT", "95")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a shell");
    ready_line(&mut server);
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.id()));
    let limits = limits.expect("its limits");
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let numbers: Vec<_> = files
        .expect("one of files")
        .split_whitespace()
        .skip(3)
        .collect();
    assert_eq!(numbers, ["2000", "2000", "files"]);
    run(&["stop", "--data", text(&data)]).well();
    let ended = server.wait_with_output().expect("its end");
    let log = String::from_utf8_lossy(&ended.stderr);
    let told = log.lines().find(|line| line.contains("open at once"));
    let told = told.unwrap_or_else(|| panic!("not told: {log}"));
    for part in ["2000", "limits.max_connections", "LimitNOFILE="] {
        assert!(told.contains(part), "{told}");
    }
}
