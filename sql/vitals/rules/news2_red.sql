-- One parameter alone scores 3, though the score in all is below 5: to be
-- looked at within the hour (Royal College of Physicians 2017, chart 2:
-- thresholds and triggers). One minute may be chance: the next must say the
-- same.
-- @severity: low
-- @for: 1m
-- @clear_after: 2m
-- @message: NEWS2 scores 3 for {red}
SELECT patient_id, red
FROM news2_now
WHERE red IS NOT NULL AND red <> '' AND score < 5
