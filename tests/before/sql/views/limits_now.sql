-- The limits that hold at the devices' time of this batch, one row for each
-- scope and vital: of those that are valid, the latest. A row that names more
-- than one scope counts for the narrowest.
SELECT
    patient_id,
    CASE WHEN patient_id = '' THEN ward ELSE '' END AS ward,
    CASE WHEN patient_id = '' AND ward = '' THEN age_band ELSE '' END
        AS age_band,
    vital,
    first_value(low ORDER BY valid_from DESC) AS low,
    first_value(high ORDER BY valid_from DESC) AS high
FROM limits
WHERE
    valid_from <= event_now()
    AND (valid_until IS NULL OR valid_until > event_now())
GROUP BY 1, 2, 3, 4
