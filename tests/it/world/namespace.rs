//! A network of a test's own: interfaces, addresses, routes and queues that nobody else sees. It goes away with its only
//! process.

use std::process::{Child, Command, Stdio};

pub(crate) struct Namespace(Child);

impl Namespace {
    /// With these addresses, beside loopback.
    pub(crate) fn new(addresses: &[&str]) -> Self {
        let add = |address: &&str| format!("ip address add {address}/32 dev lo");
        let commands: Vec<String> = addresses.iter().map(add).collect();
        Self::made_by(&commands.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// With loopback, and what these commands add.
    pub(crate) fn made_by(commands: &[&str]) -> Self {
        let commands: String = commands.iter().map(|command| format!("{command} && ")).collect();
        let script = format!("ip link set lo up && {commands} echo ready && exec cat");
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("unshare runs");
        let mut line = String::new();
        let output = child.stdout.take().expect("its output");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).expect("a line");
        assert_eq!(line, "ready\n", "a network of one's own needs root, ip and tc (iproute2)");
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

/// Changes the network that this thread is in.
pub(crate) fn change(commands: &[&str]) {
    for command in commands {
        let mut words = command.split(' ');
        let output = Command::new(words.next().expect("a program")).args(words).output().expect("it runs");
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
