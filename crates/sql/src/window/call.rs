//! `tumble`, `hop` and `session` as SQL functions, and what a call of one means.
//!
//! All windows are spans of UTC, half-open, and tumbling and hopping ones start at multiples of their slide since
//! 1970-01-01. Planning checks the arguments; cutting the plan ([`mod@super::cut`]) gives the calls their meaning.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// A span of event time, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Window {
    /// `[start, start + size)`, one after the other.
    Tumble {
        /// Its length.
        size: i64,
    },
    /// `[start, start + size)`, one every `slide`; `size` is a multiple of `slide`.
    Hop {
        /// From one start to the next.
        slide: i64,
        /// Its length.
        size: i64,
    },
    /// Rows of which each is less than `gap` behind the one before.
    Session {
        /// The silence that ends it.
        gap: i64,
    },
    /// All of time; it never closes. No SQL asks for it: it keeps what is known of each patient last.
    Whole,
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = |micros: i64| humantime::format_duration(Duration::from_micros(micros.unsigned_abs())).to_string();
        match *self {
            Self::Tumble { size } => write!(f, "tumbling windows of {}", length(size)),
            Self::Hop { slide, size } => write!(f, "hopping windows of {}, one every {}", length(size), length(slide)),
            Self::Session { gap } => write!(f, "sessions that end with {} of silence", length(gap)),
            Self::Whole => f.write_str("all of time"),
        }
    }
}

impl Window {
    /// The length of the pieces that a window is put together from.
    pub(super) fn pane(self) -> i64 {
        match self {
            Self::Tumble { size } => size,
            Self::Hop { slide, .. } => slide,
            Self::Session { .. } | Self::Whole => i64::MAX,
        }
    }

    /// From the start of a window to its end, where it has a fixed one.
    pub(super) fn size(self) -> i64 {
        match self {
            Self::Tumble { size } | Self::Hop { size, .. } => size,
            Self::Session { .. } | Self::Whole => i64::MAX,
        }
    }
}

/// The greatest multiple of `width` that is not after `time`.
pub(super) fn floor(time: i64, width: i64) -> i64 {
    time.div_euclid(width).saturating_mul(width)
}

/// The type of every window's start.
pub(super) fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The three functions.
pub(crate) fn functions() -> [ScalarUDF; 3] {
    [Kind::Tumble, Kind::Hop, Kind::Session].map(|kind| ScalarUDF::from(WindowCall::new(kind)))
}

/// The window that `expression` asks for, if it is a call of one of the functions, and its time.
pub(super) fn window_of(expression: &Expr) -> Option<Result<(Window, &Expr)>> {
    let Expr::ScalarFunction(ScalarFunction { func, args }) = expression else {
        return match expression {
            Expr::Alias(alias) => window_of(&alias.expr),
            _ => None,
        };
    };
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == func.name())?;
    let literals: Vec<Option<&ScalarValue>> = args.iter().map(Expr::as_literal).collect();
    Some(kind.window(&literals).and_then(|window| {
        let time = args.first().ok_or_else(|| wrong(kind, "it needs a time"))?;
        Ok((window, time))
    }))
}

/// The name of the window function that stands anywhere in `expression`.
pub(super) fn call_within(expression: &Expr) -> Option<&'static str> {
    use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
    let mut found = None;
    let _ = expression.apply(|part| {
        if let Expr::ScalarFunction(call) = part
            && let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == call.func.name())
        {
            found = Some(kind.name());
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

/// The call that gives the pane of a row: what a group key is for the state.
///
/// For a session it is the row's own time; which session that is, only the rows together tell.
pub(super) fn pane_call(window: Window, time: &Expr) -> Expr {
    let (kind, argument) = match window {
        Window::Tumble { size } => (Kind::Tumble, size),
        Window::Hop { slide, .. } => (Kind::Tumble, slide),
        Window::Session { gap } => (Kind::Session, gap),
        Window::Whole => panic!("all of time has no panes"),
    };
    let length = ScalarValue::DurationMicrosecond(Some(argument));
    let udf = Arc::new(ScalarUDF::from(WindowCall::new(kind)));
    Expr::ScalarFunction(ScalarFunction::new_udf(udf, vec![time.clone(), Expr::Literal(length, None)]))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Tumble,
    Hop,
    Session,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Tumble, Self::Hop, Self::Session];

    fn name(self) -> &'static str {
        match self {
            Self::Tumble => "tumble",
            Self::Hop => "hop",
            Self::Session => "session",
        }
    }

    fn usage(self) -> &'static str {
        match self {
            Self::Tumble => "tumble(event_time, INTERVAL '1 minute')",
            Self::Hop => "hop(event_time, INTERVAL '10 seconds', INTERVAL '1 minute'), the slide first",
            Self::Session => "session(event_time, INTERVAL '5 minutes'), the gap that ends it",
        }
    }

    /// The window that the literal arguments ask for.
    fn window(self, arguments: &[Option<&ScalarValue>]) -> Result<Window> {
        let expected = if self == Self::Hop { 3 } else { 2 };
        if arguments.len() != expected {
            return Err(wrong(self, &format!("it takes {expected} arguments, here are {}", arguments.len())));
        }
        let length = |index: usize| -> Result<i64> {
            let literal = arguments.get(index).copied().flatten();
            micros(literal).map_err(|reason| wrong(self, reason))
        };
        Ok(match self {
            Self::Tumble => Window::Tumble { size: length(1)? },
            Self::Session => Window::Session { gap: length(1)? },
            Self::Hop => {
                let (slide, size) = (length(1)?, length(2)?);
                if size % slide != 0 {
                    let reason =
                        format!("the size, {}, must be a multiple of the slide, {}", shown(size), shown(slide));
                    return Err(wrong(self, &reason));
                }
                Window::Hop { slide, size }
            }
        })
    }
}

fn wrong(kind: Kind, reason: &str) -> DataFusionError {
    DataFusionError::Plan(format!("{}(): {reason}; write {}", kind.name(), kind.usage()))
}

/// A length as people write it.
pub(super) fn shown(micros: i64) -> String {
    humantime::format_duration(std::time::Duration::from_micros(micros.unsigned_abs())).to_string()
}

/// A positive length of fixed duration.
fn micros(literal: Option<&ScalarValue>) -> std::result::Result<i64, &'static str> {
    const DAY: i64 = 86_400_000_000;
    let length = match literal {
        Some(ScalarValue::IntervalMonthDayNano(Some(interval))) if interval.months == 0 => {
            i64::from(interval.days) * DAY + interval.nanoseconds / 1_000
        }
        Some(ScalarValue::IntervalMonthDayNano(Some(_)) | ScalarValue::IntervalYearMonth(Some(_))) => {
            return Err("a month has no fixed length");
        }
        Some(ScalarValue::IntervalDayTime(Some(interval))) => {
            i64::from(interval.days) * DAY + i64::from(interval.milliseconds) * 1_000
        }
        Some(ScalarValue::DurationMicrosecond(Some(length))) => *length,
        _ => return Err("the length must be an interval written out"),
    };
    if length > 0 { Ok(length) } else { Err("the length must be longer than nothing") }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct WindowCall {
    kind: Kind,
    signature: Signature,
}

impl WindowCall {
    fn new(kind: Kind) -> Self {
        Self { kind, signature: Signature::variadic_any(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for WindowCall {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(instant())
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.kind.window(arguments.scalar_arguments)?;
        let time = arguments.arg_fields.first();
        if let Some(time) = time.filter(|field| !matches!(field.data_type(), DataType::Timestamp(_, _))) {
            let reason = format!("its first argument must be the event time, but \"{}\" is no time", time.name());
            return Err(wrong(self.kind, &reason));
        }
        let nullable = time.is_none_or(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), instant(), nullable)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let literals: Vec<Option<&ScalarValue>> = arguments
            .args
            .iter()
            .map(|argument| match argument {
                ColumnarValue::Scalar(value) => Some(value),
                ColumnarValue::Array(_) => None,
            })
            .collect();
        let window = self.kind.window(&literals)?;
        let times = arguments.args[0].to_array(arguments.number_rows)?;
        let times = cast(&times, &instant())?;
        let starts: ArrayRef = match window {
            Window::Session { .. } => times,
            tumbling_or_hopping => {
                let width = tumbling_or_hopping.pane();
                let floored: TimestampMicrosecondArray =
                    times.as_primitive::<TimestampMicrosecondType>().unary(|time| floor(time, width));
                Arc::new(floored.with_timezone("UTC"))
            }
        };
        Ok(ColumnarValue::Array(starts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_start_at_multiples_of_their_length_before_and_after_1970() {
        let check = |time: i64, width: i64, expected: i64| assert_eq!(floor(time, width), expected);
        check(0, 60, 0);
        check(59, 60, 0);
        check(60, 60, 60);
        check(-1, 60, -60);
        check(253_402_300_799_999_999, 60_000_000, 253_402_300_740_000_000); // the last minute of the year 9999
    }
}
