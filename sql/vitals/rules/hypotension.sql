-- Low blood pressure: systolic 90 mmHg or less, the band that scores 3 in NEWS2
-- (Royal College of Physicians 2017, chart 1).
-- @severity: high
-- @for: 10s
-- @clear_after: 15s
-- @message: systolic {systolic_bp:.0} <= 90
SELECT patient_id, event_time, systolic_bp
FROM vitals
WHERE systolic_bp <= 90
