-- When each patient was connected: a session ends with two minutes of silence.
-- @key: patient_id, started_at
SELECT
    patient_id,
    session(event_time, INTERVAL '2 minutes') AS started_at,    -- UTC
    max(event_time) AS last_at,                                 -- UTC
    count(*) AS records,
    avg(heart_rate) AS heart_rate_avg,                          -- /min
    min(spo2) AS spo2_min                                       -- %
FROM vitals
GROUP BY patient_id, session(event_time, INTERVAL '2 minutes')
