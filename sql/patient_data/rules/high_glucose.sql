-- The glucose level is above 120 mg/dL, the original project's limit. While
-- the patient exercises, `high_glucose_sport` waits for two minutes.
-- @severity: medium
-- @allow: no-delay       -- as in the original project
-- @message: glucose {glucose_level:.0} > 120
SELECT patient_id, event_time, glucose_level
FROM patient_data
WHERE glucose_level > 120 AND sport_mode IS NOT TRUE
