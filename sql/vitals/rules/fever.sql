-- Fever: 39.1 °C or more, the band that scores 2 in NEWS2
-- (Royal College of Physicians 2017, chart 1).
-- @severity: medium
-- @for: 30s
-- @clear_after: 60s
-- @message: temperature {temperature:.1} >= 39.1
SELECT patient_id, event_time, temperature
FROM vitals
WHERE temperature >= 39.1
