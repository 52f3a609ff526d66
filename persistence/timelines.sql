-- name: record
INSERT INTO database_timelines (system_identifier, timeline, asked_up_to)
SELECT here.system_identifier, here.timeline,
    CASE WHEN :changed OR EXISTS (SELECT FROM database_timelines) THEN :asked_up_to END
FROM ({SERVER}) AS here
WHERE :changed OR NOT EXISTS (
    SELECT FROM (SELECT * FROM database_timelines ORDER BY id DESC LIMIT 1) AS newest
    WHERE newest.system_identifier = here.system_identifier AND newest.timeline = here.timeline)
RETURNING asked_up_to
