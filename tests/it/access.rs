//! Who gets in, what each may do, and what attackers get: the page and its API by plain HTTP.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mysql::prelude::Queryable;

use crate::fixtures::{Database, TestJob, told, wait_until};
use crate::page::{Ward, free_port};

/// An answer: status, headers by their names in small letters, body.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

/// One request, written as it is given, on a connection of its own.
fn ask(port: u16, request: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
    let mut text = format!("{request} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        text.push_str(&format!("Host: 127.0.0.1:{port}\r\n"));
    }
    headers.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
    stream.write_all(format!("{text}\r\n{body}").as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
    let headers =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    Answer { status, headers: headers.collect(), body: body.to_owned() }
}

fn get(port: u16, path: &str, headers: &[(&str, &str)]) -> Answer {
    ask(port, &format!("GET {path}"), headers, "")
}

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
const JSON: (&str, &str) = ("Content-Type", "application/json");

/// Runs `wardwatch users …` with a password as its input.
fn users(job: &TestJob, command: &str, more: &[&str], password: &str) -> (bool, String) {
    let mut wardwatch = crate::fixtures::wardwatch();
    wardwatch.args(["users", command]).arg(job.file()).args(more).current_dir(job.folder.path());
    let mut child = wardwatch.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{password}").unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.success(), told(&output))
}

fn add_user(job: &TestJob, name: &str, role: &str) {
    let (is_done, said) = users(job, "add", &[name, "--role", role], PASSWORD);
    assert!(is_done, "{said}");
}

const PASSWORD: &str = "correct horse battery";

/// Logs in and returns the cookie and the seal of forms.
fn log_in(port: u16, name: &str) -> (String, String) {
    let answer = ask(port, "POST /login", &[FORM], &format!("name={name}&password=correct+horse+battery&next=/alerts"));
    assert_eq!(
        (answer.status, answer.headers.get("location").map(String::as_str)),
        (303, Some("/alerts")),
        "{answer:?}"
    );
    let cookie = answer.headers["set-cookie"].split(';').next().unwrap().to_owned();
    (cookie.clone(), seal(port, &cookie))
}

fn seal(port: u16, cookie: &str) -> String {
    let page = get(port, "/alerts", &[("Cookie", cookie)]).body;
    let (_, rest) = page.split_once("name=\"csrf\" content=\"").unwrap_or_else(|| panic!("no seal in {page}"));
    rest.split('"').next().unwrap().to_owned()
}

/// A server beside a job that does not run.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(job: &TestJob) -> Self {
        let port = free_port();
        let mut command = job.command("serve");
        let child =
            command.args(["--listen", &format!("127.0.0.1:{port}")]).stdout(Stdio::null()).stderr(Stdio::null());
        let child = child.spawn().unwrap();
        let mut server = Self { child, port };
        wait_until("it serves", || {
            assert!(server.child.try_wait().unwrap().is_none(), "it has ended");
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A job that has run once.
fn past(dashboard: &str) -> (TestJob, Database) {
    let (job, topic, database) = TestJob::on_mysql();
    let job = job.more(&format!("[dashboard]\n{dashboard}"));
    topic.put_samples("P1", &[(0, 80.0), (1, 81.0)]);
    job.run_once();
    (job, database)
}

#[test]
fn without_users_the_page_is_for_this_machine_only() {
    let (job, _database) = past("");
    let server = Server::start(&job);
    assert_eq!(get(server.port, "/", &[]).status, 200);
    let stranger = get(server.port, "/", &[("Host", "ward.evil.example")]);
    assert_eq!(stranger.status, 403, "another name that leads here (DNS rebinding)");
    for command in ["serve", "run"] {
        let job = job.command(command);
        let mut job = job;
        let output = match command {
            "serve" => job.args(["--listen", "0.0.0.0:0"]).output().unwrap(),
            _ => {
                let file = std::path::PathBuf::from(job.get_args().nth(1).unwrap());
                let text = std::fs::read_to_string(&file).unwrap();
                std::fs::write(&file, text.replace("[dashboard]\n", "[dashboard]\nlisten = \"0.0.0.0:0\"\n")).unwrap();
                job.output().unwrap()
            }
        };
        assert_eq!(output.status.code(), Some(1), "{}", told(&output));
        assert!(told(&output).contains("there are no users yet; `wardwatch users add"), "{}", told(&output));
    }
}

#[test]
fn without_users_nobody_gets_in_through_a_proxy_whatever_it_calls_us() {
    let (job, database) = past("");
    let server = Server::start(&job);
    let page = get(server.port, "/", &[]);
    assert_eq!(page.status, 200);
    let (_, rest) = page.body.split_once("name=\"csrf\" content=\"").unwrap();
    let seal = rest.split('"').next().unwrap();
    // A year of silence, as somebody behind a proxy on this machine would ask for it.
    let year = r#"{"patient":"P1","seconds":31536000,"reason":"quiet"}"#;
    for header in [
        ("X-Forwarded-For", "203.0.113.9"),
        ("Forwarded", "for=203.0.113.9"),
        ("X-Real-IP", "203.0.113.9"),
        ("Via", "1.1 proxy"),
        ("X-Forwarded-Proto", "https"),
        ("X_Forwarded_For", "203.0.113.9"),
        ("CF-Ray", "8c1-FRA"),
        ("Fly-Client-IP", "203.0.113.9"),
        ("X-Envoy-External-Address", "203.0.113.9"),
        ("X-Host", "ward.example"),
        ("Proxy-Connection", "keep-alive"),
    ] {
        let headers = [header, ("Host", "localhost"), ("X-CSRF-Token", seal), JSON];
        let answer = ask(server.port, "POST /api/v1/silences", &headers, year);
        assert!(answer.status == 403 && answer.body.contains("wardwatch users add"), "{header:?}: {answer:?}");
        assert_eq!(get(server.port, "/", &headers[..2]).status, 403, "{header:?}");
    }
    // nginx as it comes: no header, our own name, but HTTP/1.0.
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 403") || answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert_eq!(database.rows("SELECT COUNT(*) FROM alert_actions"), ["0"]);

    let (job, _database) = past("behind_proxy = true");
    let server = Server::start(&job);
    assert_eq!(get(server.port, "/", &[("Host", "localhost")]).status, 403);
    assert_eq!(get(server.port, "/healthz", &[]).status, 200, "whether it lives is no secret");
    add_user(&job, "nora", "nurse");
    let answer = get(server.port, "/", &[("Host", "localhost")]);
    assert_eq!(answer.status, 303, "with users, one logs in: {answer:?}");
}

#[test]
fn a_table_of_users_that_is_gone_or_emptied_lets_nobody_in_without_a_log_in() {
    let (job, database) = past("");
    let server = Server::start(&job);
    assert_eq!(get(server.port, "/", &[]).status, 200, "there have never been users");
    add_user(&job, "nora", "nurse");
    let (cookie, _) = log_in(server.port, "nora");
    let change = |sql: &str| database.connect().query_drop(sql).unwrap();
    let is_shut = |port: u16, why: &str| {
        // What was known of users is remembered for ten seconds, and asked for then.
        wait_until("it is asked again", || get(port, "/", &[]).status != 303);
        for path in ["/", "/alerts", "/api/v1/patients", "/metrics", "/events"] {
            let answer = get(port, path, &[]);
            assert!(answer.status == 503 && answer.body.contains(why), "{path}: {answer:?}");
        }
        assert!(get(port, "/", &[]).body.contains("http-equiv=\"refresh\""), "a page looks again by itself");
        wait_until("nobody is logged in", || get(port, "/", &[("Cookie", &cookie)]).status == 503);
    };
    for (damage, repair, why) in [
        ("ALTER TABLE users RENAME TO users_x", "ALTER TABLE users_x RENAME TO users", "no table"),
        ("ALTER TABLE audit RENAME TO audit_x", "ALTER TABLE audit_x RENAME TO audit", "no table"),
        ("CREATE TABLE aside AS SELECT * FROM users", "INSERT INTO users SELECT * FROM aside", "there were users"),
    ] {
        change(damage);
        if damage.starts_with("CREATE") {
            change("DELETE FROM users");
        }
        // A page that starts now has seen nobody; with the table of users, the other has not yet looked again either.
        let again = Server::start(&job);
        if damage.contains("users") {
            is_shut(server.port, why);
        }
        is_shut(again.port, why);
        change(repair);
        wait_until("one can log in again", || get(again.port, "/", &[]).status == 303);
        wait_until("the session holds again", || get(again.port, "/", &[("Cookie", &cookie)]).status == 200);
    }
    // Though nothing in the store tells of users any more, a page that has seen them knows.
    for table in ["users", "audit", "sessions"] {
        change(&format!("DELETE FROM {table}"));
    }
    is_shut(server.port, "when this page was asked before");
}

#[test]
fn the_last_user_is_not_removed_not_even_by_two_at_once() {
    let (job, database) = past("");
    add_user(&job, "nora", "nurse");
    let (is_done, said) = users(&job, "remove", &["nora"], "");
    assert!(!is_done && said.contains("\"nora\" is the last user") && said.contains("wardwatch users add"), "{said}");
    for round in 0..3 {
        add_user(&job, "ada", "admin");
        std::thread::scope(|scope| {
            for name in ["nora", "ada"] {
                let job = &job;
                scope.spawn(move || users(job, "remove", &[name], ""));
            }
        });
        assert_ne!(database.rows("SELECT COUNT(*) FROM users"), ["0"], "round {round}");
        add_user(&job, "nora", "nurse");
    }
}

#[test]
fn two_hundred_guesses_at_once_are_five_and_pages_do_not_wait_for_them() {
    let (job, database) = past("");
    add_user(&job, "nora", "nurse");
    let server = Server::start(&job);
    let port = server.port;
    let (cookie, _) = log_in(port, "nora");
    let longest = std::thread::scope(|scope| {
        let guesses: Vec<_> = (0..200)
            .map(|guess| {
                let body = format!("name=nora&password=guess+number+{guess}");
                scope.spawn(move || ask(port, "POST /login", &[FORM], &body))
            })
            .collect();
        let mut longest = Duration::ZERO;
        while guesses.iter().any(|guess| !guess.is_finished()) {
            let asked = Instant::now();
            assert_eq!(get(port, "/alerts", &[("Cookie", &cookie)]).status, 200);
            longest = longest.max(asked.elapsed());
        }
        let answers: Vec<Answer> = guesses.into_iter().map(|guess| guess.join().unwrap()).collect();
        let of = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
        // Where comparing takes longer than the first waits, a guess or two more may come after those.
        let (compared, waiting) = (answers.len() - of(429), of(429));
        assert!((5..=9).contains(&compared), "five are compared, the others wait: {compared} and {waiting}");
        let waits = answers.iter().filter(|answer| answer.status == 429);
        assert!(waits.clone().all(|answer| answer.headers.contains_key("retry-after")));
        longest
    });
    println!("the longest page took {longest:?}");
    // Comparing all would take minutes where nothing is optimised.
    assert!(longest < Duration::from_secs(10), "a page took {longest:?}");
    let failed = database.rows("SELECT COUNT(*) FROM audit WHERE action = 'fail to log in'").remove(0);
    assert!(failed.parse::<u32>().unwrap() <= 9, "{failed}");
}

#[test]
fn guesses_from_everywhere_fill_a_queue_of_their_own_and_the_pages_go_on() {
    let (job, database) = past("behind_proxy = true");
    add_user(&job, "nora", "nurse");
    let server = Server::start(&job);
    let port = server.port;
    let body = "name=nora&password=correct+horse+battery";
    let answer = ask(port, "POST /login", &[FORM], body);
    let cookie = answer.headers["set-cookie"].split(';').next().unwrap().to_owned();
    std::thread::scope(|scope| {
        let guesses: Vec<_> = (0..200)
            .map(|guess| {
                let from = format!("198.51.100.1, 10.0.{}.{}", guess / 250, guess % 250 + 1);
                scope.spawn(move || {
                    let headers = [FORM, ("X-Forwarded-For", from.as_str())];
                    ask(port, "POST /login", &headers, "name=nora&password=wrong+wrong+wrong")
                })
            })
            .collect();
        let asked = Instant::now();
        assert_eq!(get(port, "/alerts", &[("Cookie", &cookie)]).status, 200);
        // Comparing all would take minutes where nothing is optimised.
        assert!(asked.elapsed() < Duration::from_secs(10), "the page took {:?}", asked.elapsed());
        let answers: Vec<Answer> = guesses.into_iter().map(|guess| guess.join().unwrap()).collect();
        let busy: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 503).collect();
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        // 408, where a busy machine takes longer than an answer may.
        assert!(statuses.iter().all(|status| matches!(status, 401 | 408 | 503)), "{statuses:?}");
        assert!(!busy.is_empty() && busy.iter().all(|answer| answer.headers["retry-after"] == "1"), "{statuses:?}");
    });
    assert_eq!(ask(port, "POST /login", &[FORM], body).status, 303, "and it is empty again");
    assert_eq!(database.rows("SELECT COUNT(DISTINCT address) > 1 FROM audit WHERE action = 'fail to log in'"), ["1"]);
}

#[test]
fn a_password_that_is_too_long_does_not_tell_which_names_there_are() {
    let (job, _database) = past("");
    add_user(&job, "nora", "nurse");
    let server = Server::start(&job);
    let long = "x".repeat(201);
    let mut times = [Duration::MAX; 2];
    let mut answers = Vec::new();
    for _ in 0..20 {
        for (name, shortest) in ["nora", "nobody"].into_iter().zip(&mut times) {
            let asked = Instant::now();
            let answer = ask(server.port, "POST /login", &[FORM], &format!("name={name}&password={long}"));
            *shortest = asked.elapsed().min(*shortest);
            answers.push((answer.status, answer.body));
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers[0].0, 401);
    println!("it takes {times:?}");
    // Comparing takes hundreds of milliseconds where nothing is optimised; neither name costs that.
    assert!(times.iter().all(|time| *time < Duration::from_millis(100)), "{times:?}");
}

#[test]
fn a_password_that_is_changed_while_it_is_compared_lets_nobody_in() {
    let (job, database) = past("");
    add_user(&job, "nora", "nurse");
    let server = Server::start(&job);
    let (cookie, _) = log_in(server.port, "nora");
    // As if the change had come between the look-up and the session: after the one, before the other.
    database
        .connect()
        .query_drop("UPDATE users SET changed_at = (SELECT begun_at FROM sessions LIMIT 1) + INTERVAL 1 MICROSECOND")
        .unwrap();
    wait_until("the session is worth nothing", || get(server.port, "/", &[("Cookie", &cookie)]).status == 303);
    let looked_up: String =
        database.rows("SELECT MAX(at) > MAX(begun_at) FROM audit, sessions WHERE action = 'log in'").remove(0);
    assert_eq!(looked_up, "1", "a session begins before its password is looked up, not when it was found to be right");
}

#[test]
fn users_log_in_and_out_and_each_may_do_what_the_role_allows() {
    let ward = Ward::open(&[("P1", 134.0)]);
    wait_until("it fires", || ward.database.so_far("SELECT state FROM alerts") == "firing");
    let id = ward.database.so_far("SELECT id FROM alerts");
    let port = ward.port;
    for (name, role) in [("vera", "viewer"), ("nora", "nurse"), ("ada", "admin")] {
        add_user(&ward.job, name, role);
    }
    // That there were none is remembered for a while.
    wait_until("one must log in", || get(port, "/", &[]).status == 303);
    let nobody = get(port, "/patients/P1?last=6h", &[]);
    assert_eq!(nobody.headers["location"], "/login?next=%2Fpatients%2FP1%3Flast%3D6h");
    for path in ["/api/v1/patients", "/fhir/Observation?patient=P1", "/metrics", "/events"] {
        let answer = get(port, path, &[]);
        assert_eq!((answer.status, answer.headers["www-authenticate"].as_str()), (401, "Bearer"), "{path}");
    }
    for (path, status) in [("/healthz", 200), ("/readyz", 200), ("/login", 200), ("/assets/wardwatch.js", 200)] {
        assert_eq!(get(port, path, &[]).status, status, "{path}");
    }
    let wrong = ask(port, "POST /login", &[FORM], "name=nora&password=wrong");
    assert!(wrong.status == 401 && wrong.body.contains("the name or the password is wrong"), "{wrong:?}");
    let cookie = ask(port, "POST /login", &[FORM], "name=nora&password=correct+horse+battery&next=//evil.example");
    assert_eq!(cookie.headers["location"], "/", "the way on leads nowhere else");
    let cookie = &cookie.headers["set-cookie"];
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && !cookie.contains("Secure"), "{cookie}");

    let (viewer, viewer_seal) = log_in(port, "vera");
    let page = get(port, "/", &[("Cookie", &viewer)]).body;
    assert!(page.contains("2A") && !page.contains("Meyer") && !page.contains(">Ack<"), "{page}");
    assert!(!get(port, "/api/v1/patients", &[("Cookie", &viewer)]).body.contains("Meyer"));
    let acknowledge = format!("POST /api/v1/alerts/{id}/acknowledgement");
    let sealed = |cookie: &str, seal: &str| [("Cookie", cookie.to_owned()), ("X-CSRF-Token", seal.to_owned())];
    let post = |request: &str, pair: &[(&str, String); 2], body: &str| {
        let [(_, cookie), (_, seal)] = pair;
        ask(port, request, &[("Cookie", cookie), ("X-CSRF-Token", seal), JSON], body)
    };
    let viewer_pair = sealed(&viewer, &viewer_seal);
    assert_eq!(post(&acknowledge, &viewer_pair, "{}").status, 403);

    let (nurse, nurse_seal) = log_in(port, "nora");
    let nurse_pair = sealed(&nurse, &nurse_seal);
    assert!(get(port, "/", &[("Cookie", &nurse)]).body.contains("Meyer, A."));
    assert_eq!(post(&acknowledge, &nurse_pair, "{\"note\":\"seen\"}").status, 200);
    assert_eq!(post(&acknowledge, &nurse_pair, "{}").status, 409, "a second one is refused");
    let limit = r#"{"vital":"heart_rate","high":140,"reason":"training"}"#;
    assert_eq!(post("POST /api/v1/patients/P1/limits", &nurse_pair, limit).status, 403);

    let (admin, admin_seal) = log_in(port, "ada");
    let set = post("POST /api/v1/patients/P1/limits", &sealed(&admin, &admin_seal), limit);
    // The job of this test has no table of limits, and says so.
    assert!(set.status == 400 && set.body.contains("no table of limits"), "{set:?}");

    let (is_done, said) = users(&ward.job, "remove", &["vera"], "");
    assert!(is_done, "{said}");
    wait_until("a removed user is out", || get(port, "/", &[("Cookie", &viewer)]).status == 303);
    assert_eq!(ask(port, "POST /logout", &[("Cookie", &nurse), FORM], &format!("csrf={nurse_seal}")).status, 303);
    assert_eq!(get(port, "/", &[("Cookie", &nurse)]).status, 303, "the cookie is worth nothing any more");

    let audit = ward.database.rows("SELECT who, role, action, subject FROM audit ORDER BY at");
    for line in ["nora|nurse|acknowledge|P1", "nora||fail to log in|", "vera|viewer|log in|", "nora|nurse|log out|"] {
        assert!(audit.iter().any(|found| found == line), "{line} in {audit:#?}");
    }
    let (_, shown) = users(&ward.job, "audit", &[], "");
    assert!(shown.contains("acknowledge") && shown.contains("127.0.0.1"), "{shown}");
    let kept = ward.database.rows("SELECT password FROM users");
    assert!(kept.iter().all(|hash| hash.starts_with("$argon2id$")) && !kept.is_empty(), "{kept:?}");
    let sessions = ward.database.rows("SELECT id FROM sessions");
    assert!(!sessions.iter().any(|id| admin.contains(id)), "what the store has is of no use as a cookie");
}

#[test]
fn forms_of_other_pages_and_fixed_sessions_are_of_no_use() {
    let (job, _database) = past("");
    add_user(&job, "nora", "nurse");
    let server = Server::start(&job);
    let port = server.port;
    // An attacker's cookie is not the one that a log-in gives.
    let fixed = "wardwatch=0123456789";
    let body = "name=nora&password=correct+horse+battery";
    let answer = ask(port, "POST /login", &[FORM, ("Cookie", fixed)], body);
    assert!(answer.status == 303 && !answer.headers["set-cookie"].contains("0123456789"), "{answer:?}");
    assert_eq!(get(port, "/", &[("Cookie", fixed)]).status, 303);
    assert_eq!(ask(port, "POST /login", &[FORM, ("Origin", "http://evil.example")], body).status, 403);

    let (cookie, seal) = log_in(port, "nora");
    let quiet = |headers: &[(&str, &str)], csrf: &str| {
        let headers = [&[FORM, ("Cookie", cookie.as_str())], headers].concat();
        ask(port, "POST /alerts/quiet", &headers, &format!("csrf={csrf}&patient=P1&length=1h&reason=")).status
    };
    assert_eq!(quiet(&[], ""), 403);
    assert_eq!(quiet(&[], "0123"), 403);
    assert_eq!(quiet(&[("Origin", "http://evil.example")], &seal), 403);
    assert_eq!(quiet(&[("Sec-Fetch-Site", "cross-site")], &seal), 403);
    // With the seal it gets as far as what it asks for.
    assert_eq!(quiet(&[], &seal), 400, "a silence of an hour has a reason");
    let (other, _) = log_in(port, "nora");
    let headers = [FORM, ("Cookie", other.as_str())];
    let stolen = ask(port, "POST /alerts/quiet", &headers, &format!("csrf={seal}&patient=P1&length=1m"));
    assert_eq!(stolen.status, 403, "a seal is of one session");
}

#[test]
fn guessing_passwords_takes_longer_and_longer() {
    let (job, _database) = past("");
    add_user(&job, "nora", "nurse");
    let server = Server::start(&job);
    let guess = |name: &str| ask(server.port, "POST /login", &[FORM], &format!("name={name}&password=guess"));
    for _ in 0..5 {
        assert_eq!(guess("nora").status, 401);
    }
    let sixth = guess("nora");
    assert_eq!(sixth.status, 429, "{sixth:?}");
    assert!(sixth.headers["retry-after"].parse::<u64>().unwrap() >= 1);
    let right = "name=nora&password=correct+horse+battery";
    assert_eq!(ask(server.port, "POST /login", &[FORM], right).status, 429, "the right one has to wait, too");
    assert_eq!(guess("nobody").status, 401, "a name that is not there is answered alike");
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(ask(server.port, "POST /login", &[FORM], right).status, 303);
    let (is_done, said) = users(&job, "add", &["x", "--role", "nurse"], "short");
    assert!(!is_done && said.contains("a password has 10 to 200 characters; this has 5"), "{said}");
    let (is_done, said) = users(&job, "add", &["x", "--role", "nrse"], PASSWORD);
    assert!(!is_done && said.contains("unknown role \"nrse\"; did you mean \"nurse\"?"), "{said}");
    let (is_done, said) = users(&job, "remove", &["nroa"], "");
    assert!(!is_done && said.contains("unknown user \"nroa\"; did you mean \"nora\"?"), "{said}");
}

#[test]
fn tokens_let_programs_in_until_they_are_revoked_and_answers_have_tags() {
    let (job, database) = past("");
    add_user(&job, "nora", "nurse");
    let (_, said) = users(&job, "token", &["prometheus"], "");
    let token = said.lines().find(|line| line.len() == 64).unwrap_or_else(|| panic!("{said}")).to_owned();
    assert!(!database.rows("SELECT id FROM api_tokens").contains(&token));
    let server = Server::start(&job);
    let bearer = format!("Bearer {token}");
    let with = [("Authorization", bearer.as_str())];
    assert!(get(server.port, "/metrics", &with).body.contains("wardwatch_records_total 2"));
    wait_until("the patient is read", || get(server.port, "/api/v1/patients/P1", &with).status == 200);
    let answer = get(server.port, "/api/v1/batches?limit=1", &with);
    assert_eq!(answer.status, 200);
    let tag = answer.headers["etag"].clone();
    let again = get(server.port, "/api/v1/batches?limit=1", &[with[0], ("If-None-Match", &tag)]);
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    let changed = ask(server.port, "POST /api/v1/silences", &[with[0], JSON], r#"{"patient":"P1","seconds":60}"#);
    assert_eq!(changed.status, 403, "a viewer's token changes nothing");
    assert_eq!(get(server.port, "/metrics", &[("Authorization", "Bearer 0000")]).status, 401);
    let (is_done, said) = users(&job, "revoke-token", &["prometheus"], "");
    assert!(is_done, "{said}");
    wait_until("it holds no more", || get(server.port, "/metrics", &with).status == 401);
}

#[test]
fn vitals_come_in_pages_and_as_fhir() {
    let (job, topic, _database) = TestJob::on_mysql();
    let samples: Vec<(u32, f64)> = (0..25).map(|second| (second, 80.0)).collect();
    topic.put_samples("P1", &samples);
    job.run_once();
    let server = Server::start(&job);
    let port = server.port;
    wait_until("the patient is read", || get(port, "/api/v1/patients/P1", &[]).status == 200);
    let json = |path: &str| -> serde_json::Value {
        let answer = get(port, path, &[]);
        assert_eq!(answer.status, 200, "{answer:?}");
        serde_json::from_str(&answer.body).unwrap()
    };
    let (mut after, mut times) = (String::new(), Vec::new());
    for page in 0..3 {
        let found = json(&format!(
            "/api/v1/patients/P1/vitals?from=2026-01-01T00:00:00Z&until=2026-01-01T01:00:00Z&limit=10{after}"
        ));
        times.extend(found["items"].as_array().unwrap().iter().map(|item| item["at"].as_str().unwrap().to_owned()));
        assert_eq!(found["next"].is_string(), page < 2, "{found}");
        after = found["next"].as_str().map(|next| format!("&after={next}")).unwrap_or_default();
    }
    let expected: Vec<String> = (0..25).map(|second| format!("2026-01-01T00:00:{second:02}Z")).collect();
    assert_eq!(times, expected);

    let (mut url, mut rates) = ("Observation?patient=P1&code=8867-4&date=2026-01-01&_count=10".to_owned(), Vec::new());
    loop {
        let bundle = json(&format!("/fhir/{url}"));
        assert_eq!((bundle["resourceType"].as_str(), bundle["type"].as_str()), (Some("Bundle"), Some("searchset")));
        for entry in bundle["entry"].as_array().unwrap() {
            let observation = &entry["resource"];
            assert_eq!(observation["code"]["coding"][0]["system"], "http://loinc.org");
            rates.push(observation["valueQuantity"]["value"].as_f64().unwrap());
        }
        let links = bundle["link"].as_array().unwrap();
        match links.iter().find(|link| link["relation"] == "next") {
            Some(next) => url = next["url"].as_str().unwrap().to_owned(),
            None => break,
        }
    }
    assert_eq!(rates, [80.0; 25]);
    for (path, status, expected) in [
        ("/fhir/Observation?patient=P9", 404, "OperationOutcome"),
        ("/fhir/Observation?pateint=P1", 400, "unknown parameter"),
        ("/api/v1/patients/P1/vitals?limit=0", 400, "limit is 1 to 1000, not 0"),
        ("/api/v1/patients/P1/vitals?from=yesterday", 400, "is no time"),
        ("/api/v1/patients/P9", 404, "there is no such patient"),
        ("/api/v1/alerts?after=x", 400, "after is what an answer said as next"),
        ("/api/v1/nothing", 404, "there is no such page"),
    ] {
        let answer = get(port, path, &[]);
        assert!(answer.status == status && answer.body.contains(expected), "{path}: {answer:?}");
    }
}

#[test]
fn hostile_requests_get_nothing() {
    let (job, database) = past("[reports]\ndir = \"out\"");
    let server = Server::start(&job);
    let port = server.port;
    // A report is shown, listed, and runs no script, whatever is in it.
    let trend = job.folder.path().join("out/trend");
    std::fs::create_dir_all(&trend).unwrap();
    std::fs::write(trend.join("2026-01-01T000000Z.html"), "<script>alert(1)</script>").unwrap();
    assert!(get(port, "/reports", &[]).body.contains("href=\"/reports/trend/2026-01-01T000000Z.html\""));
    let report = get(port, "/reports/trend/2026-01-01T000000Z.html", &[]);
    assert!(report.status == 200 && report.body.contains("alert(1)"), "{report:?}");
    let policy = &report.headers["content-security-policy"];
    assert!(
        policy.starts_with("default-src 'none'") && !policy.contains("script-src") && policy.contains("sandbox"),
        "{policy}"
    );
    assert_eq!(
        database.rows("SELECT subject FROM audit WHERE subject LIKE 'report %'"),
        ["report trend/2026-01-01T000000Z.html"]
    );
    for path in [
        "/reports/../../job.toml",
        "/reports/..%2F..%2Fjob.toml",
        "/reports/trend/%2e%2e/%2e%2e/%2e%2e/job.toml",
        "/reports/%2Fetc%2Fpasswd",
        "/reports//etc/passwd",
        "/assets/../Cargo.toml",
    ] {
        let answer = get(port, path, &[]);
        assert!(
            answer.status >= 400 && !answer.body.contains("[source]") && !answer.body.contains("root:"),
            "{path}: {answer:?}"
        );
    }
    let injections =
        ["%27%20OR%20%271%27=%271", "%22%3B%20DROP%20TABLE%20alerts%3B%20--", "%60", "%5C", "%00", "%F0%9F%92%89"];
    for injection in injections {
        for path in [
            format!("/patients/{injection}"),
            format!("/patients/{injection}/chart"),
            format!(
                "/alerts?patient={injection}&rule={injection}&severity={injection}&last={injection}&before={injection}"
            ),
            format!("/alerts/{injection}"),
            format!("/?search={injection}&ward={injection}&severity={injection}&order={injection}"),
            format!("/api/v1/patients/{injection}/vitals"),
            format!("/api/v1/patients?ward={injection}&after={injection}"),
            format!("/api/v1/alerts?patient={injection}&rule={injection}"),
            format!("/fhir/Observation?patient={injection}&code={injection}"),
        ] {
            let answer = get(port, &path, &[]);
            assert!(answer.status < 500, "{path}: {answer:?}");
            assert!(
                !answer.body.contains("\"id\":\"P1\"") && !answer.body.contains("\"items\":[{"),
                "{path}: {answer:?}"
            );
        }
    }
    assert!(database.connect().query_drop("SELECT 1 FROM alerts").is_ok());
    let long = "x".repeat(100_000);
    assert!(get(port, &format!("/?search={long}"), &[]).status >= 400);
    let answer = ask(port, "POST /alerts/quiet", &[FORM], &format!("csrf={long}"));
    assert_eq!(answer.status, 413, "{answer:?}");
    let answer = get(port, "/", &[]);
    let policy = &answer.headers["content-security-policy"];
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("cache-control", "no-store"),
        ("referrer-policy", "same-origin"),
    ] {
        assert_eq!(answer.headers[name], value);
    }
}

/// Allows this process as many sockets as a test opens.
fn allow_files(count: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limits = getrlimit(Resource::Nofile);
    assert!(limits.maximum.is_none_or(|most| most >= count), "the system allows {:?} files only", limits.maximum);
    setrlimit(Resource::Nofile, Rlimit { current: Some(count), maximum: limits.maximum }).unwrap();
}

#[test]
fn ten_thousand_idle_connections_are_refused_politely_and_slow_clients_are_left() {
    let (job, _database) = past("max_connections = 500");
    allow_files(11_000);
    let server = Server::start(&job);
    let port = server.port;
    let mut idle = Vec::new();
    let mut told = 0;
    for _ in 0..10_000 {
        // Where many are hung up on at once, the system may refuse one.
        let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) else { continue };
        idle.push(stream);
    }
    for stream in &mut idle {
        stream.set_nonblocking(true).unwrap();
        let mut answer = [0; 200];
        if let Ok(count) = stream.read(&mut answer)
            && String::from_utf8_lossy(&answer[..count])
                .starts_with("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5")
        {
            told += 1;
        }
    }
    println!("{} connections, {told} were told to come again", idle.len());
    assert!(told >= 100, "{told} were told");
    // Those that were let in and say nothing are let go, and there is room again, though nobody has closed anything.
    let waiting = Instant::now();
    wait_until("there is room again", || {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let _ = stream.write_all(
            format!("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n").as_bytes(),
        );
        let mut answer = String::new();
        stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200")
    });
    println!("room again after {:?}", waiting.elapsed());
    drop(idle);

    // A client that sends a byte now and then is not waited for either.
    let mut slow = TcpStream::connect(("127.0.0.1", port)).unwrap();
    slow.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n").unwrap();
    wait_until("the slow client is left", || {
        let _ = slow.write_all(b"X");
        let mut byte = [0];
        match slow.read(&mut byte) {
            Ok(0) => true,
            Ok(_) => true,
            Err(error) => !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
        }
    });
}

#[test]
fn by_tls_cookies_are_for_tls_only() {
    let (job, _database) = past("certificate = \"cert.pem\"\nkey = \"key.pem\"");
    let folder = job.folder.path();
    let missing = job.command("serve").args(["--listen", "127.0.0.1:0"]).output().unwrap();
    assert!(
        missing.status.code() == Some(1) && told(&missing).contains("cert.pem\" cannot be used for TLS"),
        "{}",
        told(&missing)
    );
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout"])
        .arg(folder.join("key.pem"))
        .arg("-out")
        .arg(folder.join("cert.pem"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", told(&made));
    add_user(&job, "nora", "nurse");
    let server = Server::start(&job);
    let curl = |more: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-i", "--cacert"]).arg(folder.join("cert.pem")).args(more);
        String::from_utf8(curl.output().unwrap().stdout).unwrap()
    };
    let address = format!("https://127.0.0.1:{}", server.port);
    let answer = curl(&[&format!("{address}/login"), "-d", "name=nora&password=correct horse battery"]);
    assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
    assert!(answer.contains("__Host-wardwatch=") && answer.contains("Secure"), "{answer}");
    assert!(answer.contains("strict-transport-security: max-age="), "{answer}");
    let plain = ask(server.port, "GET /login", &[], "");
    assert_ne!(plain.status, 200, "there is nothing without TLS");
}

#[test]
fn schemathesis_finds_no_fault_in_the_api() {
    let Ok(packages) = std::env::var("WARDWATCH_SCHEMATHESIS") else {
        println!("skipped: Schemathesis is not there");
        return;
    };
    let ward = Ward::open(&[("P1", 134.0), ("P2", 75.0)]);
    wait_until("it fires", || ward.database.so_far("SELECT state FROM alerts") == "firing");
    add_user(&ward.job, "nora", "nurse");
    let (_, said) = users(&ward.job, "token", &["tester", "--role", "admin"], "");
    let token = said.lines().find(|line| line.len() == 64).unwrap().to_owned();
    wait_until("one must log in", || get(ward.port, "/api/v1/patients", &[]).status == 401);
    let seed = crate::fixtures::seed();
    let output = Command::new("python3")
        .args(["-m", "schemathesis.cli", "run", &ward.at("/api/v1/openapi.json")])
        .args(["--header", &format!("Authorization: Bearer {token}"), "--checks", "all"])
        // What a schema cannot say, such as that a rule must be there, is refused with a reason.
        .args(["--exclude-checks", "positive_data_acceptance"])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "25", "--continue-on-failure", "--no-color"])
        .args(["--seed", &seed.to_string()])
        .env("PYTHONPATH", packages)
        .current_dir(ward.job.folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", told(&output));
    let said = told(&output);
    assert!(said.contains("Tested: 15"), "{said}");
}

#[test]
fn behind_a_proxy_cookies_are_for_tls_and_the_proxy_says_who_asks() {
    let (job, database) = past("behind_proxy = true");
    add_user(&job, "nora", "nurse");
    let server = Server::start(&job);
    let headers = [FORM, ("X-Forwarded-For", "10.9.8.7, 192.0.2.5")];
    let answer = ask(server.port, "POST /login", &headers, "name=nora&password=correct+horse+battery");
    assert!(answer.status == 303 && answer.headers["set-cookie"].contains("__Host-wardwatch="), "{answer:?}");
    assert!(answer.headers["set-cookie"].contains("Secure"), "{answer:?}");
    // What the client itself put there is not believed.
    assert_eq!(database.rows("SELECT address FROM audit WHERE action = 'log in'"), ["192.0.2.5"]);
}
