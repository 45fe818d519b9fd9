-- The systolic blood pressure is above 130 mmHg though the patient exercises:
-- sport mode holds the alert back for two minutes, as in the original project.
-- @severity: medium
-- @for: 120s
-- @message: systolic {systolic_bp:.0} > 130 in sport mode
SELECT patient_id, event_time, systolic_bp
FROM patient_data
WHERE systolic_bp > 130 AND sport_mode IS TRUE
