-- The newest values of each patient and which of the three limits they exceed;
-- a later batch replaces the row.
-- @key: patient_id
SELECT
    patient_id,
    last_at,                                                -- UTC
    heart_rate,                                             -- /min
    systolic_bp,                                            -- mmHg
    diastolic_bp,                                           -- mmHg
    glucose_level,                                          -- mg/dL
    sport_mode,
    coalesce(heart_rate > 100, false) AS high_heart_rate,
    coalesce(systolic_bp > 130, false) AS high_bp,
    coalesce(glucose_level > 120, false) AS high_glucose
FROM (
    SELECT
        patient_id,
        max(event_time) AS last_at,
        last_value(heart_rate ORDER BY event_time, _offset) AS heart_rate,
        last_value(systolic_bp ORDER BY event_time, _offset) AS systolic_bp,
        last_value(diastolic_bp ORDER BY event_time, _offset) AS diastolic_bp,
        last_value(glucose_level ORDER BY event_time, _offset) AS glucose_level,
        last_value(sport_mode ORDER BY event_time, _offset) AS sport_mode
    FROM patient_data
    GROUP BY patient_id
) AS newest
