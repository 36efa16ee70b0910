//! `serve`: the same answers as `search`, hostile images, memory that stays flat, and the page in a browser.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::driver::{Driver, browser};
use crate::project::Project;
use crate::report::reported;

/// A server, which ends with the test.
struct Server {
    process: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A response.
struct Response {
    status: u32,
    head: String,
    body: Vec<u8>,
}

impl Response {
    fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

impl Server {
    fn start(project: &Project, arguments: &[&str]) -> Self {
        let mut command = project.command(&[&["serve", "--port", "0"], arguments].concat());
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary was built");
        let mut line = String::new();
        let stdout = process.stdout.as_mut().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it is text");
        let port = line.split(':').nth(2).and_then(|rest| rest.split('/').next()?.parse().ok());
        let port = port.unwrap_or_else(|| {
            let mut said = String::new();
            let _ = process.stderr.take().expect("it is piped").read_to_string(&mut said);
            panic!("no address: {line}{said}")
        });
        Self { process, port }
    }

    fn send(&self, method: &str, path: &str, media_type: &str, body: &[u8]) -> Response {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout can be set");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n\r\n",
            self.port,
            body.len()
        );
        // It may refuse before it has read everything.
        let _ = stream.write_all(&[head.as_bytes(), body].concat());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(answer.len());
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Response { status, head, body: answer.get(end + 4..).unwrap_or_default().to_vec() }
    }

    fn get(&self, path: &str) -> Response {
        self.send("GET", path, "", b"")
    }

    fn post(&self, path: &str, body: &[u8]) -> Response {
        self.send("POST", path, "image/png", body)
    }

    /// Resident memory in bytes.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says it");
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("it is a number") * 1024
    }
}

#[test]
fn a_search_over_http_is_that_of_the_command_line() {
    let (project, _) = reported();
    let mut server = Server::start(&project, &["shapes"]);
    let file = project.path().join("images/plain/2.png");
    let bytes = fs::read(&file).expect("it was written");
    let file = file.to_str().expect("it is UTF-8");
    // What the program prints, compared as text: the numbers are the same to the last digit.
    let printed = |arguments: &[&str]| {
        let called = project.run(&[&["search", "shapes", "--format", "json"], arguments].concat());
        serde_json::from_str::<Value>(&called.stdout).expect("it is JSON")[0]["neighbours"].clone()
    };
    let found = server.post("/api/search?k=7", &bytes).json();
    assert_eq!(found["neighbours"], printed(&[file, "-k", "7"]));
    assert_eq!(found["size"], json!([32, 32]));
    assert_eq!(found["run"], "shapes/1");
    let cropped = server.post("/api/search?k=5&crop=4,4,20,16", &bytes).json();
    assert_eq!(cropped["neighbours"], printed(&[file, "-k", "5", "--crop", "4,4,20,16"]));
    assert_ne!(cropped["neighbours"][0], found["neighbours"][0]);
    let subspace = server.post("/api/search?k=5&learner=1", &bytes).json();
    assert_eq!(subspace["neighbours"], printed(&[file, "-k", "5", "--learner", "1"]));
    assert_eq!(server.post("/api/search?k=5&weights=0,0.5", &bytes).json()["neighbours"], subspace["neighbours"]);
    let mixed = server.post("/api/search?k=5&weights=1,0.5", &bytes).json();
    assert!(mixed["neighbours"] != subspace["neighbours"] && mixed["neighbours"][0]["share_right"].is_null());

    // An image of the run, its embedding, and the vector of an image.
    let id = found["neighbours"][0]["id"].as_u64().expect("an id is a number");
    let by_id = server.get(&format!("/api/search?k=4&positive={id}&vector=true")).json();
    assert_eq!(by_id["neighbours"], printed(&[&format!("id:{id}"), "-k", "4"]));
    assert_eq!((&by_id["neighbours"][0]["id"], &by_id["neighbours"][0]["distance"]), (&json!(id), &json!(0.0)));
    let by_vector = server.send("POST", "/api/search?k=4", "application/json", by_id["vector"].to_string().as_bytes());
    assert_eq!(by_vector.json()["neighbours"], by_id["neighbours"]);
    let embedding = server.post("/api/embed", &bytes).json();
    assert_eq!(embedding["vector"].as_array().map(Vec::len), Some(8));
    let by_vector =
        server.send("POST", "/api/search?k=7", "application/json", embedding["vector"].to_string().as_bytes());
    assert_eq!(by_vector.json()["neighbours"], found["neighbours"]);
    let other = found["neighbours"][6]["id"].as_u64().expect("an id is a number");
    let both = server.get(&format!("/api/search?positive={id},{other}&k=3")).json();
    assert!(
        both["neighbours"][0]["share_right"].is_null(),
        "what a distance from a mean is worth is not known: {both}"
    );
    let away = server.get(&format!("/api/search?positive={id}&negative={other}&k=200")).json();
    let rank = |found: &Value| found["neighbours"].as_array().unwrap().iter().position(|hit| hit["id"] == json!(other));
    assert!(rank(&away) > rank(&found), "a negative moves back");

    let thumbnail = server.get(&format!("/api/image/{id}"));
    assert!(thumbnail.head.contains("image/jpeg") && thumbnail.body.starts_with(&[0xff, 0xd8]), "{}", thumbnail.head);
    let full = image::load_from_memory(&server.get(&format!("/api/image/{id}?size=full")).body).expect("it is a PNG");
    assert_eq!((full.width(), full.height()), (32, 32));
    let runs = server.get("/api/runs").json();
    assert_eq!(runs["runs"][0]["run"], "shapes/1");
    assert_eq!(runs["runs"][0]["rounds"].as_array().map(Vec::len), Some(2));
    assert_eq!(runs["runs"][0]["search"]["learners"], 2);
    let state = server.get("/api/state").json();
    assert!(state["nodes"].as_array().unwrap().iter().all(|node| node["state"] == "ran"), "{state}");
    assert!(server.get("/api/metrics?run=shapes/1").json()["metrics"].as_array().unwrap().len() > 10);
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(server.get("/openapi.json").json()["openapi"], "3.1.0");
    let report = server.get("/report");
    assert!(
        report.head.contains("default-src 'none'") && !report.head.contains("default-src 'self'"),
        "{}",
        report.head
    );
    assert!(String::from_utf8_lossy(&report.body).contains("<section id=\"gallery\">"));
    // Only names that exist lead to a folder.
    for run in ["../shapes/1", "shapes", "shapes/1/../1", "shapes/9", "/etc"] {
        assert_eq!(server.get(&format!("/report?run={run}")).status, 404, "{run}");
        assert_eq!(server.get(&format!("/api/search?positive=1&run={run}")).status, 404, "{run}");
    }

    // A correction is written beside the run, and read by `decode`.
    let correct = |id: u64, class: Value| {
        let body = json!({ "id": id, "class": class }).to_string();
        server.send("POST", "/api/labels", "application/json", body.as_bytes())
    };
    assert_eq!(correct(id, json!("a new class")).json()["labels"][0]["class"], "a new class");
    assert_eq!(correct(other, json!("")).json()["labels"].as_array().map(Vec::len), Some(2));
    assert_eq!(correct(other, Value::Null).json(), server.get("/api/labels").json());
    assert_eq!((correct(999_999, json!("six")).status, correct(id, json!("a\nb")).status), (404, 400));
    let written = project.read("runs/shapes/1/labels.csv");
    assert!(written.starts_with("source,class,was,id\n") && written.contains(",a new class,"), "{written}");
    let corrections = "stage.decode.corrections=runs/shapes/1/labels.csv";
    project.run(&["shapes.toml", "--quiet", "--set", corrections, "--until", "decode"]);
    assert_eq!(project.nodes("shapes", "ran"), ["decode"]);
    let log = project.read("runs/shapes/2/logs/decode.log");
    assert!(log.contains("Labels corrected: 1"), "{log}");

    // SIGTERM ends it cleanly.
    let killed = Command::new("kill").arg(server.process.id().to_string()).status().expect("there is `kill`");
    assert!(killed.success());
    assert_eq!(server.process.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_folder_is_embedded_once() {
    let (project, _) = reported();
    let search = |arguments: &[&str]| {
        let file = "images/plain/2.png";
        let called = project
            .run(&[&["search", "shapes", file, "--in", "images", "--format", "json", "-k", "60"], arguments].concat());
        let found: Value = serde_json::from_str(&called.stdout).expect("it is JSON");
        found[0]["neighbours"].as_array().expect("it is a list").clone()
    };
    let chunks = || {
        let listed: Value = serde_json::from_str(&project.run(&["cache", "ls", "--json"]).stdout).expect("it is JSON");
        let records = listed["records"].as_array().expect("it is a list");
        records.iter().filter(|record| record["stage"] == "file_embeddings").count()
    };
    let first = search(&[]);
    assert_eq!((first.len(), &first[0]["distance"], &first[0]["class"]), (60, &json!(0.0), &json!("plain")));
    let before = chunks();
    assert!(before > 0);
    assert_eq!(search(&[]), first);
    assert_eq!(chunks(), before, "nothing was computed again");
    // A file that is no picture is left out; the others keep their answers.
    project.write("images/plain/broken.png", "no picture");
    let with_broken = search(&[]);
    assert_eq!(with_broken.len(), 60);
    assert!(with_broken.iter().zip(&first).all(|(a, b)| a["source"] == b["source"] && a["distance"] == b["distance"]));
    assert!(chunks() > before);
    project.write("images/plain/._0.png", "left by another system");
    let called = project.run(&["search", "shapes", "images/plain", "--in", "images", "-k", "1", "--format", "paths"]);
    assert_eq!(called.stdout.lines().count(), 6);
    let warnings: Vec<&str> = called.stderr.lines().filter(|line| line.starts_with("warning")).collect();
    assert_eq!(
        warnings,
        [
            "warning: 1 of 61 pictures in `images` cannot be decoded and are left out",
            "warning: `images/plain/broken.png` is not a JPEG, PNG, WebP, GIF, BMP or TIFF image; it is left out"
        ]
    );
}

#[test]
fn who_may_connect_and_what_may_be_changed() {
    let (project, _) = reported();
    let refused = project.call(&["serve", "shapes", "--host", "0.0.0.0"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("a token is needed"), "{}", refused.stderr);
    assert_eq!(project.call(&["serve", "nothing"]).code, Some(2));
    let server = Server::start(&project, &["shapes", "--read-only", "--token", "a-long-secret"]);
    assert_eq!(server.get("/api/runs").status, 401);
    drop(server);
    let server = Server::start(&project, &["shapes", "--read-only"]);
    assert_eq!(server.get("/api/runs").json()["read_only"], true);
    let body = br#"{"id": 1, "class": "six"}"#;
    assert_eq!(server.send("POST", "/api/labels", "application/json", body).status, 403);
    assert!(!project.path().join("runs/shapes/1/labels.csv").exists());
}

/// What the folder of a run in progress says is shown; it can be searched once it is done.
#[test]
fn a_run_in_progress_is_watched() {
    let project = Project::new();
    let node = |node: &str, outcome: &str, began: Option<f64>| {
        let stage = node.split('@').next();
        json!({ "node": node, "stage": stage, "outcome": outcome, "began": began })
    };
    let run = json!({
        "run": "live/1", "unfinished": true, "manifest": "/m/live.toml", "store": project.path().join(".dnc/store"),
        "started": 1_795_676_386, "seconds": 9.5, "version": "0.1.0", "device": "cpu", "arithmetic": "cpu/avx2", "threads": 2,
        "jobs": 4, "overrides": [],
        "nodes": [node("decode", "ran", Some(0.5)), node("train@0", "cancelled", Some(4.5)), node("merge@0", "cancelled", None)],
    });
    project.write("runs/live/1/run.json", run.to_string());
    let server = Server::start(&project, &["live"]);
    let state = server.get("/api/state").json();
    let states: Vec<&str> =
        state["nodes"].as_array().unwrap().iter().filter_map(|node| node["state"].as_str()).collect();
    assert_eq!((&state["state"], states), (&json!("unfinished"), vec!["ran", "running", "waiting"]));
    let refused = server.get("/api/search?positive=1");
    assert_eq!(refused.status, 409);
    assert!(refused.json()["error"].as_str().unwrap().contains("cannot be searched"), "{}", refused.json());
    assert_eq!(server.get("/report").status, 200);
    assert!(server.get("/api/runs").json()["runs"][0]["search"]["problem"].is_string());
}

/// A PNG that claims to be large, and whose pixels compress well.
fn bomb(side: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
    let pixels = vec![0u8; side as usize * side as usize];
    image::ImageEncoder::write_image(encoder, &pixels, side, side, image::ExtendedColorType::L8)
        .expect("it can be encoded");
    bytes
}

#[test]
fn hostile_images_are_refused_and_memory_stays_flat() {
    let (project, _) = reported();
    let server = Server::start(&project, &["shapes"]);
    let good = fs::read(project.path().join("images/plain/2.png")).expect("it was written");
    let bomb = bomb(9000);
    assert!(bomb.len() < 2_000_000, "81 million pixels in {} bytes", bomb.len());
    let cut = &good[..good.len() / 2];
    let mut claims = good.clone();
    // Width and height in the header of a PNG.
    claims[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    let mut noise: u32 = 1;
    let random: Vec<u8> = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (noise >> 24) as u8
    })
    .take(100_000)
    .collect();
    let jpeg = [&[0xff, 0xd8, 0xff, 0xe0][..], &random].concat();
    let gif = [&b"GIF89a\xff\xff\xff\xff\xf7\0\0"[..], &random].concat();
    let tiff = [&b"II*\0\x08\0\0\0"[..], &random].concat();
    let webp = [&b"RIFF\xff\xff\xff\x7fWEBPVP8 "[..], &random].concat();
    let svg = br#"<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>"#;
    // Each group shows the one before twice: 2⁴⁰ rectangles in 2 kB.
    let groups = (1..40).map(|n| format!(r##"<g id="g{n}"><use href="#g{0}"/><use href="#g{0}"/></g>"##, n - 1));
    let doubling = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect id="g0" width="9" height="9"/>{}</svg>"#,
        groups.collect::<String>()
    );
    let entities = br#"<!DOCTYPE svg [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;">]>
        <svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><text>&c;&c;&c;&c;</text></svg>"#;
    // Zeros behind the signature of gzip, as in a compressed drawing.
    let zipped = [&b"\x1f\x8b\x08\0\0\0\0\0\0\xff"[..], &[0; 1000]].concat();
    let hostile: [&[u8]; 14] = [
        &bomb,
        cut,
        &claims,
        &random,
        &jpeg,
        &gif,
        &tiff,
        &webp,
        svg,
        doubling.as_bytes(),
        entities,
        &zipped,
        b"\0",
        b"{}",
    ];
    for (number, bytes) in hostile.into_iter().enumerate() {
        let answer = server.post("/api/search", bytes);
        assert_eq!(answer.status, 422, "image {number}: {}", String::from_utf8_lossy(&answer.body));
        assert!(!String::from_utf8_lossy(&answer.body).contains("root:"));
    }
    assert_eq!(server.post("/api/embed", b"").status, 422);
    assert_eq!(server.post("/api/search", &vec![0; 21_000_000]).status, 413);

    // Mixed requests, 200 of them at once: each is answered, or refused since too many wait.
    let requests = |count: usize| {
        thread::scope(|scope| {
            let one = |number: usize| {
                let (server, good, hostile) = (&server, &good, &hostile);
                move || match number % 10 {
                    0 => server.post("/api/search", hostile[number / 10 % hostile.len()]),
                    1 => server.get("/api/image/3"),
                    2 => server.get("/api/search?positive=3&negative=5&k=50"),
                    3 => server.get("/api/runs"),
                    4 => server.get("/../../../etc/passwd"),
                    5 => server.post("/api/search?weights=1,0.3", good),
                    6 => server.get("/api/state"),
                    _ => server.post("/api/search?k=20", good),
                }
            };
            let asked: Vec<_> = (0..count).map(|number| scope.spawn(one(number))).collect();
            asked.into_iter().map(|asked| asked.join().expect("no client fails").status).collect::<Vec<u32>>()
        })
    };
    requests(200);
    let before = server.memory();
    let begun = Instant::now();
    let statuses: Vec<u32> = (0..5).flat_map(|_| requests(200)).collect();
    eprintln!("1,000 requests in {:.1} s, memory {} MB", begun.elapsed().as_secs_f64(), server.memory() / 1_000_000);
    let known = [200, 404, 422, 503];
    assert!(statuses.iter().all(|status| known.contains(status)), "{statuses:?}");
    assert!(statuses.iter().filter(|&&status| status == 200).count() > 300, "{statuses:?}");
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 60_000_000, "memory grew by {grown} bytes");
    assert_eq!(server.post("/api/search", &good).status, 200, "and all is well");
}

/// Opens the page, clicks through it, and writes what happened into its title.
const CLICKS: &str = r#"
    const wait = async (what, until) => {
        for (let tries = 0; tries < 400; tries += 1) {
            if (until()) return;
            await new Promise((resolve) => setTimeout(resolve, 25));
        }
        throw new Error(`${what} did not happen; the page says: ${document.querySelector('#told').textContent}`);
    };
    const results = () => [...document.querySelectorAll('.column:first-child figure')];
    const settled = () => document.querySelectorAll('.results.stale').length === 0 && !searching;
    const done = {};
    (async () => {
        await wait('examples', () => results().length > 5);
        results()[2].querySelector('.p').click();
        await wait('a search by a result', () => settled() && results()[0]?.querySelector('figcaption b').textContent !== '');
        done.byId = results().length;
        done.frames = document.querySelectorAll('figure.right, figure.wrong').length;
        done.address = location.hash.includes('id=');
        const blob = await (await fetch(`api/image/${state.id}?size=full`)).blob();
        searchForFile(new File([blob], 'dropped.png', { type: 'image/png' }));
        await wait('a search by an image', () => settled() && state.file !== null);
        done.distance = results()[0].querySelector('figcaption').textContent.includes('0.000');
        done.byImage = results().length;
        const shown = document.querySelector('#shown');
        await wait('the image', () => shown.complete && shown.naturalWidth > 0);
        const { left, top, width, height } = shown.getBoundingClientRect();
        const frame = document.querySelector('#frame');
        const point = (type, x, y) => frame.dispatchEvent(new PointerEvent(type,
            { clientX: left + x * width, clientY: top + y * height, bubbles: true, pointerId: 1 }));
        frame.setPointerCapture = () => {};
        point('pointerdown', 0.1, 0.1);
        point('pointermove', 0.6, 0.7);
        point('pointerup', 0.6, 0.7);
        await wait('a crop', () => settled() && state.crop !== null);
        done.crop = !document.querySelector('#box').hidden;
        const slider = document.querySelector('.sliders input');
        slider.value = 0.2;
        slider.dispatchEvent(new Event('input'));
        await wait('weights', () => settled() && state.models[0].weights !== null);
        done.weights = state.models[0].weights;
        results()[3].querySelector('.acts button').click();
        await wait('a positive', () => settled() && state.positive.length === 1);
        results()[5].querySelectorAll('.acts button')[1].click();
        await wait('a negative', () => settled() && state.negative.length === 1);
        const beside = document.querySelector('#beside');
        beside.value = 'shapes/2';
        beside.dispatchEvent(new Event('change'));
        await wait('two models', () => settled() && document.querySelectorAll('.column:nth-child(2) figure').length > 5);
        done.columns = document.querySelectorAll('.column').length;
        results()[1].querySelectorAll('.acts button')[2].click();
        await wait('the dialog', () => document.querySelector('#label').open);
        document.querySelector('#label-class').value = 'six';
        document.querySelector('#label button[value=save]').click();
        await wait('a correction', () => document.querySelectorAll('.fixed').length > 0);
        document.querySelector('[data-view=runs]').click();
        await wait('the runs', () => document.querySelectorAll('#list tbody tr').length === 2);
        done.sparks = document.querySelectorAll('svg.spark').length;
        document.querySelector('#list tbody a').click();
        await wait('a run', () => document.querySelectorAll('#detail tbody tr').length > 10);
        document.querySelector('[data-view=report]').click();
        const page = document.querySelector('#page');
        await wait('the report', () => page.contentDocument?.querySelectorAll('section').length > 8);
        done.report = page.contentDocument.querySelector('h1').textContent;
        done.foreign = performance.getEntriesByType('resource').filter((entry) => !entry.name.startsWith(location.origin) && !entry.name.startsWith('blob:')).map((entry) => entry.name);
        done.scripts = document.querySelectorAll('main script, main img[src=x]').length;
    })().catch((error) => { done.failed = String(error); }).finally(() => { document.title = JSON.stringify(done); });
"#;

#[test]
fn a_browser_searches_without_errors() {
    let Some(browser) = browser() else {
        eprintln!("skipped: no Chromium was found; run `sh scripts/browser.sh`");
        return;
    };
    let (project, _) = reported();
    project.run(&["shapes.toml", "--quiet", "--set", "seed=1"]);
    let server = Server::start(&project, &["shapes/1-2"]);
    let driver = Driver::start(&project, &browser, &format!("http://localhost:{}/", server.port));
    driver.evaluate(CLICKS);
    let begun = Instant::now();
    let title = loop {
        let title = driver.evaluate("document.title");
        if title.starts_with('{') || begun.elapsed() > Duration::from_secs(60) {
            break title;
        }
        thread::sleep(Duration::from_millis(100));
    };
    let done: Value = serde_json::from_str(&title).unwrap_or_else(|error| panic!("{error}: {title}"));
    assert_eq!(done["failed"], Value::Null, "{done}");
    assert_eq!((&done["byId"], &done["byImage"], &done["columns"]), (&24.into(), &24.into(), &2.into()), "{done}");
    assert_eq!((&done["frames"], &done["address"], &done["crop"]), (&23.into(), &true.into(), &true.into()), "{done}");
    assert_eq!((&done["sparks"], &done["foreign"], &done["scripts"]), (&2.into(), &json!([]), &0.into()), "{done}");
    assert_eq!(done["distance"], true, "the image finds itself: {done}");
    assert!(done["report"].as_str().is_some_and(|title| title.contains("shapes")), "{done}");
    assert!(project.read("runs/shapes/1/labels.csv").contains(",six,"));
    assert_eq!(driver.complaints(), Vec::<String>::new());
}

#[test]
fn only_runs_over_the_same_images_are_put_side_by_side() {
    let (project, _) = reported();
    project.run(&["shapes.toml", "--quiet", "--set", "stage.init.crop=24", "--set", "stage.init.resize=24"]);
    project.run(&["shapes.toml", "--quiet", "--set", "stage.decode.per_class=4"]);
    let server = Server::start(&project, &["shapes/1-3"]);
    let runs = server.get("/api/runs").json();
    let digest = |name: &str| {
        let run = runs["runs"].as_array().into_iter().flatten().find(|run| run["run"] == name);
        run.map(|run| run["search"]["images_digest"].clone()).expect("it is listed")
    };
    assert_eq!(digest("shapes/1"), digest("shapes/2"), "another model of the same images");
    assert_ne!(digest("shapes/1"), digest("shapes/3"), "an id means another image");
    let Some(browser) = browser() else { return };
    let driver = Driver::start(&project, &browser, &format!("http://localhost:{}/", server.port));
    let offered = "[...document.querySelectorAll('#beside option')].map((option) => option.value).join(' ')";
    let begun = Instant::now();
    while driver.evaluate(offered).is_empty() && begun.elapsed() < Duration::from_secs(60) {
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(driver.evaluate(offered), " shapes/1 shapes/2");
}
