//! Drives a headless Chromium through its debugging pipe: commands and answers are JSON, each ended by a zero byte.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::project::Project;

/// A browser with one page.
pub(crate) struct Driver {
    process: Child,
    pipe: RefCell<Pipe>,
    session: String,
    origin: String,
}

struct Pipe {
    commands: File,
    answers: BufReader<File>,
    last: u64,
    /// What the page complained about: messages of the console, exceptions, and requests to other hosts.
    complaints: Vec<String>,
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A Chromium on this machine.
pub(crate) fn browser() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let folders = std::env::var_os("PATH")?;
    let candidates = std::env::split_paths(&folders).flat_map(|folder| names.map(|name| folder.join(name)));
    candidates.into_iter().find(|path| path.is_file())
}

impl Driver {
    /// Opens `address`.
    pub(crate) fn start(project: &Project, browser: &Path, address: &str) -> Self {
        let (commands, answers) = (project.path().join("commands"), project.path().join("answers"));
        let made = Command::new("mkfifo").args([&commands, &answers]).status().expect("there is `mkfifo`");
        assert!(made.success());
        let process = Command::new("sh")
            .args(["-c", "exec \"$@\" 3<commands 4>answers", "sh"])
            .arg(browser)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--enable-unsafe-swiftshader",
                "--remote-debugging-pipe",
                "--window-size=1440,1000",
            ])
            .arg(format!("--user-data-dir={}", project.path().join("browser").display()))
            .arg("about:blank")
            .current_dir(project.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the shell can be started");
        let pipe = Pipe {
            commands: OpenOptions::new().write(true).open(&commands).expect("the browser reads it"),
            answers: BufReader::new(File::open(&answers).expect("the browser writes it")),
            last: 0,
            complaints: Vec::new(),
        };
        let origin = address.trim_end_matches('/').to_owned();
        let mut driver = Self { process, pipe: RefCell::new(pipe), session: String::new(), origin };
        let target = driver.call("Target.createTarget", &json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = driver.call("Target.attachToTarget", &json!({ "targetId": target, "flatten": true }));
        driver.session = attached["sessionId"].as_str().expect("it is attached").to_owned();
        for domain in ["Runtime", "Log", "Network", "Page"] {
            driver.call(&format!("{domain}.enable"), &json!({}));
        }
        driver.call("Page.navigate", &json!({ "url": address }));
        driver
    }

    /// The value of a JavaScript expression as text.
    pub(crate) fn evaluate(&self, expression: &str) -> String {
        let answer = self.call("Runtime.evaluate", &json!({ "expression": expression, "returnByValue": true }));
        assert!(answer.get("exceptionDetails").is_none(), "{answer}");
        answer["result"]["value"].as_str().unwrap_or_default().to_owned()
    }

    /// What the page has complained about so far.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.evaluate("''");
        self.pipe.borrow().complaints.clone()
    }

    fn call(&self, method: &str, params: &Value) -> Value {
        let mut pipe = self.pipe.borrow_mut();
        pipe.last += 1;
        let mut command = json!({ "id": pipe.last, "method": method, "params": params });
        if !self.session.is_empty() {
            command["sessionId"] = self.session.clone().into();
        }
        let mut bytes = command.to_string().into_bytes();
        bytes.push(0);
        pipe.commands.write_all(&bytes).expect("the browser runs");
        loop {
            let mut message = Vec::new();
            pipe.answers.read_until(0, &mut message).expect("the browser runs");
            assert_eq!(message.pop(), Some(0), "the browser ended");
            let message: Value = serde_json::from_slice(&message).expect("it is JSON");
            if message["id"] == json!(pipe.last) {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].clone();
            }
            pipe.note(&message, &self.origin);
        }
    }
}

impl Pipe {
    fn note(&mut self, message: &Value, origin: &str) {
        let params = &message["params"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let complaint = match message["method"].as_str().unwrap_or_default() {
            "Runtime.consoleAPICalled" => params["args"].to_string(),
            "Runtime.exceptionThrown" => params["exceptionDetails"].to_string(),
            "Log.entryAdded" => params["entry"].to_string(),
            "Network.requestWillBeSent" => {
                let url = text(&params["request"]["url"]);
                if [origin, "blob:", "data:", "about:"].iter().any(|own| url.starts_with(own)) {
                    return;
                }
                url
            }
            _ => return,
        };
        self.complaints.push(complaint);
    }
}
