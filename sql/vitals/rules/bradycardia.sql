-- The heart beats too slowly for this patient; without a limit of their own,
-- below 50 /min, the makers' default for adults. A value below the plausible
-- range, such as 0, counts too and is told as doubtful, unless the finger has
-- a pulse that is fast enough: then `ecg_lead_off` tells of it.
-- @severity: high
-- @for: 10s
-- @clear_after: 15s
-- @repeat: 3m
-- @message: HR {heart_rate:.0}{doubtful} < {low:.0}
SELECT
    v.patient_id,
    v.event_time,
    coalesce(v.heart_rate, v.heart_rate_doubtful) AS heart_rate,
    CASE WHEN v.heart_rate IS NULL THEN ' (doubtful)' ELSE '' END AS doubtful,
    t.low
FROM vitals AS v
JOIN thresholds AS t ON t.patient_id = v.patient_id AND t.vital = 'heart_rate'
WHERE
    coalesce(v.heart_rate, v.heart_rate_doubtful) < t.low
    AND (v.heart_rate IS NOT NULL OR coalesce(v.pulse < t.low, TRUE))
