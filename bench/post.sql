-- What POST /api/v1/tasks writes for a noop task, as a script for pgbench: the River job, the
-- task and the audit line, in one transaction. The bench compares the rows of both.
-- The id is a UUIDv7 as the server's are, so that the indexes grow alike.
BEGIN;
INSERT INTO river_job (args, kind, max_attempts)
VALUES (
    jsonb_build_object('task_id', encode(
        substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
        || set_byte(substring(uuid_send(gen_random_uuid()) FROM 7), 0, 112), 'hex')::uuid),
    'step', 1000)
RETURNING id AS job, args->>'task_id' AS task \gset
INSERT INTO tasks (id, app, name, kind, params, max_rejected, exclusive, gated, parent, attempt, created_by,
    created_at, step, due_at, deadline_at, job_id, work, message, input, input_size)
VALUES (:task, 'bench', 'noop', 'noop', '{}', NULL, false, false, NULL, 1, 'admin',
    now(), 'run', now(), now() + interval '24 hours', :job, '{}', '', 'none', 0);
INSERT INTO audit (actor, action, app, object, address, request_id)
VALUES ('admin', 'task.create', 'bench', :task, '127.0.0.1', 'ca42bd2c-8e7d-4aaf-8b33-ff6b2b2dd3fb');
COMMIT;
