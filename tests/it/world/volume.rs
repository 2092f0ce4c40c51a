//! Small file systems of a test's own: in memory, or ext4 in a file on a loop device. They need root.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use crate::world::unmount;

/// A mounted file system, taken away at the end.
pub(crate) struct Volume {
    dir: tempfile::TempDir,
    /// Of an ext4: what its mounts are made with.
    options: Option<String>,
}

impl Volume {
    /// A tmpfs with the given mount options.
    pub(crate) fn tmpfs(options: &str) -> Self {
        let volume = Self::unmounted(None);
        run(Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(volume.path()));
        volume
    }

    /// An ext4 of this size without blocks that only root may use.
    pub(crate) fn ext4(bytes: u64, options: &str) -> Self {
        for (tool, package) in [("mkfs.ext4", "e2fsprogs"), ("mount", "mount"), ("python3", "python3")] {
            let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output().expect("sh");
            assert!(found.status.success(), "this test needs {tool} (Debian package {package}) and root");
        }
        let volume = Self::unmounted(Some(format!("loop,{options}")));
        let image = std::fs::File::create(volume.image()).expect("an image");
        image.set_len(bytes).expect("a sparse image");
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(volume.image()));
        volume.mount();
        volume
    }

    fn unmounted(options: Option<String>) -> Self {
        let volume = Self { dir: tempfile::tempdir().expect("a directory"), options };
        std::fs::create_dir(volume.path()).expect("a mount point");
        volume
    }

    /// A directory beside the file system.
    pub(crate) fn beside(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("disk.img")
    }

    fn mount(&self) {
        let options = self.options.as_deref().expect("an ext4");
        run(Command::new("mount").args(["-o", options]).arg(self.image()).arg(self.path()));
    }

    /// The file with which others fill it.
    pub(crate) fn other(&self) -> PathBuf {
        self.path().join("other")
    }

    /// Takes every byte that is left but `kept_bytes`.
    pub(crate) fn fill_but(&self, kept_bytes: u64) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.other()).expect("opens");
        for size in [1 << 20, 4096, 1] {
            while self.free_bytes() >= kept_bytes + size as u64 && file.write_all(&vec![1; size]).is_ok() {}
        }
    }

    pub(crate) fn free_bytes(&self) -> u64 {
        let stat = rustix::fs::statvfs(self.path()).expect("asks");
        stat.f_bavail * stat.f_frsize
    }

    /// `FS_IOC_GOINGDOWN` without a log flush: nothing that was not synced reaches the image.
    pub(crate) fn cut_power(&self) {
        let script = "import fcntl,os,struct,sys\n\
                      fd = os.open(sys.argv[1], os.O_RDONLY)\n\
                      fcntl.ioctl(fd, 0x8004587d, struct.pack('I', 2))";
        run(Command::new("python3").args(["-c", script]).arg(self.path()));
    }

    pub(crate) fn remount(&self) {
        unmount(&self.path());
        self.mount();
    }

    /// Has the kernel meet an error of the file system: with `errors=remount-ro` it becomes read-only.
    pub(crate) fn trigger_error(&self) {
        let output = Command::new("findmnt").args(["-n", "-o", "SOURCE"]).arg(self.path()).output();
        let source = String::from_utf8(output.expect("findmnt").stdout).expect("text");
        let device = source.trim().trim_start_matches("/dev/").to_owned();
        std::fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "a test").expect("root");
    }

    /// Repairs and mounts it again after [`Volume::trigger_error`].
    pub(crate) fn repair(&self) {
        unmount(&self.path());
        // 1: errors were corrected.
        let status =
            Command::new("e2fsck").args(["-p", "-f"]).arg(self.image()).output().expect("e2fsck").status;
        assert!(status.code().is_some_and(|code| code <= 1), "{status}");
        self.mount();
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        unmount(&self.path());
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("the tool");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
