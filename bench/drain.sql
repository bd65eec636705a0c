-- Makes a noop task for each id, with the rows that POST /api/v1/tasks writes. The bench compares
-- the rows of both.
WITH jobs AS (
    INSERT INTO river_job (args, kind, max_attempts)
    SELECT jsonb_build_object('task_id', id), 'step', 1000
    FROM unnest($1::uuid[]) AS id
    RETURNING id AS job, (args->>'task_id')::uuid AS task
), made AS (
    INSERT INTO tasks (id, app, name, kind, params, created_by, created_at, step, due_at, deadline_at, job_id)
    SELECT task, 'bench', 'noop', 'noop', '{}', 'admin', now(), 'run', now(), now() + interval '24 hours', job
    FROM jobs
)
INSERT INTO audit (actor, action, app, object, address, request_id)
SELECT 'admin', 'task.create', 'bench', task, '127.0.0.1', 'ca42bd2c-8e7d-4aaf-8b33-ff6b2b2dd3fb'
FROM jobs
