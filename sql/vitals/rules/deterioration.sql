-- The NEWS2-style score has risen by 2 or more within five minutes. What rises
-- tells more than what is high; the step of 2 is ours, no guideline's. One
-- minute may be chance: the next must say the same.
-- @severity: medium
-- @for: 1m
-- @clear_after: 2m
-- @peak: max(score)
-- @message: NEWS2 from {score_min} to {label} in 5 min
SELECT patient_id, score_min, score, label
FROM news2_now
WHERE score - score_min >= 2
