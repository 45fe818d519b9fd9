-- Each patient's vitals, one row per minute of event time.
-- @key: patient_id, window_start
SELECT
    patient_id,
    tumble(event_time, INTERVAL '1 minute') AS window_start,    -- UTC
    count(*) AS records,
    avg(heart_rate) AS heart_rate_avg,                          -- /min
    min(heart_rate) AS heart_rate_min,
    max(heart_rate) AS heart_rate_max,
    stddev(heart_rate) AS heart_rate_sd,
    avg(respiratory_rate) AS respiratory_rate_avg,              -- /min
    min(respiratory_rate) AS respiratory_rate_min,
    max(respiratory_rate) AS respiratory_rate_max,
    avg(spo2) AS spo2_avg,                                      -- %
    min(spo2) AS spo2_min,
    avg(systolic_bp) AS systolic_bp_avg,                        -- mmHg
    min(systolic_bp) AS systolic_bp_min,
    max(systolic_bp) AS systolic_bp_max,
    avg(diastolic_bp) AS diastolic_bp_avg,                      -- mmHg
    avg(temperature) AS temperature_avg,                        -- °C
    avg(pulse) AS pulse_avg                                     -- /min
FROM vitals
GROUP BY patient_id, tumble(event_time, INTERVAL '1 minute')
