//! Results in the form that continuous integration reads: JUnit's XML.

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use super::run::Report;

/// A suite per file, a case per test, with what went wrong.
///
/// # Errors
/// None that is known: names and messages that XML cannot hold are cleaned.
pub fn junit(job: &str, report: &Report) -> Result<String, quick_junit::SerializeError> {
    let mut whole = quick_junit::Report::new(job);
    for results in report.results.chunk_by(|a, b| a.file == b.file) {
        let mut suite = TestSuite::new(results[0].file.display().to_string());
        for result in results {
            let status = if result.failures.is_empty() {
                TestCaseStatus::success()
            } else {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                let lines = result
                    .failures
                    .iter()
                    .map(|failure| format!("line {}, {}: {}", failure.line, failure.mode, failure.message));
                status.set_message(format!("{}:{}", result.file.display(), result.line));
                status.set_description(lines.collect::<String>());
                status
            };
            let mut case = TestCase::new(result.name.clone(), status);
            case.set_classname(result.queries.join(", "));
            case.set_time(result.took);
            suite.add_test_case(case);
        }
        whole.add_test_suite(suite);
    }
    whole.to_string()
}
