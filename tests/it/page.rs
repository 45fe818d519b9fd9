//! The live page as people meet it: in a real browser, on a real job with a real broker and a real database.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mysql::prelude::Queryable;

use crate::browser;
use crate::fixtures::{Database, READINGS, Running, TestJob, Topic, wait_until};
use crate::webdriver::{Browser, Screen};

/// Where pictures are kept.
pub fn pictures() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("pictures")
}

const RULE: &str = "-- @severity: high\n-- @message: HR {heart_rate:.0} > 120
SELECT patient_id, event_time, heart_rate FROM vitals WHERE heart_rate > 120
";

/// A ward whose patients have a rate each, once a second, until it is dropped.
pub struct Ward {
    pub job: TestJob,
    pub database: Database,
    pub running: Running,
    pub port: u16,
    topic: Arc<Topic>,
    rates: Arc<std::sync::Mutex<Vec<(String, f64)>>>,
    ended: Arc<AtomicBool>,
    devices: Option<std::thread::JoinHandle<()>>,
}

pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Ward {
    pub fn open(patients: &[(&str, f64)]) -> Self {
        Self::open_with(patients, "")
    }

    pub fn open_with(patients: &[(&str, f64)], dashboard: &str) -> Self {
        Self::open_on(&crate::fixtures::kafka(), &crate::fixtures::mysql_url(), patients, dashboard)
    }

    /// The same on a broker and a database server of the test's own.
    pub fn open_on(brokers: &str, server: &str, patients: &[(&str, f64)], dashboard: &str) -> Self {
        let port = free_port();
        let (topic, database) = (Topic::create_at(brokers, 1), Database::create(server));
        let job = TestJob::new(&topic.name, &database.url)
            .source(&format!("brokers = \"{brokers}\""))
            .query("tables/readings", READINGS)
            .query("rules/tachycardia", RULE)
            .sql_file(
                "seeds/patients.csv",
                "# @key: patient_id\npatient_id,ward,place,name\nP1,icu,2A,\"Meyer, A.\"\nP2,icu,2B,\"<b>Roth</b>, B.\"\nP3,surgery,12,\"Stein, C.\"\n",
            )
            .sql_file("views/lies.sql", "SELECT patient_id, ward FROM patients")
            .more(&format!("[dashboard]\nlisten = \"127.0.0.1:{port}\"\n{dashboard}"));
        let running = job.start();
        let rates: Vec<(String, f64)> = patients.iter().map(|(name, rate)| ((*name).to_owned(), *rate)).collect();
        let (topic, rates) = (Arc::new(topic), Arc::new(std::sync::Mutex::new(rates)));
        let ended = Arc::new(AtomicBool::new(false));
        let devices = {
            let (topic, rates, ended) = (Arc::clone(&topic), Arc::clone(&rates), Arc::clone(&ended));
            std::thread::spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    let at = chrono::Utc::now().to_rfc3339();
                    for (patient, rate) in rates.lock().unwrap().iter() {
                        let id = serde_json::json!(patient);
                        let record =
                            format!(r#"{{"patient_id":{id},"event_time":"{at}","heart_rate":{rate},"spo2":97}}"#);
                        topic.put(0, None, record.as_bytes());
                    }
                    // While the broker is away, records wait with the devices.
                    topic.flush_if_possible();
                    std::thread::sleep(Duration::from_millis(500));
                }
            })
        };
        Self { job, database, running, port, topic, rates, ended, devices: Some(devices) }
    }

    pub fn set(&self, patients: &[(&str, f64)]) {
        *self.rates.lock().unwrap() = patients.iter().map(|(name, rate)| ((*name).to_owned(), *rate)).collect();
    }

    pub fn at(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Opens a page once the ward is there.
    pub fn show(&self, browser: &Browser, path: &str) {
        // Nobody is let in before the job has made its tables.
        wait_until("the page is served", || {
            std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok()
                && crate::outage::get(self.port, "/").0 != 503
        });
        browser.open(&self.at(path));
    }
}

impl Drop for Ward {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(devices) = self.devices.take() {
            let _ = devices.join();
        }
        let _ = &self.topic;
    }
}

/// The faults that axe-core finds, each with where.
fn axe(browser: &Browser) -> Vec<String> {
    let file = std::env::var("WARDWATCH_AXE").expect("WARDWATCH_AXE is set by `make test`");
    let script = std::fs::read_to_string(file).unwrap();
    // The page's policy forbids strangers' scripts; a debugger's are none of the page's.
    let found = browser.eval_later(&format!(
        "{script}; axe.run(document, {{ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] }}).then(done, error => done(String(error)));"
    ));
    let faults = found["violations"].as_array().unwrap_or_else(|| panic!("axe did not run: {found}"));
    let told = faults.iter().flat_map(|fault| {
        let nodes = fault["nodes"].as_array().unwrap().iter();
        nodes.map(move |node| format!("{}: {} {}", fault["id"], node["html"], node["failureSummary"]))
    });
    told.collect()
}

fn silent(browser: &Browser) {
    let console = browser.console();
    assert!(console.is_empty(), "{}", console.join("\n"));
}

#[test]
fn a_ward_goes_from_empty_to_an_alert_that_is_acknowledged_and_ends() {
    if !browser::is_there() {
        return;
    }
    let ward = Ward::open(&[]);
    let browser = Browser::start(Screen::Wall);
    ward.show(&browser, "/");
    assert!(browser.text("main").contains("There is no reading of any patient yet."), "{}", browser.text("main"));
    browser.eval("window.isTheSame = true");

    ward.set(&[("P1", 80.0), ("P2", 75.0), ("P3", 90.0)]);
    browser.wait_for("tiles appear by themselves", "document.querySelectorAll('.tile').length === 3");
    let places: Vec<String> = (1..=3).map(|tile| browser.text(&format!(".tile:nth-of-type({tile}) h2"))).collect();
    assert_eq!(places, ["2A Meyer, A.", "2B <b>Roth</b>, B.", "12 Stein, C."]);
    assert_eq!(browser.text("[data-id=P1] .value"), "80");
    assert!(!browser.text("main").contains("There is no reading"), "{}", browser.text("main"));
    assert_eq!(browser.eval("document.querySelector('select[name=ward]').value"), "");
    assert_eq!(browser.count("select[name=ward] option"), 3);
    assert!(browser.text("[data-id=P1] .alert").contains("all within limits"));

    ward.set(&[("P1", 134.0), ("P2", 75.0), ("P3", 90.0)]);
    browser.wait_for("it alerts", "document.querySelector('[data-id=P1] .badge')?.textContent === '*** HR 134 > 120'");
    assert!(browser.eval("document.querySelector('[data-id=P1]').classList.contains('high')").as_bool().unwrap());
    assert!(browser.text("#summary").contains("1 high"));
    assert_eq!(browser.text("#waiting"), "1");
    assert!(browser.text("#told").contains("HR 134 > 120"));
    browser.picture(&pictures().join("ward.png"));

    browser.click("[data-id=P1] .acknowledge button");
    browser.wait_for(
        "it is acknowledged",
        "document.querySelector('[data-id=P1] .alert').innerText.includes('acknowledged by local')",
    );
    assert_eq!(ward.database.so_far("SELECT acknowledged_by FROM alerts"), "local");
    assert_eq!(
        ward.database.so_far("SELECT who, action, subject FROM audit WHERE action='acknowledge'"),
        "local|acknowledge|P1"
    );

    ward.set(&[("P1", 80.0), ("P2", 75.0), ("P3", 90.0)]);
    browser.wait_for("it ends", "document.querySelector('[data-id=P1] .alert').innerText === 'all within limits'");
    // Nothing of that took another page.
    assert!(browser.eval("window.isTheSame").as_bool().unwrap());
    silent(&browser);
}

#[test]
fn a_page_says_within_five_seconds_that_it_is_stale_and_catches_up() {
    if !browser::is_there() {
        return;
    }
    let mut ward = Ward::open(&[("P1", 80.0), ("P2", 75.0)]);
    let browser = Browser::start(Screen::Wall);
    ward.show(&browser, "/");
    browser.wait_for("the ward is there", "document.querySelectorAll('.tile').length === 2 && stalled.hidden");

    // The line is there and says nothing: the process is stopped.
    ward.running.signal("STOP");
    let stopped = std::time::Instant::now();
    browser.wait_for("it says so", "!stalled.hidden && document.body.classList.contains('is-stalled')");
    println!("the server was stopped; the page said so after {:?}", stopped.elapsed());
    assert!(browser.text("#stalled").starts_with("No word from the server for "));
    assert!(browser.text("#stalled").contains("What is shown here is old."));
    ward.running.signal("CONT");
    browser.wait_for(
        "it catches up, with the tiles",
        "stalled.hidden && !document.body.classList.contains('is-stalled') && !document.querySelector('.tile.stale')",
    );

    // One patient's device falls silent.
    ward.set(&[("P2", 76.0)]);
    // Until what had waited is read, both are old for a moment.
    browser.wait_for(
        "the tile says so",
        "['P1', 'P2'].filter(id => document.querySelector(`[data-id=${id}]`).classList.contains('stale')).join() === 'P1'",
    );
    assert!(browser.text("[data-id=P1] .updated").starts_with("no data for "));
    assert_eq!(browser.text("[data-id=P1] .alert"), "", "silence is not within limits");
    browser.picture(&pictures().join("stale.png"));

    // The job is killed, and with it the server; the one that follows is found by the page itself.
    ward.running.child.kill().unwrap();
    ward.running.wait();
    browser.wait_for("it says so", "!stalled.hidden");
    ward.running = ward.job.start();
    ward.set(&[("P1", 81.0), ("P2", 76.0)]);
    browser.wait_for(
        "it is live again",
        "stalled.hidden && document.querySelector('[data-id=P1] .value').textContent === '81'",
    );
}

#[test]
fn a_page_beside_the_job_says_that_the_job_stands_still() {
    if !browser::is_there() {
        return;
    }
    let mut ward = Ward::open(&[("P1", 80.0)]);
    ward.running.wait_until("the job runs", || ward.database.so_far("SELECT COUNT(*) > 2 FROM batches") == "1");
    let port = free_port();
    let mut command = ward.job.command("serve");
    command.args(["--listen", &format!("127.0.0.1:{port}")]);
    let _server = Running::spawn(&mut command, ward.job.folder.path().join("serve.log"));
    wait_until("it serves", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let browser = Browser::start(Screen::Wall);
    browser.open(&format!("http://127.0.0.1:{port}/"));
    browser.wait_for("it is live", "document.querySelectorAll('.tile').length === 1 && stalled.hidden");
    ward.running.child.kill().unwrap();
    ward.running.wait();
    browser.wait_for("it says so", "stalled.textContent.startsWith('The job has committed nothing for ')");
    assert!(browser.eval("document.body.classList.contains('is-stalled')").as_bool().unwrap());
}

#[test]
fn every_page_is_accessible_in_light_and_dark_on_wall_and_phone() {
    if !browser::is_there() {
        return;
    }
    let ward = Ward::open(&[("P1", 134.0), ("P2", 75.0), ("P3", 90.0)]);
    wait_until("it fires", || ward.database.so_far("SELECT state FROM alerts") == "firing");
    let id = ward.database.so_far("SELECT id FROM alerts");
    let mut faults = Vec::new();
    for (screen, scheme, name) in
        [(Screen::Wall, "light", "light"), (Screen::Wall, "dark", "dark"), (Screen::Phone, "light", "phone")]
    {
        let browser = Browser::start_in(screen, scheme);
        for (path, page) in [
            ("/", "ward"),
            ("/patients/P1", "patient"),
            ("/alerts", "alerts"),
            (&format!("/alerts/{id}"), "alert"),
            ("/reports", "reports"),
            ("/job", "job"),
            ("/login", "login"),
            ("/patients/P9", "missing"),
        ] {
            ward.show(&browser, path);
            if page == "patient" {
                browser.wait_for("the chart is drawn", "document.querySelector('.chart svg') !== null");
            }
            if page == "ward" {
                browser.wait_for("small lines are drawn", "document.querySelector('.spark path[d]') !== null");
            }
            browser.picture(&pictures().join(format!("{page}-{name}.png")));
            let wide = browser.eval("document.documentElement.scrollWidth > document.documentElement.clientWidth");
            if wide.as_bool().unwrap() {
                faults.push(format!("{page}, {name}: wider than the screen"));
            }
            faults.extend(axe(&browser).into_iter().map(|fault| format!("{page}, {name}: {fault}")));
            // That a patient is missing is said in the console, too.
            let console = browser.console();
            if page != "missing" && !console.is_empty() {
                faults.push(format!("{page}, {name}: {console:?}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn everything_can_be_done_with_the_keyboard_alone() {
    if !browser::is_there() {
        return;
    }
    const TAB: &str = "\u{E004}";
    const ENTER: &str = "\u{E007}";
    const RIGHT: &str = "\u{E014}";
    let ward = Ward::open(&[("P1", 134.0), ("P2", 75.0)]);
    let browser = Browser::start(Screen::Wall);
    ward.show(&browser, "/");
    browser.wait_for("it alerts", "document.querySelector('[data-id=P1] .acknowledge') !== null");
    browser.press(&[TAB]);
    assert_eq!(browser.eval("document.activeElement.className"), "skip");
    let reach = |what: &str, expression: &str| {
        let reached = (0..40).any(|_| {
            browser.press(&[TAB]);
            browser.eval(expression).as_bool().unwrap()
        });
        assert!(reached, "{what} cannot be reached by Tab");
        assert_ne!(
            browser.eval("getComputedStyle(document.activeElement).outlineStyle"),
            "none",
            "{what} shows no focus"
        );
    };
    reach("the button", "document.activeElement.matches('[data-id=P1] .acknowledge button')");
    browser.press(&[ENTER]);
    browser.wait_for("it is acknowledged", "document.querySelector('[data-id=P1] .by') !== null");
    assert!(browser.eval("document.querySelector('[data-id=P1]').contains(document.activeElement)").as_bool().unwrap());
    reach("the next patient", "document.activeElement.matches('[data-id=P2] h2 a')");
    browser.press(&[ENTER]);
    browser.wait_for(
        "the patient's page",
        "location.pathname === '/patients/P2' && document.querySelector('.chart svg') !== null",
    );
    reach("the chart", "document.activeElement.matches('.chart')");
    browser.press(&[RIGHT]);
    browser.wait_for("it reads values", "document.querySelector('#reading').innerText.includes('Heart rate 75')");
}

#[test]
fn a_patients_page_has_the_chart_that_tells_values_and_limits_that_an_admin_sets() {
    if !browser::is_there() {
        return;
    }
    let ward = Ward::open(&[("P1", 134.0)]);
    let limits = "# @key: patient_id, ward, age_band, vital, valid_from\n\
        patient_id,ward,age_band,vital,valid_from:time,valid_until:time,low:float,high:float,author,reason\n\
        ,,,heart_rate,2020-01-01T00:00:00Z,,50,120,test,default\n";
    std::fs::write(ward.job.folder.path().join("sql/seeds/limits.csv"), limits).unwrap();
    let browser = Browser::start(Screen::Wall);
    ward.show(&browser, "/patients/P1");
    wait_until("the table of limits is there", || ward.database.so_far("SELECT COUNT(*) FROM limits") == "1");
    wait_until("the patient is there", || {
        browser.open(&ward.at("/patients/P1"));
        browser.count(".chart") == 1
    });
    // Until then it was missing, which the console says.
    browser.console();
    browser.wait_for("the chart is drawn", "document.querySelector('.chart svg') !== null");
    browser.wait_for(
        "the newest reading is at its right edge",
        "document.querySelectorAll('#values tbody tr').length === 12",
    );
    // Time ends at 1,104 of the picture's 1,200 pixels.
    let width = browser.eval("document.querySelector('.chart').clientWidth").as_i64().unwrap();
    browser.point_at(".chart", (width * 1_104 / 1_200 - width / 2 - 1, 0));
    browser.wait_for("it tells the value", "document.querySelector('#reading').innerText.includes('134')");
    assert!(browser.text("main").contains("default"));

    browser.click("section[aria-labelledby=limits] details:first-of-type summary");
    browser.type_into("input[name=high]", "140");
    browser.type_into("section[aria-labelledby=limits] input[name=reason]", "training");
    browser.click("section[aria-labelledby=limits] form button");
    browser.wait_for("the limit is the patient's", "document.body.innerText.includes('patient P1')");
    assert_eq!(
        ward.database.so_far("SELECT high, author, reason FROM limits WHERE patient_id='P1'"),
        "140|local|training"
    );
    silent(&browser);
}

#[test]
fn a_phone_has_one_column_a_large_button_and_little_to_load() {
    if !browser::is_there() {
        return;
    }
    let many: Vec<(String, f64)> = (0..60).map(|number| (format!("Q{number:03}"), 70.0)).collect();
    let many: Vec<(&str, f64)> = many.iter().map(|(name, rate)| (name.as_str(), *rate)).collect();
    let ward = Ward::open(&[&many[..], &[("P1", 134.0)]].concat());
    wait_until("it fires", || ward.database.so_far("SELECT state FROM alerts") == "firing");
    let browser = Browser::start(Screen::Phone);
    ward.show(&browser, "/?order=severity");
    browser.wait_for(
        "it alerts",
        "document.querySelectorAll('.tile').length === 61 && document.querySelector('.acknowledge') !== null",
    );
    let columns = browser
        .eval("new Set([...document.querySelectorAll('.tile')].map(tile => tile.getBoundingClientRect().left)).size");
    assert_eq!(columns, 1);
    let first = browser.eval("document.querySelector('.tile').dataset.id");
    assert_eq!(first, "P1", "the worst is first");
    let size = browser.eval("(({ width, height }) => [width, height])(document.querySelector('.acknowledge button').getBoundingClientRect())");
    assert!(size[0].as_f64().unwrap() >= 48.0 && size[1].as_f64().unwrap() >= 48.0, "{size}");
    // Everything that it took before it went live, as it came over the line, and all from here.
    let loaded = browser.eval(
        "performance.getEntries().filter(one => one.transferSize > 0 && !one.name.endsWith('/events')).map(one => [one.name, one.transferSize])",
    );
    let loaded = loaded.as_array().unwrap();
    let bytes: f64 = loaded.iter().map(|one| one[1].as_f64().unwrap()).sum();
    assert!(bytes > 5_000.0 && bytes <= 60_000.0, "{bytes} bytes: {loaded:?}");
    assert!(loaded.iter().all(|one| one[0].as_str().unwrap().starts_with(&ward.at("/"))), "{loaded:?}");
    let manifest = browser.eval_later("fetch('/manifest.webmanifest').then(answer => answer.json()).then(done)");
    assert_eq!(manifest["display"], "standalone");
    let icons: Vec<&str> =
        manifest["icons"].as_array().unwrap().iter().map(|icon| icon["src"].as_str().unwrap()).collect();
    for icon in icons {
        let kind =
            browser.eval_later(&format!("fetch('{icon}').then(answer => answer.blob()).then(blob => done(blob.type))"));
        assert!(kind.as_str().unwrap().starts_with("image/"), "{icon}: {kind}");
    }
    browser.picture(&pictures().join("phone.png"));
}

#[test]
fn hostile_names_and_ids_stay_texts_everywhere() {
    if !browser::is_there() {
        return;
    }
    const ID: &str = "P'\"><img src=x onerror=alert(1)>/../; DROP TABLE alerts --";
    let ward = Ward::open(&[(ID, 134.0), ("P2", 80.0)]);
    wait_until("it fires", || ward.database.so_far("SELECT state FROM alerts") == "firing");
    let browser = Browser::start(Screen::Wall);
    ward.show(&browser, "/");
    browser.wait_for("it alerts", "document.querySelector('.acknowledge') !== null");
    assert_eq!(browser.count("img"), 0);
    assert!(browser.text("main").contains(ID), "{}", browser.text("main"));
    browser.click(".tile.high h2 a");
    browser.wait_for("its page", "document.querySelector('.chart svg') !== null");
    assert_eq!(browser.count("img"), 0);
    assert!(
        browser.text("h1").contains(ID)
            && browser.eval("document.querySelector('.chart svg').textContent").as_str().unwrap().contains("P'")
    );
    browser.click(".tile .acknowledge button");
    browser.wait_for("it is acknowledged", "document.querySelector('.tile .by') !== null");
    browser.open(&ward.at("/alerts?patient=%27%20OR%201%3D1%20--&rule=%22%3E%3Cscript%3Ealert(1)%3C/script%3E"));
    assert_eq!((browser.count("main script"), browser.count("#past ~ .scroll")), (0, 0));
    assert!(ward.database.connect().query_drop("SELECT 1 FROM alerts").is_ok());
    silent(&browser);
}

/// The pictures of README: of the demo, with a dozen patients. They are kept under `target/pictures`, and, where golden files are
/// written anew, in `docs/page`.
#[test]
fn the_demo_opens_with_a_living_ward() {
    if !browser::is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut command = crate::fixtures::wardwatch();
    command.args(["demo", "--patients", "12", "--port", &port.to_string(), "--dir", "demo"]);
    let demo = Running::spawn(command.current_dir(folder.path()), folder.path().join("demo.log"));
    let at = |path: &str| format!("http://127.0.0.1:{port}{path}");
    wait_until("the page is served", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let (wall, phone) = (Browser::start(Screen::Wall), Browser::start(Screen::Phone));
    wall.open(&at("/"));
    wall.wait_for(
        "the ward is there, with alerts",
        "document.querySelectorAll('.tile').length === 12 && document.querySelectorAll('.tile.high').length > 1",
    );
    wall.wait_for("scores and small lines are there", "document.querySelectorAll('.score b').length === 12 && document.querySelectorAll('.spark path[d*=L]').length > 30");
    wall.click(".tile.high .acknowledge button");
    wait_until("it is acknowledged", || {
        let asked = "fetch('/api/v1/alerts?state=open').then(answer => answer.json())\
            .then(all => done(all.items.some(one => one.acknowledged_by !== null)))";
        wall.eval_later(asked) == true
    });
    wall.wait_for("nothing is told any more", "told.hidden");
    wall.resize(1_400, 1_200);
    wall.picture(&pictures().join("readme-ward.png"));
    phone.open(&at("/?order=severity"));
    phone.wait_for("small lines are there", "document.querySelectorAll('.spark path[d*=L]').length > 30");
    phone.picture(&pictures().join("readme-phone.png"));
    wall.open(&at("/patients/P0001"));
    wall.wait_for("the chart is drawn", "document.querySelector('.chart svg') !== null");
    wall.resize(1_400, 1_700);
    wall.picture(&pictures().join("readme-patient.png"));
    silent(&wall);
    silent(&phone);
    // A report of the same patient, for README too.
    let absolute = |path: &str| format!("\"{}\"", crate::fixtures::repository().join(path).display());
    let job = std::fs::read_to_string(crate::fixtures::repository().join("jobs/patient_vitals.toml")).unwrap();
    let job = job
        .replace("\"../sql/vitals\"", &absolute("sql/vitals"))
        .replace("\"../reports\"", &absolute("reports"))
        .replace("\"../reports/out\"", "\"out\"");
    std::fs::write(folder.path().join("job.toml"), job).unwrap();
    let report = crate::fixtures::wardwatch()
        .args(["report", "job.toml", "patient_trend", "--patient", "P0001", "--last", "5m"])
        .env("MYSQL_URL", format!("sqlite://{}", folder.path().join("demo/wardwatch.db").display()))
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(report.status.success(), "{}", crate::fixtures::told(&report));
    let trend =
        std::fs::read_dir(folder.path().join("out/patient_trend/P0001")).unwrap().map(|entry| entry.unwrap().path());
    let trend = trend.filter(|path| path.extension().is_some_and(|extension| extension == "png")).max().unwrap();
    drop(demo);
    if std::env::var("WARDWATCH_GOLDEN").is_ok_and(|value| value == "write") {
        std::fs::copy(trend, crate::fixtures::repository().join("docs/patient.png")).unwrap();
        for name in ["ward", "patient", "phone"] {
            let to = crate::fixtures::repository().join("docs/page").join(format!("{name}.png"));
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(pictures().join(format!("readme-{name}.png")), to).unwrap();
        }
    }
}

#[test]
fn sound_comes_only_once_it_was_allowed_and_once_for_a_new_high_alert() {
    if !browser::is_there() {
        return;
    }
    let ward = Ward::open(&[("P1", 80.0), ("P2", 80.0)]);
    let browser = Browser::start(Screen::Wall);
    browser.run_before_pages(
        "window.tones = 0;
         window.AudioContext = class {
           currentTime = 0;
           resume() { return Promise.resolve(); }
           createGain() { return { gain: { setValueAtTime() {}, linearRampToValueAtTime() {} }, connect() {} }; }
           createOscillator() { window.tones += 1; return { frequency: {}, connect: next => next, start() {}, stop() {} }; }
         };",
    );
    ward.show(&browser, "/");
    browser.wait_for("the ward is there", "document.querySelectorAll('.tile').length === 2");
    ward.set(&[("P1", 134.0), ("P2", 80.0)]);
    browser.wait_for("it alerts", "document.querySelectorAll('.tile.high').length === 1");
    assert_eq!(browser.eval("tones"), 0, "nobody has allowed it");
    browser.click("#sound");
    browser.wait_for("it lets itself be heard", "tones === 5 && sound.getAttribute('aria-pressed') === 'true'");
    ward.set(&[("P1", 134.0), ("P2", 135.0)]);
    browser.wait_for("another alerts", "document.querySelectorAll('.tile.high').length === 2 && tones === 10");
    // It goes on, and is not told again.
    let batch = browser.text("#lag");
    browser.wait_for("batches go on", &format!("!lag.textContent.startsWith({:?})", batch.split(',').next().unwrap()));
    assert_eq!(browser.eval("tones"), 10);
    browser.click("#sound");
    browser.wait_for("it is off", "sound.getAttribute('aria-pressed') === 'false'");
    silent(&browser);
}
