-- The limits that hold for each patient of the batch and each vital: the
-- patient's own where there is one, else the ward's, else the age band's, else
-- the default; low and high each by itself. A patient on SpO₂ scale 2 is of
-- the band 'spo2 scale 2' too.
WITH standard AS (
    SELECT * FROM limits_now
    WHERE patient_id = '' AND ward = '' AND age_band = ''
)

SELECT
    p.patient_id,
    standard.vital,
    coalesce(
        own.low,
        ward.low,
        band.low,
        scale.low,
        standard.low
    ) AS low,
    coalesce(
        own.high,
        ward.high,
        band.high,
        scale.high,
        standard.high
    ) AS high
FROM (SELECT DISTINCT patient_id FROM vitals) AS p
CROSS JOIN standard
LEFT JOIN patients AS lies ON lies.patient_id = p.patient_id
LEFT JOIN limits_now AS band
    ON
        band.patient_id = ''
        AND band.ward = ''
        AND band.age_band <> ''
        AND band.age_band = lies.age_band
        AND band.vital = standard.vital
LEFT JOIN limits_now AS scale
    ON
        scale.patient_id = ''
        AND scale.ward = ''
        AND scale.age_band = concat('spo2 scale ', lies.spo2_scale)
        AND scale.vital = standard.vital
LEFT JOIN limits_now AS ward
    ON
        ward.patient_id = ''
        AND ward.ward <> ''
        AND ward.ward = lies.ward
        AND ward.vital = standard.vital
LEFT JOIN limits_now AS own
    ON
        own.patient_id = p.patient_id
        AND own.patient_id <> ''
        AND own.vital = standard.vital
