-- The heart beats too slowly for this patient; without a limit of their own,
-- below 50 /min, the makers' default for adults.
-- @severity: high
-- @for: 10s
-- @clear_after: 15s
-- @repeat: 3m
-- @message: HR {heart_rate:.0} < {low:.0}
SELECT v.patient_id, v.event_time, v.heart_rate, t.low
FROM vitals AS v
JOIN thresholds AS t ON t.patient_id = v.patient_id AND t.vital = 'heart_rate'
WHERE v.heart_rate < t.low
