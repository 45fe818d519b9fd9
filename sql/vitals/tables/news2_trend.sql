-- How the NEWS2-style score of each patient has gone over the last minutes: a
-- window over the windows of `news2_1m`, one begun every minute. Rules read it
-- by `news2_now`.
-- @key: patient_id, window_start
SELECT
    patient_id,
    -- UTC
    hop(window_start, INTERVAL '1 minute', INTERVAL '7 minutes')
        AS window_start,
    max(window_start) AS last_minute,                                     -- UTC
    count(score) AS minutes,
    min(score) AS score_min,
    max(score) AS score_max,
    last_value(score ORDER BY window_start) AS score,
    last_value(parameters ORDER BY window_start) AS parameters,
    last_value(label ORDER BY window_start) AS label,
    last_value(risk ORDER BY window_start) AS risk,
    last_value(red ORDER BY window_start) AS red
FROM news2_1m
WHERE score IS NOT NULL
GROUP BY
    patient_id,
    hop(window_start, INTERVAL '1 minute', INTERVAL '7 minutes')
