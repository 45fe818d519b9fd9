-- The mean saturation of half a minute lies below the patient's limit though
-- single readings come back above it, so that the delay of `hypoxia` is never
-- full. Of the windows that overlap, the worst counts. Limits: as in
-- `hypoxia`.
-- @severity: high
-- @allow: no-delay       -- the half minute is one
-- @clear_after: 20s
-- @repeat: 3m
-- @message: SpO₂ {spo2_avg:.1} < {low:.0} over 30 s
SELECT s.patient_id, min(s.spo2_avg) AS spo2_avg, t.low
FROM spo2_30s AS s
JOIN thresholds AS t ON t.patient_id = s.patient_id AND t.vital = 'spo2'
WHERE s.spo2_avg < t.low AND s.spo2_max >= t.low AND s.readings >= 10
GROUP BY s.patient_id, t.low
