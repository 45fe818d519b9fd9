-- Breathing too fast for this patient; without a limit of their own, above 30
-- /min, a common default for adults.
-- @severity: medium
-- @for: 10s
-- @clear_after: 15s
-- @message: RR {respiratory_rate:.0} > {high:.0}
SELECT v.patient_id, v.event_time, v.respiratory_rate, t.high
FROM vitals AS v
JOIN thresholds AS t
    ON t.patient_id = v.patient_id AND t.vital = 'respiratory_rate'
WHERE v.respiratory_rate > t.high
