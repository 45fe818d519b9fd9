-- The NEWS2-style score of the newest complete minute is 5 or 6: urgent
-- response (Royal College of Physicians 2017, chart 2: thresholds and
-- triggers). From 7 on, `news2_high` tells of it.
-- @severity: medium
-- @clear_after: 2m
-- @peak: max(score)
-- @message: NEWS2 {label} >= 5
SELECT patient_id, score, label
FROM news2_now
WHERE score >= 5 AND score < 7
