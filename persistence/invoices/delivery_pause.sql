-- name: pause
INSERT INTO delivery_pauses (until, by, reason)
VALUES (now() + make_interval(secs => :seconds), :by, :reason) RETURNING since, until, by, reason

-- name: resume
UPDATE delivery_pauses SET resumed_at = now(), resumed_by = :by, resume_reason = :reason WHERE resumed_at IS NULL
