-- A respiration of 0 is what monitors send while the impedance leads are off:
-- a matter of the sensor, not of the patient.
-- @severity: technical
-- @for: 5s
-- @clear_after: 5s
-- @suppresses: bradypnoea, tachypnoea
-- @message: respiration leads off
SELECT patient_id, event_time
FROM vitals
WHERE respiratory_rate = 0
