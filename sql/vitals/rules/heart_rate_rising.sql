-- The heart beats ever faster: three readings in a row, each above the one
-- before, and 20 /min or more in all. A trend tells of trouble before a limit
-- does.
-- @severity: low
-- @clear_after: 30s
-- @message: HR rises: {two_before:.0}, {one_before:.0}, {heart_rate:.0}
WITH recent AS (
    SELECT patient_id, event_time, _offset, heart_rate, 20 AS least
    FROM vitals_history
    WHERE
        heart_rate IS NOT NULL
        -- Back from the batch's first reading, so that none goes unjudged.
        AND event_time
        > (SELECT min(event_time) FROM vitals) - INTERVAL '15 seconds'
),

-- Only of these few is the order of readings worth looking at.
moved AS (
    SELECT patient_id
    FROM recent
    GROUP BY patient_id, least
    HAVING max(heart_rate) - min(heart_rate) >= least
)

SELECT patient_id, event_time, two_before, one_before, heart_rate
FROM (
    SELECT
        patient_id,
        event_time,
        heart_rate,
        least,
        lag(heart_rate, 1) OVER readings AS one_before,
        lag(heart_rate, 2) OVER readings AS two_before
    FROM recent
    WHERE patient_id IN (SELECT patient_id FROM moved)
    WINDOW readings AS (PARTITION BY patient_id ORDER BY event_time, _offset)
) AS three
WHERE
    heart_rate > one_before
    AND one_before > two_before
    AND heart_rate - two_before >= least
