-- Slow breathing: below 8 /min, a common default limit for adults. A rate of 0
-- is what monitors send when the leads are off; `lead_off` tells of that.
-- @severity: high
-- @for: 10s
-- @clear_after: 15s
-- @message: RR {respiratory_rate:.0} < 8
SELECT patient_id, event_time, respiratory_rate
FROM vitals
WHERE respiratory_rate < 8 AND respiratory_rate > 0
