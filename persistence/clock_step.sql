-- `least` and `greatest` take no notice of NULL, so it is kept by hand. One instant for all: clock_timestamp() is later
-- than whatever this statement's snapshot can see, which now() is not.
-- name: clock
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS at)

-- name: ahead
({OPEN} AND (
    next_attempt_at > clock.at + make_interval(secs => :longest_wait)
    OR claimed_until > clock.at + make_interval(secs => :longest_lease)
    OR greatest(last_attempt_at, refused_since, incorrect_since, crash_since, updated_at) > clock.at))
OR ({IS_ABORTED} AND updated_at > clock.at)

-- name: invoices
{clock}, ahead AS (
    SELECT id FROM invoices, clock WHERE {ahead}
    ORDER BY id LIMIT {ROWS_AT_MOST} FOR UPDATE OF invoices SKIP LOCKED
)
UPDATE invoices i SET
    next_attempt_at = CASE WHEN i.next_attempt_at IS NOT NULL
        THEN least(i.next_attempt_at, clock.at + make_interval(secs => :longest_wait)) END,
    claimed_until = CASE WHEN i.claimed_until > clock.at + make_interval(secs => :longest_lease)
        THEN clock.at + make_interval(secs => :lease) ELSE i.claimed_until END,
    last_attempt_at = CASE WHEN i.last_attempt_at > clock.at THEN clock.at ELSE i.last_attempt_at END,
    refused_since = CASE WHEN i.refused_since > clock.at THEN clock.at ELSE i.refused_since END,
    incorrect_since = CASE WHEN i.incorrect_since > clock.at THEN clock.at ELSE i.incorrect_since END,
    crash_since = CASE WHEN i.crash_since > clock.at THEN clock.at ELSE i.crash_since END,
    updated_at = CASE WHEN i.updated_at > clock.at THEN clock.at ELSE i.updated_at END
FROM ahead, clock WHERE i.id = ahead.id

-- A pause keeps its length.
-- name: pauses
{clock} UPDATE delivery_pauses SET since = clock.at, until = clock.at + (until - since) FROM clock
WHERE id IN (SELECT id FROM delivery_pauses, clock WHERE resumed_at IS NULL AND since > clock.at
             FOR UPDATE OF delivery_pauses SKIP LOCKED)

-- A daemon that is gone does not look alive.
-- name: instances
{clock} UPDATE instances SET seen_at = clock.at FROM clock
WHERE name IN (SELECT name FROM instances, clock WHERE seen_at > clock.at FOR UPDATE OF instances SKIP LOCKED)

-- A closed month is not announced for ever.
-- name: period_closings
{clock} UPDATE period_closings SET closed_at = clock.at FROM clock
WHERE period IN (SELECT period FROM period_closings, clock WHERE closed_at > clock.at
                 FOR UPDATE OF period_closings SKIP LOCKED)

-- An alarm of an instance that is gone is cleared in time.
-- name: alarms
{clock} UPDATE alarms SET last_at = clock.at FROM clock
WHERE id IN (SELECT id FROM alarms, clock WHERE cleared_at IS NULL AND last_at > clock.at
             FOR UPDATE OF alarms SKIP LOCKED)

-- name: some_left
{clock} SELECT EXISTS (SELECT FROM invoices, clock WHERE {ahead})
