//! One description laid over another: what a form says in place of what its source says, or of a form that comes with wardwatch.

use std::collections::BTreeMap;
use std::ops::Range;

use super::super::raw::{RawColumn, RawForm, RawFormColumn};
use super::super::spanned::Spanned;

/// The columns as a job file has them.
pub(super) type RawColumns = BTreeMap<Spanned<String>, RawColumn>;

/// The names of the columns that every source has.
#[derive(Clone, Copy)]
pub(super) struct Heads<'a> {
    pub(super) key: &'a Spanned<String>,
    pub(super) event_time: &'a Spanned<String>,
}

/// What `first` leaves open, as `second` says it. Columns stay those of `first`: they are laid over each other one by one.
pub(super) fn over(first: RawForm, second: RawForm) -> RawForm {
    RawForm {
        name: first.name,
        r#use: None,
        when: first.when.or(second.when),
        encounters: first.encounters.or(second.encounters),
        ignore: first.ignore.or(second.ignore),
        only: first.only.or(second.only),
        format: first.format.or(second.format),
        csv: first.csv.or(second.csv),
        pattern: first.pattern.or(second.pattern),
        schema: first.schema.or(second.schema),
        registry: first.registry.or(second.registry),
        message: first.message.or(second.message),
        unwrap: first.unwrap.or(second.unwrap),
        rows: first.rows.or(second.rows),
        long: first.long.or(second.long),
        columns: first.columns,
    }
}

/// Lays what a form says of columns over what was said before; columns that are not there stay away.
pub(super) fn lay_over(columns: &mut RawColumns, form: BTreeMap<Spanned<String>, RawFormColumn>) {
    for (name, said) in form {
        let Some((known, column)) = columns.remove_entry(&name) else { continue };
        let said = match said {
            RawFormColumn::From(from) => RawColumn { from: Some(from), ..RawColumn::default() },
            RawFormColumn::Settings(settings) => *settings,
        };
        let said = RawColumn { place: Some(name.span()), ..said };
        columns.insert(known, said.over(column));
    }
}

/// What a form says of patient and time, under the names that the job has for them.
pub(super) fn under_names_of(
    said: BTreeMap<Spanned<String>, RawFormColumn>,
    known: &[Spanned<String>],
    heads: Heads<'_>,
) -> BTreeMap<Spanned<String>, RawFormColumn> {
    let own = |name: &Spanned<String>| match name.get_ref().as_str() {
        _ if known.contains(name) => None,
        "patient_id" => known.iter().find(|known| known.get_ref() == heads.key.get_ref()),
        "event_time" => known.iter().find(|known| known.get_ref() == heads.event_time.get_ref()),
        _ => None,
    };
    said.into_iter().map(|(name, column)| (own(&name).cloned().unwrap_or(name), column)).collect()
}

/// A form of a file, as if all of it stood at one place of the job file.
pub(super) fn at_place(form: RawForm, place: &Range<usize>) -> RawForm {
    let columns = form.columns.into_iter().map(|(name, column)| {
        let column = match column {
            RawFormColumn::From(from) => RawFormColumn::From(from),
            RawFormColumn::Settings(settings) => RawFormColumn::Settings(Box::new(settings.of_records().at(place))),
        };
        (name.at(place.clone()), column)
    });
    let at = |text: Option<Spanned<String>>| text.map(|text| text.at(place.clone()));
    RawForm {
        columns: columns.collect(),
        name: at(form.name),
        format: at(form.format),
        pattern: at(form.pattern),
        schema: at(form.schema),
        registry: at(form.registry),
        message: at(form.message),
        unwrap: form.unwrap.map(|steps| steps.into_iter().map(|step| step.at(place.clone())).collect()),
        ..form
    }
}
