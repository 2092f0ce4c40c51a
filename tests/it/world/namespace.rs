//! Networks of a test's own; they need root.

use std::process::{Child, Command, Stdio};

/// A network of its own with these addresses, beside loopback. It goes away with its only process.
pub(crate) struct Namespace(Child);

impl Namespace {
    pub(crate) fn new(addresses: &[&str]) -> Self {
        let add = |address: &&str| format!("ip address add {address}/32 dev lo && ");
        let addresses: String = addresses.iter().map(add).collect();
        let script = format!("ip link set lo up && {addresses} echo ready && exec cat");
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("unshare runs");
        let mut line = String::new();
        let output = child.stdout.take().expect("its output");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).expect("a line");
        assert_eq!(line, "ready\n", "a network of one's own needs root");
        Self(child)
    }

    /// Runs a test within it: sockets and processes made there belong to it.
    pub(crate) fn enter<F: Future<Output = ()>>(&self, test: impl FnOnce() -> F + Send + 'static) {
        let network = std::fs::File::open(format!("/proc/{}/ns/net", self.0.id())).expect("the namespace");
        let within = std::thread::spawn(move || {
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&network), kind)
                .expect("enters");
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(test());
        });
        within.join().expect("the test passes");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
