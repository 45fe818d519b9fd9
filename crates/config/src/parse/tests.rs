//! What a job file may say, and how what is wrong in it is told.

use super::*;

const SMALLEST: &str = r#"
[source]
brokers = "localhost:9092"
topic = "vitals"
key = "patient_id"
event_time = "event_time"

[source.columns]
patient_id = { type = "text" }
event_time = { type = "time", from = ["event_time", "timestamp"] }
heart_rate = { type = "float", from = "vitals.hr", unit = "/min", plausible = [0, 300] }

[store]
url = "${URL:-sqlite://test.db}"

[sql]
dir = "."
"#;

fn read(text: &str) -> Result<Job, Vec<String>> {
    parse(Path::new("job.toml"), text, &|_| None).map_err(|errors| errors.0.iter().map(ToString::to_string).collect())
}

fn check(from: &str, to: &str, expected: &str) {
    assert!(SMALLEST.contains(from), "{from}");
    let errors = read(&SMALLEST.replacen(from, to, 1)).expect_err("refused");
    assert!(errors.iter().any(|error| error.contains(expected)), "{errors:#?}");
}

#[test]
fn the_smallest_job_has_defaults_for_the_rest() {
    let job = read(SMALLEST).expect("valid");
    assert_eq!(job.name, "job");
    assert_eq!(job.source.group, "job");
    assert_eq!(job.trigger.every, std::time::Duration::from_secs(1));
    assert_eq!(job.store, StoreUrl::Sqlite("test.db".into()));
    let names: Vec<_> = job.source.columns.all().iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["patient_id", "event_time", "heart_rate"]);
    assert!(job.source.columns.key().required);
}

#[test]
fn what_is_below_the_plausible_range_is_doubtful_down_to_zero_unless_the_job_says_otherwise() {
    let heart_rate = |plausible: &str| {
        let job = read(&SMALLEST.replacen("plausible = [0, 300]", plausible, 1)).expect("valid");
        job.source.columns.get("heart_rate").expect("a column").clone()
    };
    for (plausible, name, doubtful, not) in [
        ("plausible = [10, 300]", Some("heart_rate_doubtful"), vec![0.0, 9.9], vec![-0.1, 10.0, 301.0]),
        ("plausible = [0, 300]", None, vec![], vec![-1.0, 0.0]),
        ("plausible = [10, 300], doubtful = []", None, vec![], vec![0.0, 9.9]),
        (
            "plausible = [10, 300], doubtful = [5, 400]",
            Some("heart_rate_doubtful"),
            vec![5.0, 9.9, 301.0, 400.0],
            vec![4.9, 10.0, 300.0, 401.0],
        ),
    ] {
        let column = heart_rate(plausible);
        assert_eq!(column.doubtful_name().as_deref(), name, "{plausible}");
        assert!(doubtful.iter().all(|value| column.is_doubtful(*value)), "{plausible}");
        assert!(!not.iter().any(|value| column.is_doubtful(*value)), "{plausible}");
    }
}

#[test]
fn records_that_name_a_device_have_the_key_read_from_there_and_a_clock_for_each_device() {
    let device = SMALLEST.replacen("key = ", "attach = \"device\"\nkey = ", 1).replacen(
        "[store]",
        "device = { type = \"text\", from = [\"device_id\", \"bed\"] }\n[store]",
        1,
    );
    let source = read(&device).expect("valid").source;
    let paths: Vec<String> = source.columns.key().from.iter().map(ToString::to_string).collect();
    assert_eq!(paths, ["device_id", "bed"]);
    assert_eq!((source.attach.as_deref(), source.device.as_deref()), (Some("device"), Some("device")));
    // The key may itself be the device.
    let key = read(&SMALLEST.replacen("key = ", "attach = \"patient_id\"\nkey = ", 1)).expect("valid").source;
    assert_eq!((key.attach.as_deref(), key.device), (Some("patient_id"), None));
    check("key = ", "attach = \"devise\"\nkey = ", "unknown column \"devise\"");
    check("key = ", "attach = \"heart_rate\"\nkey = ", "column \"heart_rate\" must be of type \"text\" here");
}

#[test]
fn patients_are_forgotten_after_a_day_another_time_or_never() {
    let after = |line: &str| read(&SMALLEST.replacen("key = ", &format!("{line}\nkey = "), 1)).expect("valid").source;
    let hours = |hours: u64| Some(std::time::Duration::from_secs(hours * 3_600));
    assert_eq!(after("").forget_after, hours(24));
    assert_eq!(after("forget_after = \"2h\"").forget_after, hours(2));
    assert_eq!(after("forget_after = \"0s\"").forget_after, None);
}

#[test]
fn a_wrong_value_is_named_with_its_place_and_the_nearest_valid_one() {
    check("topic = ", "topc = ", "job.toml:4:1: unknown key \"topc\"");
    check("topic = ", "topc = ", "did you mean \"topic\"?");
    check("key = \"patient_id\"", "key = \"patientid\"", "5:7: unknown column \"patientid\"; did you mean");
    check("type = \"float\"", "type = \"flaot\"", "unknown type \"flaot\"; did you mean \"float\"?");
    check("[0, 300]", "[300, 0]", "is no range");
    check("[0, 300]", "[0, 300], doubtful = [1, 2]", "every value in [1, 2] is plausible");
    check("[0, 300]", "[0, 300], doubtful = [0]", "write [low, high], or [] where no value is doubtful");
    check(", plausible = [0, 300]", ", doubtful = [0, 10]", "only a column with a plausible range");
    check(
        "[0, 300] }",
        "[10, 300] }\nheart_rate_doubtful = { type = \"float\" }",
        "12:1: \"heart_rate_doubtful\" is the column with the doubtful values of \"heart_rate\"",
    );
    let words = |map: &str| format!("[0, 300] }}\nmood = {{ type = \"text\", map = {map} }}");
    check("[0, 300] }", "[0, 300], map = { a = \"b\" } }", "only one of type \"text\" may");
    check("[0, 300] }", &words("{ Alert = \"\" }"), "a word and what it means must not be empty");
    check("[0, 300] }", &words("{ Alert = \"A\", alert = \"B\" }"), "\"alert\" means \"A\" already");
    check("[0, 300] }", &words("{ Alert = \"A\", A = \"B\" }"), "\"A\" means \"A\" already");
    check("\"vitals.hr\"", "\"vitals..hr\"", "is not a path");
    check("\"vitals.hr\"", "\"timestamp\"", "which column \"event_time\" reads already");
    check("${URL:-sqlite://test.db}", "${SECRET}", "14:7: the environment variable \"SECRET\" is not set");
    check("${URL:-sqlite://test.db}", "postgres://secret@h/d", "\"postgres\" is no store");
    check("dir = \".\"", "dir = \"absent\"", "there is no folder \"absent\"");
    check("[store]", "[store", "job.toml:13:");
    check(
        "[sql]",
        "[features]\nx = { of = \"hart_rate\", kind = \"delta\", over = \"1m\" }\n[sql]",
        "did you mean \"heart_rate\"?",
    );
    check("[sql]", "[features]\nx = { of = \"patient_id\", kind = \"delta\", over = \"1m\" }\n[sql]", "is no number");
    check(
        "[sql]",
        "[features]\nx = { of = \"heart_rate\", kind = \"slop\", over = \"1m\" }\n[sql]",
        "did you mean \"slope\"?",
    );
    check("[sql]", "[features]\nx = { of = \"heart_rate\", kind = \"slope\" }\n[sql]", "17:33: \"slope\" needs over");
    check(
        "[sql]",
        "[features]\nx = { of = \"heart_rate\", kind = \"ewm\", over = \"1m\" }\n[sql]",
        "needs a half_life",
    );
    check(
        "[sql]",
        "[features]\nheart_rate = { of = \"heart_rate\", kind = \"slope\", over = \"1m\" }\n[sql]",
        "is a column already",
    );
}

#[test]
fn all_faults_are_told_at_once() {
    let text = SMALLEST.replace("\"float\"", "\"flaot\"").replace("[sql]", "[trigger]\nevery = \"often\"\n[sql]");
    assert_eq!(read(&text).expect_err("refused").len(), 2);
}

#[test]
fn a_missing_file_is_told_with_its_neighbour() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("vitals.toml"), "").expect("written");
    let error = load(&folder.path().join("vital.toml")).expect_err("refused");
    assert!(error.to_string().contains("did you mean"), "{error}");
}

fn refuse(more: &str, expected: &str) {
    let errors = read(&format!("{SMALLEST}{more}")).expect_err("refused");
    assert!(errors.iter().any(|error| error.contains(expected)), "{errors:#?}");
}

#[test]
fn an_outlet_that_is_wrong_is_named_with_what_would_be_right() {
    refuse("[[notify]]\nname = \"x\"", "job.toml:19:8: an outlet needs a kind: webhook, alertmanager");
    refuse("[[notify]]\nkind = \"webhok\"", "unknown kind of outlet \"webhok\"; did you mean \"webhook\"?");
    refuse("[[notify]]\nkind = \"webhook\"", "19:8: an outlet of kind \"webhook\" needs \"url\"");
    refuse(
        "[[notify]]\nkind = \"log\"\nurl = \"http://x/\"",
        "20:7: an outlet of kind \"log\" has no \"url\"; it has nothing more",
    );
    refuse("[[notify]]\nkind = \"webhook\"\nurl = \"example.org\"", "this is no URL");
    refuse("[[notify]]\nkind = \"log\"\n[[notify]]\nkind = \"log\"", "another outlet bears the name \"log\"");
    let mail = "[[notify]]\nkind = \"email\"\nurl = \"smtp://h\"\nfrom = \"a@b.c\"\nto = [\"nobody\"]";
    refuse(mail, "\"nobody\" is no mail address");
    refuse(
        "[[notify]]\nkind = \"log\"\ntemplate = \"{{ pateint }}\"",
        "unknown name in the template \"pateint\"; did you mean \"patient\"?",
    );
    refuse("[[notify]]\nkind = \"log\"\ntemplate = \"{{ patient\"", "the template is wrong");
    refuse("[[notify]]\nkind = \"log\"\nseverity = \"hihg\"", "unknown severity \"hihg\"; did you mean \"high\"?");
    let button = "[[notify]]\nkind = \"ntfy\"\nurl = \"https://h\"\ntopic = \"a\"\nacknowledge = \"b\"";
    refuse(button, "a button needs a secret that signs it");
    refuse("[[notify]]\nkind = \"webhook\"\nurl = \"http://x/\"\nsecret = \"${ABSENT}\"", "\"ABSENT\" is not set");
}

#[test]
fn no_table_of_the_job_file_is_one_that_tells_who_may_see_the_page() {
    for table in wardwatch_model::terms::PRIVATE_TABLES {
        let why = format!("table \"{table}\" is not for SQL: it tells who may see the page");
        refuse(&format!("[reports]\ntable = \"{table}\""), &format!("job.toml:19:9: {why}"));
        refuse(&format!("[dashboard]\nscore = \"{table}\""), &format!("job.toml:19:9: {why}"));
        refuse(&format!("[alerts]\npatients = \"{table}\""), &format!("job.toml:19:12: {why}"));
        refuse(&format!("[alerts]\nlimits = \"{table}\""), &format!("job.toml:19:10: {why}"));
        let named = SMALLEST.replacen("[source]\n", &format!("[source]\ntable = \"{table}\"\n"), 1);
        assert!(read(&named).expect_err("refused").iter().any(|error| error.contains(&why)), "{table}");
    }
    refuse("[reports]\ntable = \"Users\"", "is not for SQL");
}

#[test]
fn the_page_has_an_address_and_a_certificate_with_its_key_or_neither() {
    refuse("[dashboard]\nlisten = \"8080\"", "is no address with a port");
    refuse("[dashboard]\ncertificate = \"c.pem\"", "a certificate needs its key");
    refuse("[dashboard]\nkey = \"k.pem\"", "a key needs its certificate");
    let job = read(&format!("{SMALLEST}[dashboard]\nlisten = \"127.0.0.1:0\"")).expect("valid");
    assert_eq!(job.dashboard.listen.map(|listen| listen.port()), Some(0));
    assert_eq!(job.dashboard.privacy, crate::Privacy::Plain);
    let pair = "[dashboard]\ncertificate = \"c.pem\"\nkey = \"/k.pem\"";
    let job = read(&format!("{SMALLEST}{pair}")).expect("valid");
    let crate::Privacy::Tls { key, .. } = job.dashboard.privacy else { panic!("no TLS") };
    assert_eq!(key, std::path::Path::new("/k.pem"));
}

#[test]
fn a_step_of_the_escalation_names_outlets_that_there_are() {
    let step = "[[alerts.escalation]]\nafter = \"2m\"\nto = [\"doctr\"]\n";
    refuse(step, "there is no outlet \"doctr\", and no other; a [[notify]] makes one");
    let outlets = "[[notify]]\nname = \"doctor\"\nkind = \"log\"\n[[notify]]\nname = \"alive\"\nkind = \"heartbeat\"\nurl = \"http://x/\"\n";
    refuse(&format!("{outlets}{step}"), "unknown outlet \"doctr\"; did you mean \"doctor\"?");
    refuse(&format!("{outlets}{}", step.replace("doctr", "alive")), "unknown outlet \"alive\"");
    refuse(&format!("{outlets}{}", step.replace("\"doctr\"", "")), "must tell somebody");
    let job = read(&format!("{SMALLEST}{outlets}{}", step.replace("doctr", "doctor"))).expect("valid");
    assert_eq!(job.alerts.escalation[0].after, std::time::Duration::from_secs(120));
    assert_eq!(job.alerts.longest_pause, std::time::Duration::from_secs(120));
}

#[test]
fn topics_that_are_written_wrongly_are_named_with_their_line() {
    let refuse = |topics: &str, expected: &str| {
        let told = read(&SMALLEST.replace("topic = \"vitals\"", topics)).expect_err(topics).join("\n");
        assert!(told.contains(expected), "{told}");
    };
    let line = SMALLEST.lines().position(|line| line.starts_with("topic")).expect("a topic") + 1;
    refuse("topic = [\"a\", \"b\"]", &format!("job.toml:{line}:9: several topics are topics = ["));
    refuse("topics = []", &format!("job.toml:{line}:10: [source] names no topic"));
}

#[test]
fn a_time_zone_is_known_by_its_city_and_no_list_of_all_is_told() {
    for (zone, meant) in
        [("berlin", "did you mean \"Europe/Berlin\"?"), ("Mars", "\"Europe/Berlin\", \"America/New_York\"")]
    {
        let source = format!("[source]\ntime_zone = \"{zone}\"");
        let told = read(&SMALLEST.replacen("[source]", &source, 1)).expect_err(zone).join("\n");
        assert!(told.contains(meant) && told.len() < 300, "{told}");
    }
}

#[test]
fn settings_of_what_values_mean_are_checked() {
    for (column, fault) in [
        (r#"t = { type = "float", unit_in = "°F" }"#, "the column's own unit, which is missing: unit = \"°C\""),
        (r#"t = { type = "float", unit = "°C", unit_in = "mmHg" }"#, "\"mmHg\" cannot be converted to \"°C\""),
        (r#"t = { type = "float", unit = "°C", unit_in = "°G" }"#, "\"°G\" is not a unit that is known"),
        (r#"t = { type = "float", unit = "grad C", unit_from = "u" }"#, "\"grad C\" is not a unit that is known"),
        (r#"t = { type = "float", unit = "mmol/L", unit_in = "mg/dL" }"#, "give the substance's molar_mass"),
        (r#"t = { type = "float", molar_mass = 0 }"#, "0 is no molar mass; glucose has 180.156"),
        (r#"t = { type = "float", split = "/" }"#, "split and part go together"),
        (r#"t = { type = "float", split = "/", part = 0 }"#, "0 is no part; they are counted from 1 to 100"),
        (r#"t = { type = "float", split = "", part = 1 }"#, "a text is split at something"),
        (r#"t = { type = "float", decimal = ";" }"#, "\";\" cannot stand before decimals"),
        (r#"t = { type = "float", extract = "digits" }"#, "\"digits\" cannot be taken out of a text; write \"number\""),
        (r#"t = { type = "float", scale = 0 }"#, "0 is no scale"),
        (r#"t = { type = "text", scale = 2 }"#, "scale is for columns of type \"float\" or \"int\", and \"t\" is none"),
        (
            r#"t = { type = "float", valid_when = { field = "s" } }"#,
            "one of is, is_not, at_least, at_most, exists and matches",
        ),
        (r#"t = { type = "float", valid_when = { field = "s", is = "a", is_not = "b" } }"#, "one of is, is_not"),
        (
            r#"t = { type = "float", valid_when = { feild = "s", is = "a" } }"#,
            "{ field = \"status\", is = [\"final\"] }",
        ),
        (r#"t = { type = "float", valid_when = { field = "s", is = [] } }"#, "nothing is said of what \"s\" may be"),
        (r#"t = { type = "float", valid_when = { field = "s", at_least = nan } }"#, "NaN is no bound"),
        (r#"t = { type = "float", offset = inf }"#, "inf cannot be added"),
        (
            r#"t = { type = "float", unit = "furlongs", unit_in = "furlongs" }"#,
            "\"furlongs\" is not a unit that is known",
        ),
        (r#"t = { type = "time", year_pivot = 30 }"#, "write one as %y"),
        (r#"t = { type = "time", time_format = "%d.%m.%Y %H:%M", year_pivot = 30 }"#, "write one as %y"),
        (r#"t = { type = "time", time_format = "%D %H:%M", year_pivot = 1930 }"#, "write 0 to 100"),
        (r#"t = { type = "time", time_format = "%Y-%m-%d %H:%M:%S %Z" }"#, "%Z of"),
        (r#"t = { type = "float", trust_stamp = "1h" }"#, "trust_stamp is for columns of type \"time\""),
        (r#"t = { type = "time", trust_stamp = "an hour" }"#, "is not a length of time"),
        (r#"t = { type = "time", trust_stamp = 60 }"#, "how far a time may lie from Kafka's stamp, \"1h\""),
        (r#"t = { type = "time", from = "ts", trust_stamp = true }"#, "with trust_stamp = true nothing is read"),
        (r#"t = { type = "float", from = "@keys" }"#, "did you mean \"@key\"?"),
        (r#"t = { type = "float", from = "@header" }"#, "@header.NAME"),
        (
            "t = { type = \"float\", from = \"hr\" }\nu = { type = \"float\", from = \"hr\" }",
            "which column \"t\" reads already",
        ),
        (
            "t = { type = \"float\", from = \"p\", split = \"/\", part = 1 }\nu = { type = \"float\", from = \"p\", split = \"/\", part = 1 }",
            "which column \"t\" reads already",
        ),
    ] {
        let declared = r#"heart_rate = { type = "float", from = "vitals.hr", unit = "/min", plausible = [0, 300] }"#;
        check(declared, column, fault);
    }
}

#[test]
fn a_fault_of_what_a_form_says_of_a_column_is_told_where_the_form_says_it() {
    let forms = "[[source.form]]\nname = \"a\"\nwhen = { field = \"@topic\", is = \"vitals\" }\n[source.form.columns]\nheart_rate = \"a..b\"\n\
                 [[source.form]]\nuse = \"hl7v2-adt\"\n[source.form.columns]\nplace = \"PV1..3\"\n[store]";
    let text = SMALLEST.replacen("[store]", forms, 1);
    let line_of = |part: &str| text[..text.find(part).expect("it is there")].matches('\n').count() + 1;
    let errors = read(&text).expect_err("refused");
    for (at, path) in [("heart_rate = \"a..b\"", "a..b"), ("place = ", "PV1..3")] {
        let expected = format!("job.toml:{}:1: \"{path}\" is not a path", line_of(at));
        assert!(errors.iter().any(|error| error.starts_with(&expected)), "{expected}: {errors:#?}");
    }
}

#[test]
fn a_form_of_a_topic_that_is_not_read_is_refused() {
    let form = "[[source.form]]\nname = \"a\"\nwhen = { field = \"@topic\", is = \"vitels\" }\n[store]";
    check(
        "[store]",
        form,
        "form \"a\" takes nothing: unknown topic of this source \"vitels\"; did you mean \"vitals\"",
    );
}

#[test]
fn an_outlet_does_not_write_to_a_topic_that_the_job_reads() {
    refuse("[[notify]]\nkind = \"kafka\"\ntopic = \"vitals\"", "writes to \"vitals\", which the job reads");
}
