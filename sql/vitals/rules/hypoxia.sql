-- Too little oxygen for this patient; without a limit of their own, below 90
-- %, the makers' default for adults, or below 88 % on SpO₂ scale 2, where
-- 88–92 % is aimed at (Royal College of Physicians 2017, chart 1). A value
-- below the plausible range may be true: it counts, and is told as doubtful.
-- @severity: high
-- @for: 10s
-- @clear_after: 15s
-- @repeat: 3m
-- @message: SpO₂ {spo2:.0}{doubtful} < {low:.0}
SELECT
    v.patient_id,
    v.event_time,
    coalesce(v.spo2, v.spo2_doubtful) AS spo2,
    CASE WHEN v.spo2 IS NULL THEN ' (doubtful)' ELSE '' END AS doubtful,
    t.low
FROM vitals AS v
JOIN thresholds AS t ON t.patient_id = v.patient_id AND t.vital = 'spo2'
WHERE coalesce(v.spo2, v.spo2_doubtful) < t.low
