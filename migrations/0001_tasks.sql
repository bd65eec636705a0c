-- Apps, tasks, their logs, idempotency keys, the audit trail and browser sessions.
-- The rules of a task's life that jobs/doc.go draws stand here as CHECKs too, so that no
-- code path, ours or a person's at a psql prompt, can store a task that cannot exist.

CREATE TABLE apps (
    name                text PRIMARY KEY CHECK (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    product             text NOT NULL CHECK (product IN ('epm', 'fusion', 'none')),
    url                 text NOT NULL DEFAULT '',
    application         text NOT NULL DEFAULT '',
    auth_type           text NOT NULL DEFAULT 'none' CHECK (auth_type IN ('basic', 'oauth2', 'none')),
    auth_sealed         bytea,           -- AES-256-GCM, the app's name as associated data
    max_running         int NOT NULL DEFAULT 0 CHECK (max_running >= 0), -- 0: no limit
    maintenance_start   text CHECK (maintenance_start ~ '^([01][0-9]|2[0-3]):[0-5][0-9]$'),
    maintenance_minutes int CHECK (maintenance_minutes BETWEEN 1 AND 1439),
    maintenance_zone    text,
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT maintenance_whole CHECK (
        num_nulls(maintenance_start, maintenance_minutes, maintenance_zone) IN (0, 3)),
    CONSTRAINT remote_has_address CHECK (product = 'none' OR url <> ''),
    CONSTRAINT secret_has_type CHECK ((auth_type = 'none') = (auth_sealed IS NULL))
);

CREATE TABLE tasks (
    id                  uuid PRIMARY KEY,
    app                 text NOT NULL REFERENCES apps (name),
    name                text NOT NULL,
    kind                text NOT NULL,
    params              jsonb NOT NULL DEFAULT '{}',
    max_rejected        bigint CHECK (max_rejected >= 0),  -- null: no limit
    exclusive           boolean NOT NULL DEFAULT false,    -- runs alone on its application
    gated               boolean NOT NULL DEFAULT false,    -- waits for a place on its application
    parent              uuid,                              -- the task this one retries
    attempt             int NOT NULL DEFAULT 1 CHECK (attempt >= 1),
    created_by          text NOT NULL,

    state               text NOT NULL DEFAULT 'queued'
                        CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    version             bigint NOT NULL DEFAULT 1,
    created_at          timestamptz NOT NULL DEFAULT now(),
    started_at          timestamptz,
    finished_at         timestamptz,

    -- Where the work stands. fence rises with every write of a step; a worker writes only
    -- under the fence it read, so of two workers on one step at most one is heard.
    step                text NOT NULL DEFAULT '',
    fence               bigint NOT NULL DEFAULT 1,
    due_at              timestamptz,                       -- when the step may run next
    deadline_at         timestamptz,                       -- when the task is given up
    tries               int NOT NULL DEFAULT 0,            -- failed tries of this step
    crashes             int NOT NULL DEFAULT 0,            -- processes that died while they held it
    job_id              bigint,                            -- the River job that will wake it
    lease_by            text,                              -- the process that holds the step
    lease_until         timestamptz,
    work                jsonb NOT NULL DEFAULT '{}',       -- what the kind must remember
    verdict             jsonb,                             -- decided, while cleaning up
    cancel_requested_at timestamptz,
    cancel_requested_by text,

    percent             int NOT NULL DEFAULT 0 CHECK (percent BETWEEN 0 AND 100),
    message             text NOT NULL DEFAULT '',
    eta                 timestamptz,

    remote_intent_at    timestamptz,                       -- written before the start call
    remote_job_id       text,                              -- written after it
    remote_status       text,
    remote_url          text,

    error_code          text CHECK (error_code IN (
                            'invalid_input', 'rejected_records', 'remote_failed', 'remote_unreachable',
                            'outcome_unknown', 'unauthorized', 'timed_out', 'cancelled', 'internal')),
    error_message       text,
    error_detail        text,
    result              jsonb,

    input               text NOT NULL DEFAULT 'none'
                        CHECK (input IN ('none', 'archive', 'inbound', 'deleted')),
    input_size          bigint NOT NULL DEFAULT 0,
    outputs             jsonb NOT NULL DEFAULT '[]',
    outputs_expire_at   timestamptz,
    outputs_deleted_at  timestamptz,

    log_size            bigint NOT NULL DEFAULT 0,         -- bytes, in task_logs or in log
    log                 text,                              -- once final

    CONSTRAINT final_is_finished CHECK (
        (state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CONSTRAINT open_has_owner_and_deadline CHECK (
        (finished_at IS NULL) = (due_at IS NOT NULL AND deadline_at IS NOT NULL AND step <> '')),
    CONSTRAINT final_holds_nothing CHECK (
        finished_at IS NULL OR (due_at IS NULL AND step = '' AND lease_by IS NULL AND verdict IS NULL)),
    CONSTRAINT running_has_started CHECK (
        (state <> 'running' OR started_at IS NOT NULL) AND (state <> 'queued' OR started_at IS NULL)),
    CONSTRAINT hundred_is_final CHECK (percent < 100 OR state = 'succeeded'),
    CONSTRAINT error_fits_state CHECK (
        CASE state WHEN 'failed' THEN error_code IS NOT NULL AND error_code <> 'cancelled'
                   WHEN 'cancelled' THEN error_code = 'cancelled'
                   ELSE error_code IS NULL END
        AND (error_code IS NULL) = (error_message IS NULL)),
    CONSTRAINT intent_before_id CHECK (remote_job_id IS NULL OR remote_intent_at IS NOT NULL),
    CONSTRAINT lease_whole CHECK ((lease_by IS NULL) = (lease_until IS NULL)),
    CONSTRAINT log_kept_when_final CHECK ((log IS NOT NULL) = (finished_at IS NOT NULL)),
    CONSTRAINT final_has_no_input CHECK (finished_at IS NULL OR input <> 'archive')
);

-- Newest first, everywhere and by app; ids are UUIDv7, so the primary key is in order of time.
CREATE INDEX tasks_by_app ON tasks (app, id DESC);
CREATE INDEX tasks_by_name ON tasks (app, kind, name, id DESC);
-- The gate and the sweeps ask only about a few rows; these hold nothing else.
CREATE INDEX tasks_open ON tasks (app, id) WHERE finished_at IS NULL;
CREATE INDEX tasks_input_kept ON tasks (finished_at) WHERE finished_at IS NOT NULL AND input = 'inbound';
CREATE INDEX tasks_outputs_kept ON tasks (outputs_expire_at)
    WHERE outputs_expire_at IS NOT NULL AND outputs_deleted_at IS NULL;

-- A running task's log, a row for each write; joined into tasks.log when the task is final.
CREATE TABLE task_logs (
    task_id uuid NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    at      bigint NOT NULL,             -- byte offset of text in the task's log
    text    text NOT NULL,
    PRIMARY KEY (task_id, at)
);

CREATE TABLE idempotency_keys (
    created_by     text NOT NULL,
    key            text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    request_sha256 bytea NOT NULL,
    task_id        uuid NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    created_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (created_by, key)
);
CREATE INDEX idempotency_keys_task ON idempotency_keys (task_id);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

CREATE TABLE audit (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    actor      text NOT NULL,
    action     text NOT NULL,            -- noun.verb: task.create, task.cancel, app.update
    app        text,
    object     text,                     -- id or name of what it was done to
    address    text,                     -- the caller's network address
    request_id text
);

-- The table that alexedwards/scs's pgxstore asks for.
CREATE TABLE sessions (
    token  text PRIMARY KEY,
    data   bytea NOT NULL,
    expiry timestamptz NOT NULL
);
CREATE INDEX sessions_expiry ON sessions (expiry);
