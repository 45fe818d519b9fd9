//! The ids that Kafka gives topics when they are made: a topic that was deleted and made again has the same name and another id.
//!
//! The one place that calls librdkafka's C interface: rdkafka does not have `DescribeTopics`. (Nothing else tells two topics of one
//! name apart for sure. Offsets and leader epochs start over and may have got as far; the first records may have been deleted.)

#![allow(unsafe_code, reason = "librdkafka's interface is C; everything that it hands out is given back in this file")]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as c;

/// Asks `broker` for the ids of `topics` by the client behind `client`, at most for `patience`. (Any broker knows them; the mock cluster
/// has no controller, which would be asked otherwise.)
///
/// Topics that are not there have none, nor has any where the broker knows no ids: those before Kafka 2.8, and librdkafka's mock cluster.
/// Errors: what Kafka, or librdkafka, says of the request.
pub(super) fn topic_ids(
    client: *mut c::rd_kafka_t,
    broker: i32,
    topics: &[Arc<str>],
    patience: Duration,
) -> Result<BTreeMap<String, String>, c::rd_kafka_resp_err_t> {
    use c::rd_kafka_resp_err_t::{
        RD_KAFKA_RESP_ERR__INVALID_ARG, RD_KAFKA_RESP_ERR__TIMED_OUT, RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE,
    };
    let names = topics.iter().map(|topic| CString::new(&**topic)).collect::<Result<Vec<CString>, _>>();
    let Ok(names) = names else { return Err(RD_KAFKA_RESP_ERR__INVALID_ARG) };
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let millis = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: `client` is a living client, for whoever calls this holds the consumer that it belongs to. Each value that is made
    // here is destroyed once, behind its last use, by its guard; guards are dropped in the reverse of the order in which they were
    // made, so the queue outlives the event that came by it. The request copies names and options, and there are as many pointers as
    // it is told.
    unsafe {
        let options = c::rd_kafka_AdminOptions_new(client, c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        let options = Guard(options, c::rd_kafka_AdminOptions_destroy);
        c::rd_kafka_AdminOptions_set_request_timeout(options.0, millis, std::ptr::null_mut(), 0);
        c::rd_kafka_AdminOptions_set_broker(options.0, broker, std::ptr::null_mut(), 0);
        let names = c::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        let names = Guard(names, c::rd_kafka_TopicCollection_destroy);
        let queue = Guard(c::rd_kafka_queue_new(client), c::rd_kafka_queue_destroy);
        c::rd_kafka_DescribeTopics(client, names.0, options.0, queue.0);
        // librdkafka answers by its own timeout; a second more is for its thread.
        let event = c::rd_kafka_queue_poll(queue.0, millis.saturating_add(1_000));
        if event.is_null() {
            return Err(RD_KAFKA_RESP_ERR__TIMED_OUT);
        }
        let event = Guard(event, c::rd_kafka_event_destroy);
        match c::rd_kafka_event_error(event.0) {
            RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE => Ok(BTreeMap::new()),
            code => accepted(code).map(|()| described(c::rd_kafka_event_DescribeTopics_result(event.0))),
        }
    }
}

/// The ids in the answer to a request about topics.
///
/// # Safety
/// `result` is null, or belongs to an event that is not destroyed before this returns.
unsafe fn described(result: *const c::rd_kafka_DescribeTopics_result_t) -> BTreeMap<String, String> {
    let (mut ids, mut count) = (BTreeMap::new(), 0);
    // SAFETY: as for the function; the array has `count` elements, and all that it leads to belongs to the result.
    unsafe {
        let topics = match result.is_null() {
            true => std::ptr::null_mut(),
            false => c::rd_kafka_DescribeTopics_result_topics(result, &mut count),
        };
        for index in 0..if topics.is_null() { 0 } else { count } {
            let topic = *topics.add(index);
            let error = c::rd_kafka_TopicDescription_error(topic);
            let name = c::rd_kafka_TopicDescription_name(topic);
            let is_there = error.is_null() || accepted(c::rd_kafka_error_code(error)).is_ok();
            let id = c::rd_kafka_TopicDescription_topic_id(topic);
            if !is_there || name.is_null() || id.is_null() {
                continue;
            }
            let bits = (c::rd_kafka_Uuid_most_significant_bits(id), c::rd_kafka_Uuid_least_significant_bits(id));
            // The form in which Kafka's own tools show it.
            let text = c::rd_kafka_Uuid_base64str(id);
            if bits != (0, 0) && !text.is_null() {
                let [name, id] = [name, text].map(|text| CStr::from_ptr(text).to_string_lossy().into_owned());
                ids.insert(name, id);
            }
        }
    }
    ids
}

fn accepted(code: c::rd_kafka_resp_err_t) -> Result<(), c::rd_kafka_resp_err_t> {
    match code {
        c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        error => Err(error),
    }
}

/// A value of librdkafka's with the function that destroys it.
struct Guard<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Drop for Guard<T> {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the pair is made where the value is, and the value is handed to nobody else.
            unsafe { (self.1)(self.0) }
        }
    }
}
