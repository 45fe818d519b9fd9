-- The NEWS2-style score of the newest complete minute is 7 or more: emergency
-- response (Royal College of Physicians 2017, chart 2: thresholds and
-- triggers).
-- @severity: high
-- @clear_after: 2m
-- @repeat: 3m
-- @peak: max(score)
-- @message: NEWS2 {label} >= 7
SELECT patient_id, score, label
FROM news2_now
WHERE score >= 7
