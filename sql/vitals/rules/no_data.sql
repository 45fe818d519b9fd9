-- Nothing has come from the patient's monitor for 30 seconds, and no value
-- counts any more (`valid_for` in the job file: of a cuff that measures now and
-- then, hours). What alerts stand, stand on: they wait for data.
-- @severity: technical
-- @suppresses: *
-- @message: no data for {age_seconds:.0} s
SELECT patient_id, age_seconds
FROM vitals_latest
WHERE age_seconds > 30 AND NOT has_valid_value
