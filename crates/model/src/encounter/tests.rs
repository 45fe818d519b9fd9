//! Encounters against a model that paints cells of a grid.

use chrono::{DateTime, Utc};
use proptest::prelude::*;

use super::*;

fn at(minute: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(minute * 60, 0).expect("a time")
}

fn request(kind: Kind, patient: &str, device: &str, from: i64, until: Option<i64>) -> Request {
    Request {
        id: RequestId("r".to_owned()),
        kind,
        patient: patient.to_owned(),
        at: at(from),
        until: until.map(at),
        given: Given { device: device.to_owned(), ..Given::default() },
        merged: String::new(),
        stay: String::new(),
        origin: Origin::Manual,
        by: "nurse".to_owned(),
        note: String::new(),
    }
}

fn in_ward(request: Request, ward: &str, place: &str) -> Request {
    Request { given: Given { ward: ward.to_owned(), place: place.to_owned(), ..request.given.clone() }, ..request }
}

fn of(encounters: &Encounters, device: &str, minute: i64) -> String {
    encounters.patient_of(device, at(minute)).map(|patient| patient.to_string()).unwrap_or_default()
}

#[test]
fn a_late_record_goes_to_who_was_attached_then() {
    let mut encounters = Encounters::default();
    encounters.apply(&request(Kind::Admit, "A", "D1", 480, Some(605))).expect("applied");
    encounters.apply(&request(Kind::Admit, "B", "D1", 606, None)).expect("applied");
    let found = [479, 480, 604, 605, 606, 900].map(|minute| of(&encounters, "D1", minute));
    assert_eq!(found, ["", "A", "A", "", "B", "B"]);
    assert_eq!(encounters.presence("A", at(605)), Presence::Left(at(605)));
    assert_eq!(encounters.presence("B", at(605)), Presence::Unknown);
    assert_eq!(encounters.version(), Version(2));
}

#[test]
fn an_age_band_counts_from_the_time_that_is_told_and_a_later_one_changes_nothing_before() {
    let banded = |kind, minute, band: &str| Request {
        given: Given { age_band: band.to_owned(), ..Given::default() },
        ..request(kind, "A", "", minute, None)
    };
    let mut encounters = Encounters::default();
    encounters.apply(&banded(Kind::Admit, 0, "neonate")).expect("applied");
    encounters.apply(&banded(Kind::Move, 100, "child")).expect("applied");
    let bands = [0, 99, 100, 200].map(|minute| encounters.age_band("A", at(minute)).to_owned());
    assert_eq!(bands, ["neonate", "neonate", "child", "child"]);
    let present = [99, 100].map(|minute| encounters.present(at(minute))[0].details.age_band.clone());
    assert_eq!(present, ["neonate", "child"]);
    assert!(encounters.changes(at(50), at(150)).contains(&(at(100), "A".into())));
}

#[test]
fn a_device_of_somebody_else_is_taken_from_them_and_they_stay() {
    let mut encounters = Encounters::default();
    encounters.apply(&request(Kind::Admit, "A", "D1", 0, None)).expect("applied");
    let told = encounters.apply(&request(Kind::Admit, "B", "D1", 10, None)).expect("applied");
    assert_eq!(told, "device D1 was attached to A since 1970-01-01T00:00:00Z");
    assert_eq!([of(&encounters, "D1", 9), of(&encounters, "D1", 10)], ["A", "B"]);
    assert_eq!(encounters.presence("A", at(11)), Presence::Here);
}

#[test]
fn an_admission_without_an_end_that_is_told_late_leaves_the_next_patient_the_device() {
    let mut encounters = Encounters::default();
    encounters.apply(&request(Kind::Admit, "B", "D1", 10, None)).expect("applied");
    encounters.apply(&request(Kind::Admit, "A", "D1", 0, None)).expect("applied");
    assert_eq!([of(&encounters, "D1", 9), of(&encounters, "D1", 10)], ["A", "B"]);
}

#[test]
fn a_patient_nobody_spoke_of_can_be_discharged_once() {
    let mut encounters = Encounters::default();
    assert_eq!(encounters.presence("P1", at(0)), Presence::Unknown);
    encounters.apply(&request(Kind::Discharge, "P1", "", 5, None)).expect("applied");
    assert_eq!(encounters.presence("P1", at(4)), Presence::Here);
    assert_eq!(encounters.presence("P1", at(5)), Presence::Left(at(5)));
    let refused = encounters.apply(&request(Kind::Discharge, "P1", "", 7, None)).expect_err("refused");
    assert_eq!(refused, "P1 left at 1970-01-01T00:05:00Z");
    assert_eq!(encounters.version(), Version(1), "what is refused is no version");
    // And come back.
    encounters.apply(&request(Kind::Admit, "P1", "", 9, None)).expect("applied");
    assert_eq!(encounters.presence("P1", at(8)), Presence::Left(at(5)));
    assert_eq!(encounters.presence("P1", at(9)), Presence::Here);
}

#[test]
fn a_move_changes_the_ward_from_then_on_and_takes_the_device_along_or_another() {
    let mut encounters = Encounters::default();
    encounters.apply(&in_ward(request(Kind::Admit, "A", "D1", 0, None), "north", "1")).expect("applied");
    encounters.apply(&in_ward(request(Kind::Move, "A", "", 10, None), "south", "")).expect("applied");
    encounters.apply(&request(Kind::Move, "A", "D2", 20, None)).expect("applied");
    let lies = |minute| encounters.whereabouts("A", at(minute)).map(|found| (found.ward.clone(), found.place.clone()));
    assert_eq!(lies(9), Some(("north".to_owned(), "1".to_owned())));
    assert_eq!(lies(10), Some(("south".to_owned(), String::new())), "a bed of another ward is not kept");
    assert_eq!([of(&encounters, "D1", 19), of(&encounters, "D1", 20), of(&encounters, "D2", 20)], ["A", "", "A"]);
    let present = encounters.present(at(30));
    assert_eq!(present.len(), 1);
    assert_eq!((present[0].from, &*present[0].devices[0]), (Some(at(0)), "D2"));
    let refused = encounters.apply(&request(Kind::Move, "A", "", 30, None)).expect_err("refused");
    assert_eq!(refused, "it changes nothing: name a ward, a place or a device");
}

#[test]
fn a_patient_with_two_devices_is_here_as_long_as_the_longer_attachment() {
    let mut encounters = Encounters::default();
    encounters.apply(&request(Kind::Admit, "A", "D1", 0, Some(5))).expect("applied");
    encounters.apply(&request(Kind::Admit, "A", "D2", 0, None)).expect("applied");
    assert_eq!([of(&encounters, "D1", 6), of(&encounters, "D2", 6)], ["", "A"]);
    assert_eq!(encounters.presence("A", at(6)), Presence::Here);
    let refused = encounters.apply(&request(Kind::Admit, "A", "D2", 7, Some(7))).expect_err("refused");
    assert!(refused.contains("is not after its begin"), "{refused}");
}

/// Minutes of the model; what has no end ends behind them.
const CELLS: usize = 24;

#[derive(Debug, Clone, Default)]
struct Model {
    /// Of each device and minute: the attachment, counted, and its patient.
    devices: [[Option<(usize, usize)>; CELLS]; 2],
    here: [[bool; CELLS]; 3],
    was_named: [bool; 3],
    count: usize,
}

impl Model {
    fn attach(&mut self, patient: usize, device: usize, from: usize, until: Option<usize>) {
        let cells = &mut self.devices[device];
        let begins = |cell: &usize| cells[*cell].is_some() && cells[*cell] != cells[*cell - 1];
        let until = until.unwrap_or_else(|| (from + 1..CELLS).find(begins).unwrap_or(CELLS));
        self.count += 1;
        cells[from..until].fill(Some((self.count, patient)));
    }

    /// The end of the patient's stay; `None` where the patient is not here.
    fn stay(&mut self, patient: usize, at: usize) -> Option<usize> {
        if !self.was_named[patient] {
            self.here[patient].fill(true);
        }
        let here = &self.here[patient];
        here[at].then(|| (at..CELLS).find(|cell| !here[*cell]).unwrap_or(CELLS))
    }

    fn let_go(&mut self, patient: usize, from: usize, until: usize) {
        let cells = self.devices.iter_mut().flat_map(|cells| &mut cells[from..until]);
        cells.filter(|cell| cell.is_some_and(|(_, other)| other == patient)).for_each(|cell| *cell = None);
    }

    fn apply(&mut self, kind: Kind, patient: usize, device: Option<usize>, from: usize, until: Option<usize>) {
        match kind {
            Kind::Admit => {
                self.here[patient][from..until.unwrap_or(CELLS)].fill(true);
                if let Some(device) = device {
                    self.attach(patient, device, from, until);
                }
            }
            Kind::Move => {
                let Some(device) = device else { return };
                let Some(end) = self.stay(patient, from) else { return };
                self.let_go(patient, from, end);
                self.attach(patient, device, from, (end < CELLS).then_some(end));
            }
            Kind::Discharge => {
                let Some(end) = self.stay(patient, from) else { return };
                self.here[patient][from..end].fill(false);
                self.let_go(patient, from, end);
            }
            other => panic!("{other:?} is not drawn"),
        }
        self.was_named[patient] = true;
    }
}

proptest! {
    #[test]
    fn whoever_is_asked_of_any_minute_answers_as_a_painted_grid_does(
        requests in proptest::collection::vec(
            (0_usize..3, 0_usize..3, proptest::option::of(0_usize..2), 1_usize..CELLS - 1, proptest::option::of(1_usize..9)),
            1..24,
        ),
    ) {
        const NAMES: [&str; 3] = ["A", "B", "C"];
        const DEVICES: [&str; 2] = ["D1", "D2"];
        let mut model = Model::default();
        let mut encounters = Encounters::default();
        let mut applied = 0;
        for (kind, patient, device, from, length) in requests {
            let kind = Kind::ALL[kind];
            let until = length.map(|length| from + length).filter(|until| kind == Kind::Admit && *until < CELLS);
            model.apply(kind, patient, device, from, until);
            let [from, until] = [Some(from), until].map(|cell| cell.map(|cell| i64::try_from(cell).expect("small")));
            let device = device.map_or("", |device| DEVICES[device]);
            let asked = request(kind, NAMES[patient], device, from.expect("a begin"), until);
            applied += u64::from(encounters.apply(&asked).is_ok());
        }
        prop_assert_eq!(encounters.version(), Version(applied));
        for cell in 0..CELLS {
            let minute = i64::try_from(cell).expect("small");
            for (device, cells) in DEVICES.iter().zip(&model.devices) {
                let expected = cells[cell].map_or("", |(_, patient)| NAMES[patient]);
                prop_assert_eq!(of(&encounters, device, minute), expected, "{} at {}", device, minute);
            }
            for (name, here) in NAMES.iter().zip(&model.here) {
                let is_here = encounters.presence(name, at(minute)) == Presence::Here;
                prop_assert_eq!(is_here, here[cell], "{} at {}", name, minute);
            }
        }
    }
}

#[test]
fn what_was_said_by_mistake_is_taken_back() {
    let mut encounters = Encounters::default();
    let mut apply = |request: Request| encounters.apply(&request);
    apply(in_ward(request(Kind::Admit, "A", "", 0, None), "ICU", "1")).expect("applied");
    apply(in_ward(request(Kind::Move, "A", "", 10, None), "North", "2")).expect("applied");
    apply(request(Kind::CancelMove, "A", "", 12, None)).expect("applied");
    apply(request(Kind::Discharge, "A", "", 20, None)).expect("applied");
    apply(in_ward(request(Kind::CancelDischarge, "A", "", 25, None), "ICU", "3")).expect("applied");
    apply(in_ward(request(Kind::Admit, "B", "D1", 0, None), "ICU", "4")).expect("applied");
    apply(request(Kind::CancelAdmit, "B", "", 5, None)).expect("applied");
    for (kind, who, at, why) in [
        (Kind::CancelDischarge, "A", 30, "A is here"),
        (Kind::CancelAdmit, "B", 30, "B has not come by then"),
        (Kind::CancelAdmit, "C", 30, "nobody spoke of C before"),
        (Kind::Update, "A", 30, "it changes nothing"),
        (Kind::Merge, "A", 30, "names no other id"),
    ] {
        let told = apply(request(kind, who, "", at, None)).expect_err(why);
        assert!(told.contains(why), "{told}");
    }
    let place = |minute| encounters.whereabouts("A", at(minute)).expect("known").place.clone();
    assert_eq!([5, 11, 22].map(place), ["1", "1", "1"]);
    assert_eq!(encounters.presence("A", at(22)), Presence::Here);
    assert_eq!(encounters.presence("B", at(5)), Presence::Left(at(0)));
    assert_eq!(of(&encounters, "D1", 5), "");
}

#[test]
fn two_ids_of_one_patient_become_one_from_then_on() {
    let mut encounters = Encounters::default();
    let named = |name: &str, request: Request| Request {
        given: Given { name: name.to_owned(), ..request.given.clone() },
        ..request
    };
    encounters.apply(&named("Ada", in_ward(request(Kind::Admit, "TMP1", "", 0, None), "ICU", "1"))).expect("applied");
    encounters.apply(&request(Kind::Admit, "TMP1", "D1", 0, None)).expect("applied");
    let merge = Request { merged: "TMP1".to_owned(), ..request(Kind::Merge, "P1", "", 10, None) };
    encounters.apply(&merge).expect("applied");
    assert_eq!([5, 10, 20].map(|minute| of(&encounters, "D1", minute)), ["TMP1", "P1", "P1"]);
    assert_eq!(encounters.presence("TMP1", at(11)), Presence::Left(at(10)));
    assert_eq!(encounters.presence("P1", at(5)), Presence::Here);
    let present = encounters.present(at(11));
    assert_eq!(present.len(), 1);
    assert_eq!(
        (&*present[0].patient, present[0].details.name.as_str(), present[0].whereabouts.place.as_str()),
        ("P1", "Ada", "1")
    );
    let unknown = Request { merged: "TMP9".to_owned(), ..request(Kind::Merge, "P1", "", 12, None) };
    assert_eq!(encounters.apply(&unknown).expect("applied"), "nobody spoke of TMP9 before");
}

#[test]
fn a_begin_that_a_topic_tells_late_ends_as_was_told_and_another_admission_does_not() {
    let of_topic =
        |kind, patient: &str, minute| Request { origin: Origin::Topic, ..request(kind, patient, "", minute, None) };
    let mut encounters = Encounters::default();
    let mut apply = |request: Request| encounters.apply(&request).expect("applied");
    apply(of_topic(Kind::Discharge, "A", 60));
    apply(of_topic(Kind::Admit, "A", 0));
    for kind_and_minute in [(Kind::Admit, 0), (Kind::Discharge, 60), (Kind::Admit, 0)] {
        apply(of_topic(kind_and_minute.0, "B", kind_and_minute.1));
    }
    // Admitted again by a system whose clock is two minutes behind that of who told the discharge.
    for kind_and_minute in [(Kind::Admit, 0), (Kind::Discharge, 60), (Kind::Admit, 58)] {
        apply(of_topic(kind_and_minute.0, "C", kind_and_minute.1));
    }
    assert_eq!(encounters.presence("A", at(70)), Presence::Left(at(60)));
    assert_eq!(encounters.presence("B", at(70)), Presence::Left(at(60)));
    assert_eq!(encounters.presence("C", at(70)), Presence::Here);
}
