-- The glucose level is above 120 mg/dL though the patient exercises: sport
-- mode holds the alert back for two minutes, as in the original project.
-- @severity: medium
-- @for: 120s
-- @message: glucose {glucose_level:.0} > 120 in sport mode
SELECT patient_id, event_time, glucose_level
FROM patient_data
WHERE glucose_level > 120 AND sport_mode IS TRUE
