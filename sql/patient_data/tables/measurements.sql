-- Every measurement as it came, a row per record.
-- @key: patient_id, event_time, source_partition, source_offset
SELECT
    patient_id,
    event_time,                         -- UTC
    _partition AS source_partition,
    _offset AS source_offset,
    heart_rate,                         -- /min
    systolic_bp,                        -- mmHg
    diastolic_bp,                       -- mmHg
    glucose_level,                      -- mg/dL
    sport_mode
FROM patient_data
