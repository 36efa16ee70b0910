//! The report of a run: what the page contains, what it does in a browser, its size, and old runs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use arrow::array::types::{Float32Type, UInt32Type};
use arrow::array::{ArrayRef, Float64Array, Int32Array, ListArray, RecordBatch, StringArray, UInt32Array};
use image::{Rgb, RgbImage};
use parquet::arrow::ArrowWriter;

use crate::driver::browser;
use crate::project::Project;

const MANIFEST: &str = r#"
name = "shapes"
report = true

[rounds]
learners = [1, 2]

[stage.decode]
dataset = "folder"
root = "images"
split = { train = 0.4 }

[stage.augment]
in = { images = "decode" }
views = 2

[stage.init]
in = { images = "decode" }
backbone = "small"
dimension = 8
crop = 32
resize = 32

[stage.pixels]
kind = "evaluate"
in = { images = "decode" }

[stage.embed]
per = "round"
in = { images = "decode", model = "merge@previous or init" }
splits = ["train"]

[stage.cluster]
per = "round"
in = { embeddings = "embed", previous = "cluster@previous" }

[stage.train]
per = "learner"
in = { images = "decode", views = "augment", clusters = "cluster", model = "merge@previous or init" }
epochs = 1
loss = { kind = "margin", learn_beta = "shared" }
sampler = { kind = "class_balanced", batch = 8, per_class = 2 }

[stage.merge]
per = "round"
in = { learners = "train", model = "merge@previous or init" }

[stage.evaluate]
per = "round"
in = { images = "decode", model = "merge" }
nuisances = ["blur"]

[stage.kept]
kind = "embed"
per = "round"
in = { images = "decode", model = "merge" }
splits = ["test"]
"#;

/// Names that would break out of HTML that is not escaped.
const CLASSES: [&str; 10] = [
    "<script>",
    "\"><img src=x onerror=alert(1)>",
    "&amp;",
    "'quoted'",
    "plain",
    "a,b",
    "six",
    "seven",
    "eight",
    "nine",
];

/// A project with a run of small pictures, and the path that the run printed.
pub(crate) fn reported() -> (Project, PathBuf) {
    let project = Project::new();
    project.write("shapes.toml", MANIFEST);
    for (number, class) in CLASSES.iter().enumerate() {
        let folder = project.path().join("images").join(class);
        fs::create_dir_all(&folder).expect("the folder can be created");
        for image in 0..6u32 {
            let colour = |x: u32, y: u32| {
                let stripe = (x * (number as u32 + 1) + y * 3) / 8 % 2;
                Rgb([(number * 24) as u8, (image * 30) as u8, (stripe * 200) as u8])
            };
            RgbImage::from_fn(32, 32, colour)
                .save(folder.join(format!("{image}.png")))
                .expect("the picture can be written");
        }
    }
    let called = project.run(&["shapes.toml", "--quiet"]);
    let path = called.stdout.lines().last().expect("the path of the report is printed last");
    let path = project.path().join(path);
    (project, path)
}

/// A section of the page.
fn section<'p>(page: &'p str, id: &str) -> &'p str {
    let rest = page.split(&format!("<section id=\"{id}\">")).nth(1).expect("it has the section");
    rest.split("</section>").next().unwrap_or_default()
}

#[test]
fn a_run_ends_with_a_page_that_loads_nothing_and_escapes_everything() {
    let (project, path) = reported();
    let page = fs::read_to_string(&path).expect("the page was written");
    assert!(page.contains("default-src 'none'"));
    for section in [
        "summary",
        "rounds",
        "training",
        "gallery",
        "confusions",
        "subspaces",
        "map",
        "nuisances",
        "shape",
        "run",
        "reproduce",
    ] {
        assert!(page.contains(&format!("<section id=\"{section}\">")), "{section}");
    }
    // Two scripts of the page and no more; nothing is loaded from anywhere.
    assert_eq!(page.matches("<script").count(), 2);
    assert!(page.contains("&lt;script&gt;") && !page.contains("<img"));
    for loading in [" src=\"http", " href=\"http", "url(http", "@import"] {
        assert!(!page.contains(loading), "{loading}");
    }
    assert!(page.contains("one seed") && page.contains("data:image/jpeg;base64,"));
    for said in ["right → wrong", "as many as there are learners", "rounds.learners=[1,1]", "β of the margin loss"] {
        assert!(page.contains(said), "{said}");
    }

    // A second report finds its costly parts in the store and is the same.
    let called = project.run(&["report", "shapes", "--json", "--output", "again.html"]);
    let json: serde_json::Value = serde_json::from_str(&called.stdout).expect("only JSON is on standard output");
    assert_eq!(json["runs"], serde_json::json!(["shapes/1"]));
    assert_eq!(json["bytes"], page.len());
    assert_eq!(project.read("again.html"), page);
    // Each round has one epoch, of which a line would show nothing.
    assert!(section(&page, "training").contains("<circle"));
    let listed = project.run(&["cache", "ls"]).stdout;
    assert!(listed.contains("thumbnails") && listed.contains("subspace_neighbours"), "{listed}");
}

#[test]
fn a_choice_by_test_classes_is_said_to_be_one() {
    let (project, _) = reported();
    let choose = "\n[stage.choose]\nper = \"round\"\nsplit = \"test\"\n\
                  in = { metrics = \"evaluate\", model = \"merge\", best = \"choose@previous\", \
                  best_metrics = \"choose.metrics@previous\" }\n";
    project.write("shapes.toml", format!("{MANIFEST}{choose}"));
    project.run(&["shapes.toml", "--quiet"]);
    let page = project.read("runs/shapes/2/report.html");
    assert!(page.contains(
        "chosen on test classes by <code>choose@1</code>. Its metrics on these classes are therefore optimistic"
    ));
}

#[test]
fn several_runs_are_compared() {
    let (project, _) = reported();
    project.run(&["shapes.toml", "--quiet", "--set", "stage.train.epochs=2"]);
    project.run(&["shapes.toml", "--quiet", "--set", "stage.train.epochs=2", "--set", "seed=1"]);
    let called = project.run(&["report", "shapes/1-3"]);
    assert!(called.stdout.trim_end().ends_with("runs/shapes/2/comparison.html"), "{}", called.stdout);
    let page = project.read("runs/shapes/2/comparison.html");
    assert!(page.find("<section id=\"comparison\">") < page.find("<section id=\"summary\">"));
    assert!(page.contains("stage.train.epochs") && page.contains("McNemar"), "parameters and flips are shown");
    assert!(!page.contains("<code>stage.decode.root</code>"), "both read the same folder");
    assert!(page.contains("mean and 95 % interval over 2 seeds"));
}

#[test]
fn a_run_of_hits_and_one_with_a_single_metric_have_pages_without_what_they_lack() {
    let (project, _) = reported();
    project.run(&["shapes.toml", "--quiet"]);
    let page = project.read("runs/shapes/2/report.html");
    assert!(page.contains("No node ran.") && page.contains("Hits saved"), "the timeline of a run of hits");
    assert!(!section(&page, "run").contains("0.000000"), "no axis from 0 to 0");
    project.run(&["shapes.toml", "--quiet", "--set", "rounds.learners=[1,1]", "--set", "name=single"]);
    let page = project.read("runs/single/1/report.html");
    assert!(page.contains("Round 1 with one learner") && !page.contains("over a single metric"));
    assert!(!page.contains("as many as there are learners"));
    assert!(page.contains("from 6 classes that training never saw"));
}

/// Pages of runs with two queries, of a class that is trained or not, with a query that has nothing to find, and with nothing evaluated.
#[test]
fn what_a_tiny_run_lacks_is_said() {
    let (project, _) = reported();
    let page = |name: &str, tested: &str, images: u32| {
        let train = ["plain", "six", "seven", "nine"].map(|class| (class, "train", 6));
        let mut list = String::from("image,class,split\n");
        for (class, split, images) in train.into_iter().chain([(tested, "test", images)]) {
            (0..images).for_each(|image| list += &format!("images/{class}/{image}.png,{class},{split}\n"));
        }
        project.write("list.csv", list);
        let folder = "dataset = \"folder\"\nroot = \"images\"\nsplit = { train = 0.4 }";
        let manifest = MANIFEST.replace(folder, "dataset = { kind = \"list\", file = \"list.csv\" }\nroot = \".\"");
        project.write("tiny.toml", manifest.replace("\"shapes\"", &format!("\"{name}\"")));
        project.call(&["tiny.toml", "--quiet"]);
        project.read(&format!("runs/{name}/1/report.html"))
    };
    let two = page("two", "eight", 2);
    assert!(two.contains("Of 2 test queries from 1 class that training never saw"));
    assert!(section(&two, "map").contains("Too few images were evaluated for a map"));
    assert!(section(&two, "shape").contains("Distances of 1 pair of one class and 0 pairs of different classes"));
    let seen = page("seen", "six", 2);
    assert!(seen.contains("Of 2 test queries from 1 class, ") && !seen.contains("training never saw"));
    let alone = page("alone", "eight", 1);
    assert!(section(&alone, "summary").contains("there is nothing to measure") && !alone.contains("over 0 seeds"));
    assert!(section(&alone, "gallery").contains("There are no queries to show"));
    let nothing = page("nothing", "eight", 0);
    assert!(section(&nothing, "summary").contains("No evaluation of this run has finished"));
    assert!(section(&nothing, "summary").contains("Nodes that failed: pixels"));
}

#[test]
fn a_browser_shows_the_page_without_errors() {
    let Some(browser) = browser() else {
        // The test says so instead of passing in silence; `scripts/browser.sh` installs one.
        eprintln!("skipped: no Chromium was found; run `sh scripts/browser.sh`");
        return;
    };
    let (project, path) = reported();
    let page = fs::read_to_string(&path).expect("the page was written");
    // Each name is given once, so that a link or a script finds what it means.
    let mut ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    ids.sort_unstable();
    let all = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), all);
    // What the page said is written into its title once everything was clicked.
    let watch = "<script>window.errors=[];addEventListener('error',e=>errors.push(e.message));\
                 addEventListener('securitypolicyviolation',e=>errors.push(e.blockedURI));</script>";
    let click = r#"<script>
        const shown = [];
        document.querySelectorAll('#gallery .tabs > label').forEach((label) => {
            label.click();
            shown.push([...document.querySelectorAll('#gallery .panel')].filter((panel) => panel.offsetParent).length);
        });
        for (const pressed of ['1', 'j', 'j', 'k']) document.body.dispatchEvent(new KeyboardEvent('keydown', { key: pressed, bubbles: true }));
        const words = document.querySelector('#gallery [name=words]');
        words.value = 'no such class';
        words.dispatchEvent(new Event('input'));
        const hidden = document.querySelectorAll('#gallery .answer:not(.hidden)').length;
        words.value = '';
        words.dispatchEvent(new Event('input'));
        const colour = document.querySelector('#map [name=colour]');
        for (const option of colour.options) { colour.value = option.value; colour.dispatchEvent(new Event('input')); }
        document.title = JSON.stringify({ errors, shown, hidden, requests: performance.getEntriesByType('resource').length,
            at: document.querySelectorAll('.answer.at').length, broken: document.querySelectorAll('main img, main script').length });
    </script>"#;
    let watched =
        page.replacen("<head>", &format!("<head>{watch}"), 1).replacen("</body>", &format!("{click}</body>"), 1);
    let copy = project.write("watched.html", watched);
    let output = Command::new(&browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-unsafe-swiftshader",
            "--dump-dom",
            "--virtual-time-budget=4000",
        ])
        .args(["--enable-logging=stderr"])
        .arg(format!("--user-data-dir={}", project.path().join("browser").display()))
        .arg(format!("file://{}", copy.display()))
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", browser.display()));
    let (dom, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let title = dom.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next());
    let title = title.unwrap_or_else(|| panic!("no title in the page; the browser said: {log}"));
    let title: serde_json::Value = serde_json::from_str(&title.replace("&amp;", "&"))
        .unwrap_or_else(|error| panic!("{error}: {title}; the browser said: {log}"));
    assert_eq!(title["errors"], serde_json::json!([]));
    let shown = title["shown"].as_array().expect("each tab was clicked");
    assert!(shown.len() >= 4 && shown.iter().all(|panels| panels == 1), "{title}");
    assert_eq!(title["requests"], 0, "{title}");
    assert_eq!((&title["hidden"], &title["at"], &title["broken"]), (&0.into(), &1.into(), &0.into()), "{title}");
    let said: Vec<&str> = log.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(said.is_empty(), "{said:?}");
}

/// A run as an older version left it: no manifest, no store, only the fields that `run.json` always had.
fn old_run(folder: &Path, queries: u32) {
    fs::create_dir_all(folder).expect("the folder can be created");
    let json = r#"{"run":"old/1","manifest":"/gone/old.toml","store":"/gone/store","started":1795676386,"seconds":46.5,
        "version":"0.0.1","device":"cpu","arithmetic":"cpu/avx2","threads":2,"jobs":4,"overrides":[],
        "nodes":[{"node":"evaluate","stage":"evaluate","outcome":"ran","seconds":3.5}]}"#;
    fs::write(folder.join("run.json"), json).expect("the file can be written");
    let text = |text: &str, rows: usize| -> ArrayRef { Arc::new(StringArray::from(vec![text; rows])) };
    let ints = |values: Vec<Option<i32>>| -> ArrayRef { Arc::new(Int32Array::from(values)) };
    let metrics = RecordBatch::try_from_iter([
        ("run", text("old/1", 2)),
        ("node", text("evaluate", 2)),
        ("round", ints(vec![Some(-1); 2])),
        ("learners", ints(vec![Some(0); 2])),
        ("split", text("test", 2)),
        ("metric", Arc::new(StringArray::from(vec!["recall", "map_at_r"]))),
        ("k", ints(vec![Some(1), None])),
        ("value", Arc::new(Float64Array::from(vec![0.5, 0.25]))),
    ]);
    write(&folder.join("metrics.parquet"), [metrics.expect("columns have one length")]);
    let batches = (0..queries).step_by(50_000).map(|first| {
        let ids: Vec<u32> = (first..queries.min(first + 50_000)).collect();
        let neighbour = |id: u32, rank: u32| Some((id * 7 + rank * 13 + 1) % queries);
        let neighbours = ids.iter().map(|&id| Some((0..10).map(move |rank| neighbour(id, rank)).collect::<Vec<_>>()));
        let distances = ids
            .iter()
            .map(|&id| Some((0..10).map(move |rank| Some((id % 97 + rank) as f32 / 100.0)).collect::<Vec<_>>()));
        let hits = ids.iter().map(|&id| (id % 3 != 0).then_some(id % 5 + 1));
        let scores: ArrayRef = Arc::new(ids.iter().map(|&id| f64::from(id % 11) / 10.0).collect::<Float64Array>());
        let batch = RecordBatch::try_from_iter([
            ("run", text("old/1", ids.len())),
            ("node", text("evaluate", ids.len())),
            ("id", Arc::new(UInt32Array::from(ids.clone())) as ArrayRef),
            ("label", Arc::new(ids.iter().map(|id| Some(id / 5)).collect::<UInt32Array>())),
            ("split", text("test", ids.len())),
            ("neighbours", Arc::new(ListArray::from_iter_primitive::<UInt32Type, _, _>(neighbours))),
            ("distances", Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(distances))),
            ("first_hit", Arc::new(hits.collect::<UInt32Array>())),
            ("r_precision", Arc::clone(&scores)),
            ("average_precision", scores),
        ]);
        batch.expect("columns have one length")
    });
    write(&folder.join("queries.parquet"), batches);
}

fn write(path: &Path, batches: impl IntoIterator<Item = RecordBatch>) {
    let mut batches = batches.into_iter();
    let first = batches.next().expect("there is a batch");
    let file = File::create(path).expect("the file can be created");
    let mut writer = ArrowWriter::try_new(file, first.schema(), None).expect("the schema can be written");
    for batch in std::iter::once(first).chain(batches) {
        writer.write(&batch).expect("the batch can be written");
    }
    writer.close().expect("the file can be finished");
}

#[test]
fn a_run_of_an_older_version_without_its_store_is_reported() {
    let project = Project::new();
    old_run(&project.path().join("runs/old/1"), 500);
    project.run(&["report", "old"]);
    let page = project.read("runs/old/1/report.html");
    for said in [
        "no longer in the store",
        "class 42",
        "No training of this run has finished",
        "does not say when its nodes began",
        "no longer reads the manifest",
    ] {
        assert!(page.contains(said), "{said}");
    }
}

#[test]
fn the_budget_is_kept_for_a_million_queries() {
    let project = Project::new();
    old_run(&project.path().join("runs/old/1"), 1_000_000);
    let size = |options: &[&str]| {
        let called = project.run(&[&["report", "old"], options].concat());
        let page = project.path().join("runs/old/1/report.html");
        (fs::metadata(page).expect("it was written").len(), called.stderr)
    };
    let (default, _) = size(&[]);
    assert!(default < 20_000_000, "{default}");
    let (small, said) = size(&["--budget", "400kB", "--queries", "2000"]);
    assert!(small <= 400_000, "{small}");
    assert!(said.contains("rows are left out") && said.contains("--budget"), "{said}");
    assert!(project.read("runs/old/1/report.html").contains("<code>--budget</code> raises it"));
    let refused = project.call(&["report", "old", "--budget", "1kB"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("more than `--budget 1kB`"), "{}", refused.stderr);
}
