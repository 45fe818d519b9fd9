-- Too little oxygen for this patient; without a limit of their own, below 90
-- %, the makers' default for adults, or below 88 % on SpO₂ scale 2, where
-- 88–92 % is aimed at (Royal College of Physicians 2017, chart 1).
-- @severity: high
-- @for: 10s
-- @clear_after: 15s
-- @repeat: 3m
-- @message: SpO₂ {spo2:.0} < {low:.0}
SELECT v.patient_id, v.event_time, v.spo2, t.low
FROM vitals AS v
JOIN thresholds AS t ON t.patient_id = v.patient_id AND t.vital = 'spo2'
WHERE v.spo2 < t.low
