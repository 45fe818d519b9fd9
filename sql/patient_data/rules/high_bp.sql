-- The systolic blood pressure is above 130 mmHg, the original project's limit.
-- While the patient exercises, `high_bp_sport` waits for two minutes.
-- @severity: medium
-- @allow: no-delay       -- as in the original project
-- @message: systolic {systolic_bp:.0} > 130
SELECT patient_id, event_time, systolic_bp
FROM patient_data
WHERE systolic_bp > 130 AND sport_mode IS NOT TRUE
