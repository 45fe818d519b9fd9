-- Every reading as it came.
-- @key: patient_id, event_time, source_partition, source_offset, source_item
SELECT
    patient_id,
    event_time,
    _partition AS source_partition,
    _offset AS source_offset,
    _item AS source_item,
    heart_rate
FROM vitals
