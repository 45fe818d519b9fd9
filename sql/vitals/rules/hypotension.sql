-- The blood pressure is too low for this patient; without a limit of their
-- own, systolic 90 mmHg or less, the band that scores 3 in NEWS2 (Royal
-- College of Physicians 2017, chart 1). A value below the plausible range may
-- be true: it counts, and is told as doubtful.
-- @severity: high
-- @for: 10s
-- @clear_after: 15s
-- @repeat: 3m
-- @message: systolic {systolic_bp:.0}{doubtful} <= {low:.0}
SELECT
    v.patient_id,
    v.event_time,
    coalesce(v.systolic_bp, v.systolic_bp_doubtful) AS systolic_bp,
    CASE WHEN v.systolic_bp IS NULL THEN ' (doubtful)' ELSE '' END AS doubtful,
    t.low
FROM vitals AS v
JOIN thresholds AS t ON t.patient_id = v.patient_id AND t.vital = 'systolic_bp'
WHERE coalesce(v.systolic_bp, v.systolic_bp_doubtful) <= t.low
