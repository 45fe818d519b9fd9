-- Whether heart rate and respiration move at all in five minutes: what
-- `flat_line` looks at while they are open.
-- @key: patient_id, window_start
SELECT
    patient_id,
    tumble(event_time, INTERVAL '5 minutes') AS window_start,       -- UTC
    min(heart_rate) AS heart_rate_min,                              -- /min
    max(heart_rate) AS heart_rate_max,                              -- /min
    count(heart_rate) AS heart_rate_count,
    min(respiratory_rate) AS respiratory_rate_min,                  -- /min
    max(respiratory_rate) AS respiratory_rate_max,                  -- /min
    count(respiratory_rate) AS respiratory_rate_count
FROM vitals
GROUP BY patient_id, tumble(event_time, INTERVAL '5 minutes')
