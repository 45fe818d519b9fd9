-- The lowest, the highest and the mean oxygen saturation in each half minute,
-- one every ten seconds, so that no dip is cut in two.
-- @key: patient_id, window_start
SELECT
    patient_id,
    hop(event_time, INTERVAL '10 seconds', INTERVAL '30 seconds')
        AS window_start,                                        -- UTC
    min(spo2) AS spo2_min,                                      -- %
    max(spo2) AS spo2_max,                                      -- %
    avg(spo2) AS spo2_avg,                                      -- %
    count(spo2) AS readings
FROM vitals
WHERE spo2 IS NOT NULL
GROUP BY
    patient_id,
    hop(event_time, INTERVAL '10 seconds', INTERVAL '30 seconds')
