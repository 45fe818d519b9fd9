-- The limits that hold for each patient of the batch and each vital: the
-- patient's own where there is one, else the ward's, else the age band's, else
-- the default; low and high each by itself. A patient on SpO₂ scale 2 is of
-- the band 'spo2 scale 2' too. Ward and age band are those of the encounter
-- where there is one, else those of the table of patients.
WITH standard AS (
    SELECT * FROM limits_now
    WHERE patient_id = '' AND ward = '' AND age_band = ''
),

p AS (
    SELECT
        seen.patient_id,
        coalesce(here.ward, lies.ward) AS ward,
        coalesce(here.age_band, lies.age_band) AS age_band,
        concat('spo2 scale ', lies.spo2_scale) AS scale
    FROM (SELECT DISTINCT patient_id FROM vitals) AS seen
    LEFT JOIN patients AS lies ON lies.patient_id = seen.patient_id
    LEFT JOIN encounters_now AS here ON here.patient_id = seen.patient_id
),

scopes AS (
    SELECT DISTINCT
        ward,
        age_band,
        scale
    FROM p
),

shared AS (
    SELECT
        scopes.ward,
        scopes.age_band,
        scopes.scale,
        standard.vital,
        coalesce(ward.low, band.low, scale.low, standard.low) AS low,
        coalesce(ward.high, band.high, scale.high, standard.high) AS high
    FROM scopes
    CROSS JOIN standard
    LEFT JOIN limits_now AS band
        ON
            band.patient_id = ''
            AND band.ward = ''
            AND band.age_band <> ''
            AND band.age_band = scopes.age_band
            AND band.vital = standard.vital
    LEFT JOIN limits_now AS scale
        ON
            scale.patient_id = ''
            AND scale.ward = ''
            AND scale.age_band = scopes.scale
            AND scale.vital = standard.vital
    LEFT JOIN limits_now AS ward
        ON
            ward.patient_id = ''
            AND ward.ward <> ''
            AND ward.ward = scopes.ward
            AND ward.vital = standard.vital
)

SELECT
    p.patient_id,
    shared.vital,
    coalesce(own.low, shared.low) AS low,
    coalesce(own.high, shared.high) AS high
FROM shared
INNER JOIN p
    ON
        (p.ward IS NOT DISTINCT FROM shared.ward)
        AND (p.age_band IS NOT DISTINCT FROM shared.age_band)
        AND (p.scale IS NOT DISTINCT FROM shared.scale)
LEFT JOIN limits_now AS own
    ON
        own.patient_id = p.patient_id
        AND own.patient_id <> ''
        AND own.vital = shared.vital
