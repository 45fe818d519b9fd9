-- The newest values of each patient of whom something came; the row is replaced.
-- @key: patient_id
SELECT
    patient_id,
    event_time AS last_at,      -- UTC
    heart_rate,                 -- /min
    respiratory_rate,           -- /min
    spo2,                       -- %
    systolic_bp,                -- mmHg
    diastolic_bp,               -- mmHg
    temperature                 -- °C
FROM vitals_latest
WHERE patient_id IN (SELECT patient_id FROM vitals)
