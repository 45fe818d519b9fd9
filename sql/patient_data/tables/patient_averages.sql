-- What averages are made of, per patient and micro-batch. Sums and counts, so
-- that the average since any time is right:
--   SELECT patient_id, sum(heart_rate_sum) / sum(heart_rate_count) …
-- @key: patient_id, batch_at
SELECT
    patient_id,
    now() AS batch_at,                           -- the batch's frozen time, UTC
    sum(heart_rate) AS heart_rate_sum,              -- /min
    count(heart_rate) AS heart_rate_count,
    sum(systolic_bp) AS systolic_bp_sum,            -- mmHg
    count(systolic_bp) AS systolic_bp_count,
    sum(diastolic_bp) AS diastolic_bp_sum,          -- mmHg
    count(diastolic_bp) AS diastolic_bp_count,
    sum(glucose_level) AS glucose_level_sum,        -- mg/dL
    count(glucose_level) AS glucose_level_count
FROM patient_data
GROUP BY patient_id
