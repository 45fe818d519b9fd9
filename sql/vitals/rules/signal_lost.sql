-- One of the signals that should come all the time has had no value for 30
-- seconds, though the monitor sends, or another value, such as a cuff's, still
-- counts: a sensor is off. Which ones, the message says. A signal that the
-- patient never had is not missed. Where no value counts, `no_data` says so.
-- @severity: technical
-- @message: no {signals} for {longest:.0} s
SELECT
    patient_id,
    concat_ws(
        ', ',
        CASE WHEN heart_rate_age_seconds > 30 THEN 'heart rate' END,
        CASE WHEN respiratory_rate_age_seconds > 30 THEN 'respiration' END,
        CASE WHEN spo2_age_seconds > 30 THEN 'SpO₂' END
    ) AS signals,
    greatest(
        heart_rate_age_seconds, respiratory_rate_age_seconds, spo2_age_seconds
    ) AS longest
FROM vitals_latest
WHERE
    (age_seconds <= 30 OR has_valid_value)
    AND (
        heart_rate_age_seconds > 30
        OR respiratory_rate_age_seconds > 30
        OR spo2_age_seconds > 30
    )
