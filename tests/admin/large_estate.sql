-- 300 accounts, 2,000 policies, 50,000 resources, 500,000 jobs and points of ten days, on PostgreSQL.
SET LOCAL session_replication_role = replica;  -- no foreign key checks: the rows below belong together

INSERT INTO account (name, cloud, kind, number, role_arn, external_id_sealed, profile, regions, may_delete, settings,
                     secret_refs, enabled, state, state_text)
SELECT 'a' || n, 'aws', 'backup', '', '', '', '', '[]', true, '{}', '{}', true, 'reachable', ''
FROM generate_series(1, 300) n;

INSERT INTO schedule (name, spec, created_at, changed_at)
SELECT 's' || n, '{"every": "1d", "starts_at": "2026-01-01T00:00"}', '2026-11-02 12:30+00', '2026-11-02 12:30+00'
FROM generate_series(1, 50) n;

INSERT INTO policy (name, enabled, priority, spec, version, successes, created_at, changed_at)
SELECT 'p' || n, true, 50, '{}', 1, 0, '2026-11-02 12:30+00', '2026-11-02 12:30+00'
FROM generate_series(1, 2000) n;

INSERT INTO policy_schedule (policy_id, schedule_id)
SELECT n, mod(n, 50) + 1 FROM generate_series(1, 2000) n;

INSERT INTO resource (account_id, region, type, external_id, name, parent_id, tags, attributes, found_at, seen_at)
SELECT mod(n, 300) + 1, 'us-east-1', 'volume', 'vol-' || n, 'n', '', '{}', '{}',
       '2026-11-02 12:30+00', '2026-11-02 12:30+00'
FROM generate_series(1, 50000) n;

INSERT INTO run (policy_id, slot_at, trigger, ordinal, state, "only", reason, error_code, problems, targets, created_at,
                 planned_at, finished_at)
SELECT n, at, 'schedule', 1, 'done', '[]', '', '', '[]', 25, at, at, at
FROM generate_series(timestamptz '2026-10-24 12:30+00', '2026-11-02 12:30+00', '1 day') at, generate_series(1, 2000) n;

INSERT INTO job (kind, lane, key, epoch, run_id, account_id, region, service, resource_id, chain, slots, spec, priority,
                 state, not_before_at, attempt, max_attempts, retry_wait_s, claims, fence, lease_owner, warnings,
                 error_code, error_text, result, settled, created_at, finished_at)
SELECT 'snapshot', 'snapshot', r.id || '-' || n, 0, r.id, mod(n, 300) + 1, 'us-east-1', 'ec2', n, '', 0, '{}', 50,
       'done', r.slot_at, 1, 3, 300, 1, 1, '', '[]', '', '', '{}', true, r.slot_at, r.slot_at
FROM generate_series(1, 50000) n JOIN run r ON r.policy_id = mod(n, 2000) + 1;

INSERT INTO point (resource_id, policy_id, run_id, account_id, region, destination, kind, state, consistency, image_id,
                   attributes, warnings, size_gib, taken_at, held, expire_code, expire_text, error_code, error_text)
SELECT j.resource_id, r.policy_id, j.run_id, j.account_id, j.region, '', 'snapshots', 'good', 'crash', '', '{}', '[]', 8,
       r.slot_at, '', '', '', '', ''
FROM job j JOIN run r ON r.id = j.run_id;
