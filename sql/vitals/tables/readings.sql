-- Every reading as it came, a row per record: what charts are drawn from. The
-- source's partition and offset are part of the key, so that a record that was
-- sent twice is here twice, and one that is read twice is not.
-- @key: patient_id, event_time, source_partition, source_offset
SELECT
    patient_id,
    event_time,                         -- UTC
    _partition AS source_partition,
    _offset AS source_offset,
    heart_rate,                         -- /min
    respiratory_rate,                   -- /min
    spo2,                               -- %
    systolic_bp,                        -- mmHg
    diastolic_bp,                       -- mmHg
    temperature,                        -- °C
    pulse,                              -- /min, from the SpO₂ sensor
    oxygen,                             -- whether it is given
    consciousness                       -- ACVPU
FROM vitals
