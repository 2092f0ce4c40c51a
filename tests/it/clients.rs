//! Clients that widely used generators make from the API description, put to work against the program.
//!
//! The programs stand in `tests/clients`.

pub(crate) mod front;
mod masheryapi;
mod tools;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

pub(crate) use tools::{npm_tools, print_table, python_tools, run, source};

use crate::world::{Receiver, Server, ServerOptions};

/// Most types that the generator for Python may make of the description. It makes one of everything that is not shared.
const MAX_PYTHON_MODELS: usize = 250;

/// A running program and its description in a file, in a directory of its own.
struct Served {
    dir: tempfile::TempDir,
    server: Server,
    base: String,
    description: PathBuf,
}

impl Served {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let server = Server::start(&ServerOptions::new(&dir.path().join("data")));
        let (status, text) = server.api().get("/openapi.json").await;
        assert_eq!(status, 200, "{text}");
        let description = dir.path().join("openapi.json");
        fs::write(&description, text).expect("written");
        let base = format!("http://{}", server.addr);
        Self { dir, server, base, description }
    }

    fn generate_python(&self) -> PathBuf {
        let package = self.dir.path().join("python/tidegate_client");
        let mut generate = Command::new(python_tools("python"));
        generate.args(["-m", "openapi_python_client", "generate", "--meta", "none"]);
        generate.arg("--config").arg(source("python/generator.yaml"));
        generate.arg("--path").arg(&self.description).arg("--output-path").arg(&package);
        let told = run(&mut generate);
        // Streams of lines are beyond it, and nothing else is.
        let warnings: Vec<&str> = told.split("WARNING").skip(1).collect();
        let is_stream = |warning: &&str| {
            warning.to_lowercase().contains("content_type application/x-ndjson")
                || warning.contains("content type application/x-ndjson")
        };
        assert!(warnings.iter().all(is_stream) && warnings.len() == 4, "{told}");
        package
    }
}

/// The events of a client have arrived, and the program ends in order.
fn all_arrived(receiver: &Receiver, server: Server) {
    let times = receiver.times_seen();
    assert_eq!(times, [(1, 1), (2, 1), (3, 1)].into(), "each event arrives once");
    assert_eq!(server.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_python_client_enqueues_explains_pauses_and_deploys() {
    let receiver = Receiver::start().await;
    let served = Served::start().await;
    let package = served.generate_python();
    let models = fs::read_dir(package.join("models")).expect("models").count() - 1;
    println!("openapi-python-client: {models} models");
    assert!(models <= MAX_PYTHON_MODELS, "{models} models: give what they have in common one name");
    let mut client = Command::new(python_tools("python"));
    client.arg(source("python/use.py")).args([&served.base, &receiver.url("")]);
    client.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONPATH", package.parent().expect("a directory"));
    run(&mut client);
    all_arrived(&receiver, served.server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_typescript_client_enqueues_explains_pauses_and_deploys() {
    let receiver = Receiver::start().await;
    let served = Served::start().await;
    let tools = npm_tools("typescript");
    // Packages are found in the directories above.
    let work = tempfile::tempdir_in(&tools).expect("a directory");
    for name in ["tsconfig.json", "use.ts"] {
        fs::copy(source("typescript").join(name), work.path().join(name)).expect("copied");
    }
    let node = |program: &str, args: &[&str]| {
        let mut command = Command::new("node");
        run(command.arg(tools.join("node_modules").join(program)).args(args).current_dir(work.path()))
    };
    let description = served.description.to_str().expect("text");
    node("openapi-typescript/bin/cli.js", &[description, "--output", "api.d.ts"]);
    // It writes nothing where a type does not fit: noEmitOnError.
    node("typescript/bin/tsc", &[]);
    run(Command::new("node").arg(work.path().join("out/use.js")).args([&served.base, &receiver.url("")]));
    all_arrived(&receiver, served.server);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_valid_and_its_examples_are_what_json_schema_takes() {
    let served = Served::start().await;
    let told = run(Command::new(python_tools("python"))
        .arg(source("python/check_examples.py"))
        .arg(&served.description));
    println!("{}", told.trim());
    assert_eq!(served.server.stop().code(), Some(0));
}
