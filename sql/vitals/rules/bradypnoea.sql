-- Breathing too slowly for this patient; without a limit of their own, below 8
-- /min, a common default for adults. A rate of 0 is what monitors send when
-- the leads are off; `lead_off` tells of that.
-- @severity: high
-- @for: 10s
-- @clear_after: 15s
-- @repeat: 3m
-- @message: RR {respiratory_rate:.0} < {low:.0}
SELECT v.patient_id, v.event_time, v.respiratory_rate, t.low
FROM vitals AS v
JOIN thresholds AS t
    ON t.patient_id = v.patient_id AND t.vital = 'respiratory_rate'
WHERE v.respiratory_rate < t.low AND v.respiratory_rate > 0
