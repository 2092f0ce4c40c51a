//! Programs and libraries of others, installed below `target` by the lists of packages in `tests/clients`, each list into a
//! directory of its own.
//!
//! A list is installed when it has changed: the package managers have to reach a package index then, and a test that needs
//! the list fails when they do not.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

/// One installation of a list at a time: tests that need the same one run side by side.
static INSTALLING: Mutex<BTreeMap<PathBuf, Arc<Mutex<()>>>> = Mutex::new(BTreeMap::new());

/// The interpreter of an environment that has the packages of `requirements.txt` in this directory of `tests/clients`. The
/// list has to name all of them: nothing else is installed.
pub(crate) fn python_tools(list_dir: &str) -> PathBuf {
    let (list, tools) = (source(list_dir).join("requirements.txt"), tools(list_dir));
    let python = tools.join("venv/bin/python");
    once(&list, &tools, || {
        run(Command::new("python3").args(["-m", "venv"]).arg(tools.join("venv")));
        let install = ["-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-deps"];
        let mut pip = Command::new(&python);
        pip.args(install).args(["--only-binary", ":all:", "-r"]).arg(&list);
        install_with(&mut pip, &list);
    });
    python
}

/// The directory that has the packages of `package-lock.json` in this directory of `tests/clients`, whose scripts were not run.
pub(crate) fn npm_tools(list_dir: &str) -> PathBuf {
    let (list, tools) = (source(list_dir).join("package-lock.json"), tools(list_dir));
    once(&list, &tools, || {
        for name in ["package.json", "package-lock.json"] {
            fs::copy(source(list_dir).join(name), tools.join(name)).expect("copied");
        }
        let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
        install_with(Command::new("npm").args(install).current_dir(&tools), &list);
    });
    tools
}

/// A file or directory of `tests/clients`.
pub(crate) fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(path)
}

fn tools(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients").join(name)
}

/// Installs into an empty directory, unless it was made from the same list of packages.
fn once(list: &Path, tools: &Path, install: impl FnOnce()) {
    // Another test's failure leaves nothing that is taken for a whole installation.
    let of_list = {
        let mut lists = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(lists.entry(list.to_owned()).or_default())
    };
    let _one = of_list.lock().unwrap_or_else(PoisonError::into_inner);
    let (wanted, mark) = (fs::read(list).expect("the list"), tools.join("installed"));
    if fs::read(&mark).is_ok_and(|installed| installed == wanted) {
        return;
    }
    let _ = fs::remove_dir_all(tools);
    fs::create_dir_all(tools).expect("a directory");
    install();
    fs::write(mark, wanted).expect("written");
}

/// What a program has printed, errors last; it must end well.
pub(crate) fn run(command: &mut Command) -> String {
    printed(command).unwrap_or_else(|failure| panic!("{failure}"))
}

/// Has a package manager install what a list names.
fn install_with(command: &mut Command, list: &Path) {
    if let Err(failure) = printed(command) {
        let list = list.display();
        panic!("{list} cannot be installed; a package index has to be reached for that\n{failure}");
    }
}

fn printed(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?} cannot be started: {error}"))?;
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    match output.status.success() {
        true => Ok(out + &err),
        false => Err(format!("{command:?}: {}\n{out}\n{err}", output.status)),
    }
}

/// What one client of others was taken through, for the table that the tests print.
#[expect(clippy::print_stdout, reason = "the table is for the eye")]
pub(crate) fn print_table(client: &str, version: &str, steps: &[(String, String)]) {
    println!("| client | version | step | result |\n|---|---|---|---|");
    for (step, result) in steps {
        println!("| {client} | {version} | {step} | {result} |");
    }
}
