-- The newest values of each patient; a later batch replaces the row.
-- @key: patient_id
SELECT
    patient_id,
    max(event_time) AS last_at,                                             -- UTC
    last_value(heart_rate ORDER BY event_time, _offset) AS heart_rate,      -- /min
    last_value(respiratory_rate ORDER BY event_time, _offset)
        AS respiratory_rate,                                                -- /min
    last_value(spo2 ORDER BY event_time, _offset) AS spo2,                  -- %
    last_value(systolic_bp ORDER BY event_time, _offset) AS systolic_bp,    -- mmHg
    last_value(diastolic_bp ORDER BY event_time, _offset) AS diastolic_bp,  -- mmHg
    last_value(temperature ORDER BY event_time, _offset) AS temperature     -- °C
FROM vitals
GROUP BY patient_id
