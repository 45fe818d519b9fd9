-- The ward in each micro-batch. Sums and counts, so that any span of batches
-- can be averaged rightly: sum(heart_rate_sum) / sum(heart_rate_count).
-- @key: batch_at
SELECT
    now() AS batch_at,                          -- the batch's frozen time, UTC
    count(*) AS records,
    count(DISTINCT patient_id) AS patients,
    sum(heart_rate) AS heart_rate_sum,          -- /min
    count(heart_rate) AS heart_rate_count,
    sum(spo2) AS spo2_sum,                      -- %
    count(spo2) AS spo2_count,
    min(spo2) AS spo2_min,                      -- %
    max(heart_rate) AS heart_rate_max           -- /min
FROM vitals
