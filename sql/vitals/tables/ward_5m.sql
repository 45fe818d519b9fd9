-- The ward in five minutes, from the minutes of its patients: a window over
-- the windows of another table. Sums and counts, so that longer spans can be
-- averaged.
-- @key: window_start
SELECT
    tumble(window_start, INTERVAL '5 minutes') AS window_start,     -- UTC
    count(DISTINCT patient_id) AS patients,
    sum(records) AS records,
    sum(heart_rate_avg * records) AS heart_rate_sum,                -- /min
    min(spo2_min) AS spo2_min,                                      -- %
    max(heart_rate_max) AS heart_rate_max                           -- /min
FROM vitals_1m
GROUP BY tumble(window_start, INTERVAL '5 minutes')
