-- The blood pressure is low.
-- @severity: high
-- @for: 10s
-- @message: {systolic_bp:.0} mmHg
SELECT patient_id, event_time, systolic_bp
FROM vitals
WHERE systolic_bp < 90
