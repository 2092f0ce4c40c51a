//! The daemon under a service manager: what it says on a real notify socket, and restarts in which the socket that
//! listens is handed over.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::world::{Configured, Receiver, Server, eventually};

const SOON: Duration = Duration::from_secs(30);

/// What a daemon says that was started with this socket, message by message.
struct Manager(UnixDatagram);

impl Manager {
    fn listen(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("binds");
        socket.set_read_timeout(Some(SOON)).expect("sets");
        Self(socket)
    }

    fn next(&self) -> String {
        let mut bytes = [0; 4096];
        let read = self.0.recv(&mut bytes).expect("a message in time");
        String::from_utf8(bytes[..read].to_vec()).expect("text")
    }

    /// The next message that is no beat of the watchdog.
    fn next_but_beats(&self) -> String {
        loop {
            let message = self.next();
            if message != "WATCHDOG=1\n" {
                return message;
            }
        }
    }
}

async fn world_of(manager: &str) -> (Configured, Manager) {
    let mut world = Configured::new(Receiver::start().await);
    world.write(&world.policy("q", "pace = 100"));
    let path = world.options.data_dir.with_file_name("notify");
    let socket = Manager::listen(&path);
    world.options.wrapper = vec!["env".to_owned(), format!("NOTIFY_SOCKET={}", path.display())];
    world.options.wrapper.extend(manager.split_whitespace().map(str::to_owned));
    (world, socket)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_hears_of_start_reload_and_stop_and_the_watchdog_is_fed() {
    let (world, manager) = world_of("WATCHDOG_USEC=300000").await;
    let server = Server::start(&world.options);
    let starting = manager.next();
    assert!(starting.contains("STATUS=starting") && starting.contains("EXTEND_TIMEOUT_USEC="), "{starting}");
    let ready = manager.next_but_beats();
    assert!(ready.starts_with("READY=1\nSTATUS=serving on 127.0.0.1:"), "{ready}");
    for _ in 0..3 {
        assert_eq!(manager.next(), "WATCHDOG=1\n");
    }

    world.write(&world.policy("q", "pace = 50"));
    server.signal("HUP");
    let reloading = manager.next_but_beats();
    let moment = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("a reload and its moment");
    assert!(moment.lines().next().is_some_and(|digits| digits.parse::<u64>().is_ok()), "{reloading}");
    let ready = manager.next_but_beats();
    assert!(ready.starts_with("READY=1\n") && !ready.contains("refused"), "{ready}");
    world.write("[limits]\nno = 1\n");
    server.signal("HUP");
    assert!(manager.next_but_beats().starts_with("RELOADING=1\n"));
    let ready = manager.next_but_beats();
    assert!(ready.starts_with("READY=1\n") && ready.contains("the last reload was refused"), "{ready}");

    server.signal("TERM");
    let stopping = manager.next_but_beats();
    assert!(stopping.starts_with("STOPPING=1\nSTATUS="), "{stopping}");
    assert_eq!(server.ended().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_stopped_in_its_tracks_does_not_feed_the_watchdog() {
    let (world, manager) = world_of("WATCHDOG_USEC=300000").await;
    let server = Server::start(&world.options);
    while manager.next() != "WATCHDOG=1\n" {}
    server.signal("STOP");
    manager.0.set_nonblocking(true).expect("sets");
    // What was sent before it stopped.
    while manager.0.recv(&mut [0; 4096]).is_ok() {}
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(manager.0.recv(&mut [0; 4096]).is_err(), "it would be ended");
    server.signal("CONT");
    manager.0.set_nonblocking(false).expect("sets");
    assert_eq!(manager.next(), "WATCHDOG=1\n", "and it goes on");
    assert_eq!(server.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_somebody_at_the_notify_socket_it_serves_all_the_same() {
    let (world, manager) = world_of("WATCHDOG_USEC=300000").await;
    drop(manager);
    let server = Server::start(&world.options);
    assert_eq!(world.event(&server.api(), "q").await.0, 202);
    let complaints = || server.log().iter().filter(|line| line.contains("the service manager")).count();
    eventually("it says so once", SOON, async || complaints() == 1).await;
    eventually("it delivers", SOON, async || world.receiver.count() == 1).await;
    assert_eq!(complaints(), 1);
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn the_units_are_read_by_systemd_and_give_the_daemon_little() {
    let dir = tempfile::tempdir().expect("a directory");
    let analyze = |arguments: &[&str]| {
        let output = Command::new("systemd-analyze").args(arguments).current_dir(dir.path()).output();
        let output = output.expect("systemd-analyze, of Debian's package systemd");
        (output.status.success(), format!("{}{}", lossy(&output.stdout), lossy(&output.stderr)))
    };
    for (name, arguments) in [("tidegate.service", &["unit"][..]), ("tidegate.socket", &["unit", "--socket"])]
    {
        let output =
            Command::new(env!("CARGO_BIN_EXE_tidegate")).args(arguments).output().expect("the program");
        assert!(output.status.success());
        // Where these tests are built the unit may hide the program.
        let program = Path::new(env!("CARGO_BIN_EXE_tidegate"));
        let hidden = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];
        let is_hidden = name == "tidegate.service" && hidden.iter().any(|place| program.starts_with(place));
        let said = lossy(&output.stderr);
        assert_eq!(said.contains("warning: the service would not start"), is_hidden, "{said}");
        assert_eq!(said.is_empty(), !is_hidden, "{said}");
        std::fs::write(dir.path().join(name), output.stdout).expect("written");
    }
    // The manual pages that they name come with the package.
    let units = ["verify", "--man=no", "./tidegate.service", "./tidegate.socket"];
    assert_eq!(analyze(&units), (true, String::new()));
    // The exposure in tenths.
    let judge = ["security", "--offline=true", "--threshold=15", "./tidegate.service"];
    let (is_low, said) = analyze(&judge);
    assert!(is_low, "{said}");

    let unit = std::fs::read_to_string(dir.path().join("tidegate.service")).expect("a unit");
    let open = unit.replace("DynamicUser=yes\n", "").replace("CapabilityBoundingSet=\n", "");
    std::fs::write(dir.path().join("tidegate.service"), open + "Nonsense=1\n").expect("written");
    assert!(!analyze(&judge).0, "the control: a unit that gives more");
    assert!(analyze(&units).1.contains("Nonsense"), "the control: a unit with a mistake");
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A daemon on a socket that is handed over as systemd does: descriptor 3, with the process's own number. Without one it
/// opens its own.
fn daemon(world: &Configured, socket: Option<&TcpListener>, addr: SocketAddr) -> Child {
    let own = |socket: &TcpListener| Stdio::from(OwnedFd::from(socket.try_clone().expect("a descriptor")));
    let hand_over = match socket {
        Some(_) => "exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\"",
        None => "exec \"$0\" \"$@\"",
    };
    Command::new("sh")
        .args(["-c", hand_over, env!("CARGO_BIN_EXE_tidegate"), "serve", "--egress-allow", "127.0.0.0/8"])
        .args(&world.options.args)
        .args(["--listen", &addr.to_string(), "--data-dir"])
        .arg(&world.options.data_dir)
        .stdin(socket.map_or_else(Stdio::null, own))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program")
}

/// The status of the answer to a request on a connection of its own; what the system said when there was none.
fn call(addr: SocketAddr, request: &str) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(SOON))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.get(9..12).and_then(|digits| digits.parse().ok());
    status.ok_or_else(|| std::io::Error::other(format!("no answer: {answer:?}")))
}

/// Clients that hand events in one after the other, each on a connection of its own.
struct Load {
    stop: Arc<AtomicBool>,
    accepted: Arc<AtomicU64>,
    clients: Vec<std::thread::JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(addr: SocketAddr, event: &str) -> Self {
        let (stop, accepted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let head = "POST /v1/events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json";
        let request = format!("{head}\r\ncontent-length: {}\r\n\r\n{event}", event.len());
        let client = || {
            let (stop, accepted, request) = (stop.clone(), accepted.clone(), request.clone());
            std::thread::spawn(move || {
                let mut refused = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match call(addr, &request) {
                        Ok(202) => drop(accepted.fetch_add(1, Ordering::Relaxed)),
                        other => refused.push(format!("{other:?}")),
                    }
                }
                refused
            })
        };
        let clients = (0..4).map(|_| client()).collect();
        Self { stop, accepted, clients }
    }

    fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// How many were accepted, and what was not.
    fn end(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let refused = self.clients.into_iter().flat_map(|client| client.join().expect("no panic")).collect();
        (self.accepted.load(Ordering::Relaxed), refused)
    }
}

/// Restarts under load on a socket that stays open, or on one of the daemon's own; what clients met.
async fn restarted(times: usize, is_handed_over: bool) -> (u64, Vec<String>) {
    let world = Configured::new(Receiver::start().await);
    world.write(&world.policy("q", "pace = 1000"));
    let socket = TcpListener::bind("127.0.0.1:0").expect("binds");
    let addr = socket.local_addr().expect("its address");
    let socket = Some(socket).filter(|_| is_handed_over);
    let event = json!({"url": world.receiver.url("/q/x"), "body": {}}).to_string();
    let start = || daemon(&world, socket.as_ref(), addr);
    let mut running = start();
    let load = Load::start(addr, &event);
    for _ in 0..times {
        let before = load.accepted();
        eventually("it accepts", SOON, async || load.accepted() > before + 20).await;
        let stop = Command::new("kill").args(["-TERM", &running.id().to_string()]).status().expect("kill");
        assert!(stop.success());
        assert_eq!(running.wait().expect("its status").code(), Some(0));
        running = start();
    }
    let before = load.accepted();
    eventually("it accepts", SOON, async || load.accepted() > before + 20).await;
    let (accepted, refused) = load.end();
    eventually("all are delivered", SOON, async || world.receiver.count() as u64 >= accepted).await;
    running.kill().expect("a living process");
    running.wait().expect("its status");
    (accepted, refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn over_twenty_restarts_with_a_handed_over_socket_nobody_is_refused() {
    let (accepted, refused) = restarted(20, true).await;
    assert!(accepted > 400, "{accepted}");
    assert_eq!(refused, [""; 0], "of {accepted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_without_the_hand_over_clients_are_refused() {
    let (_, refused) = restarted(2, false).await;
    assert!(refused.iter().any(|what| what.contains("ConnectionRefused")), "{refused:?}");
}
