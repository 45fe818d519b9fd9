-- Nothing has come from the patient's device for 30 seconds. What alerts
-- stand, stand on: they wait for data.
-- @severity: technical
-- @suppresses: *
-- @message: no data for {age_seconds:.0} s
SELECT patient_id, age_seconds
FROM patient_data_latest
WHERE age_seconds > 30
