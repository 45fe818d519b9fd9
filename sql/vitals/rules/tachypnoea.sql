-- Fast breathing: above 30 /min, a common default limit for adults.
-- @severity: medium
-- @for: 10s
-- @clear_after: 15s
-- @message: RR {respiratory_rate:.0} > 30
SELECT patient_id, event_time, respiratory_rate
FROM vitals
WHERE respiratory_rate > 30
