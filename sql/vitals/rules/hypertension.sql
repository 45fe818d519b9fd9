-- The blood pressure is too high for this patient; without a limit of their
-- own, systolic 220 mmHg or more, the band that scores 3 in NEWS2 (Royal
-- College of Physicians 2017, chart 1).
-- @severity: medium
-- @for: 10s
-- @clear_after: 15s
-- @message: systolic {systolic_bp:.0} >= {high:.0}
SELECT v.patient_id, v.event_time, v.systolic_bp, t.high
FROM vitals AS v
JOIN thresholds AS t ON t.patient_id = v.patient_id AND t.vital = 'systolic_bp'
WHERE v.systolic_bp >= t.high
